"""Converts a video or audio file into an MP4 that every browser plays.

The file is decoded in the decoder process, so that it can do no harm; only frames and samples come back and are encoded
here. Frames and audio are those that a model sees: upright, on the clip's clock, at most ``FPS`` frames per second.
"""

import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from av.error import FFmpegError

from mien.errors import MediaError
from mien.media.decoder import DecoderClient
from mien.media.encode import Video, write_video
from mien.media.frames import Frame
from mien.schema import SAMPLE_RATE

FPS = 25
TICKS = 90_000
"""Units of presentation times per second."""


SUFFIXES = (".mp4", ".m4a")
"""Of converted files: with video, and with audio alone."""


def convert(path: Path, folder: Path, name: str, decoder: DecoderClient) -> Path:
    """Write a file that browsers play, whole or not at all.

    Args:
        path: the video or audio file.
        folder: where to write.
        name: the new file's name without its suffix.
        decoder: reads ``path``; its settings limit the size of the frames.

    Returns:
        The new file.

    Raises:
        MediaError: ``path`` cannot be decoded, or not in time, or cannot be encoded again.
        OutputError: ``folder`` cannot be written.
    """
    waveform = _waveform(path, decoder)
    with decoder.open(path, rates={"page": FPS}, audio=False) as reader:
        frames, timed = itertools.tee(reader.frames() if reader.has_video else ())
        video = Video(_even(frames), waveform, SAMPLE_RATE, Fraction(FPS), _times(timed), Fraction(1, TICKS))
        if not reader.has_video and waveform is None:
            raise MediaError(f"{path.name}: no video and no audio that can be decoded")
        out = folder / f"{name}{SUFFIXES[0] if reader.has_video else SUFFIXES[1]}"
        try:
            write_video(out, video)
        except FFmpegError as error:
            raise MediaError(f"{path.name}: cannot be converted ({error.strerror})") from error
        return out


def _waveform(path: Path, decoder: DecoderClient) -> npt.NDArray[np.float32] | None:
    try:
        with decoder.open(path, rates={}) as reader:
            return reader.audio()
    except MediaError:  # the video may still be decodable; if not, it raises this again
        return None


def _even(frames: Iterable[Frame]) -> Iterator[npt.NDArray[np.uint8]]:
    """Images with even sides, an odd last row or column doubled: 4:2:0 has a colour for each 2 x 2 pixels."""
    for frame in frames:
        height, width = frame.rgb.shape[:2]
        yield np.pad(frame.rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _times(frames: Iterable[Frame]) -> Iterator[int]:
    return itertools.accumulate(
        (round(TICKS * frame.seconds) for frame in frames), lambda last, now: max(last + 1, now)
    )
