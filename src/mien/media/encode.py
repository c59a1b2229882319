"""Writes frames and a waveform into an MP4 file: H.264 or MPEG-4 video with AAC audio.

The trade-off: fast encoder settings, since the files are not archived; ``yuv420p``, so that every player plays them.
One codec thread: processes are the unit of parallel work here.

Shapes: frames are ``(H, W, 3)`` uint8 RGB, the first with even sides; a waveform is ``(N,)`` float32 mono in [-1, 1].
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from mien.storage.files import atomic_file

Image = npt.NDArray[np.uint8]
Waveform = npt.NDArray[np.float32]
Codec = Literal["h264", "mpeg4"]

ENCODERS = {"h264": "libx264", "mpeg4": "mpeg4"}
OPTIONS: dict[str, dict[str, str]] = {
    "h264": {"preset": "superfast", "crf": "25", "tune": "fastdecode"},
    "mpeg4": {"qscale": "6"},
}
BLOCK = 1024
"""Samples passed to the audio encoder at once."""


@dataclass(frozen=True)
class Video:
    """The content of a video file.

    Attributes:
        frames: in order of time, scaled to the size of the first; consumed while they are written. Without any, the
            file has audio alone.
        waveform: ``None`` for a video without an audio track.
        sample_rate: samples per second.
        fps: frames per second that the file claims.
        times: presentation time of each frame in units of ``time_base``, increasing; counted from 0 when not given.
        time_base: seconds; by default ``1 / fps``.
    """

    frames: Iterable[Image]
    waveform: Waveform | None
    sample_rate: int
    fps: Fraction = Fraction(25)
    times: Iterable[int] = field(default_factory=itertools.count)
    time_base: Fraction | None = None


def write_video(path: Path, video: Video, codec: Codec = "h264") -> None:
    """Write an MP4 file, whole or not at all."""
    time_base = video.time_base or 1 / video.fps
    with atomic_file(path) as part, av.open(str(part), "w", format="mp4") as file:
        frames = iter(video.frames)
        first = next(frames, None)
        stream = None if first is None else _video_stream(file, first, video.fps, time_base, codec)
        track = _audio_stream(file, video.sample_rate) if video.waveform is not None else None
        if stream is not None and first is not None:
            for time, image in zip(video.times, itertools.chain([first], frames), strict=False):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = time, time_base
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        if track is not None and video.waveform is not None:
            write_audio(file, track, video.waveform)


def _video_stream(file: OutputContainer, image: Image, fps: Fraction, time_base: Fraction, codec: Codec) -> VideoStream:
    stream = file.add_stream(ENCODERS[codec], rate=fps, options=OPTIONS[codec])
    assert isinstance(stream, VideoStream)
    stream.height, stream.width = image.shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 1
    stream.codec_context.time_base = time_base
    return stream


def _audio_stream(file: OutputContainer, sample_rate: int) -> AudioStream:
    track = file.add_stream("aac", rate=sample_rate, layout="mono")
    assert isinstance(track, AudioStream)
    track.bit_rate = 64_000
    return track


def write_audio(file: OutputContainer, track: AudioStream, waveform: Waveform) -> None:
    """Encode the waveform into an open file, in blocks."""
    for start in range(0, len(waveform), BLOCK):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform[None, start : start + BLOCK]), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = track.rate, start, Fraction(1, track.rate)
        file.mux(track.encode(frame))
    file.mux(track.encode(None))
