"""The faults of the real data, put into a stand-in corpus on purpose, and a list of the corrupted clips.

A share of the clips gets one fault each, evenly distributed, so that a corpus of some size has all of them. Labels do
not change: in the real data, too, people rated clips that cannot be decoded or understood.

Shapes: ``N`` samples of a waveform at ``VOICE_RATE`` Hz.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from mien.media.encode import Image, Video, Waveform
from mien.synthetic.voice import VOICE_RATE

LONGEST_SECONDS = 1249.92
"""The longest clip of the real data; exactly one clip of a corpus with faults is this long."""

SHORTEST_SECONDS = 0.064

FAULTS = {
    "no sound": "the file has no sound track",
    "blip": f"the whole clip lasts {SHORTEST_SECONDS} s",
    "silence": "nobody speaks",
    "music": "music instead of speech",
    "no face": "the room is empty",
    "absurd rate": "uneven picture times in milliseconds, so that the file claims about 1000 pictures a second",
}
"""Faults of a video file."""

PROVIDED_FAULTS = {
    "no face pictures": "the folder of face pictures is empty",
    "foreign file": "Thumbs.db lies among the face pictures",
    "broken mp3": "audio/ holds an mp3 file that cannot be read",
}
"""Faults of the face images and audio files that come with the real data."""

LONG_FAULT = {"long": f"the clip lasts {LONGEST_SECONDS} s"}


def choose_faults(clips: int, rate: float, provided: bool, rng: np.random.Generator) -> dict[int, str]:
    """Which clips get which fault: ``round(rate * clips)`` of them, in equal numbers; the first is the long one.

    Args:
        clips: their number.
        rate: share to corrupt, in [0, 1].
        provided: whether face images and mp3 files are written, which can then be corrupted too.
        rng: draws the clips and their faults.

    Raises:
        ValueError: ``rate`` is outside [0, 1].
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"dirt = {rate}, but a share lies in [0, 1]")
    kinds = [*FAULTS, *(PROVIDED_FAULTS if provided else ())]
    spoiled = rng.permutation(clips)[: round(rate * clips)]
    faults = itertools.chain(LONG_FAULT, itertools.cycle(rng.permutation(kinds).tolist()))
    return {int(clip): str(fault) for clip, fault in zip(spoiled, faults, strict=False)}


def corrupt_audio(waveform: Waveform, fault: str, rng: np.random.Generator) -> tuple[Waveform, bool]:
    """The waveform with its fault, and whether it still holds speech that moves the mouth."""
    if fault == "blip":
        return waveform[: round(SHORTEST_SECONDS * VOICE_RATE)], True
    if fault == "silence":
        return np.zeros_like(waveform), False
    if fault == "music":
        return play_music(len(waveform), rng), False
    return waveform, True


def play_music(samples: int, rng: np.random.Generator) -> Waveform:
    """Plucked chords on a major scale, ``(samples,)``."""
    scale = 220 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12)
    beat = round(0.4 * VOICE_RATE)
    seconds = np.arange(beat) / VOICE_RATE
    waveform = np.zeros(samples + beat)
    for start in range(0, samples, beat):
        for note in rng.choice(scale, 3, replace=False):
            tones = sum(np.sin(2 * np.pi * note * k * seconds) / k**1.5 for k in (1, 2, 3, 4))
            waveform[start : start + beat] += 0.12 * tones * np.exp(-4 * seconds) * np.minimum(1, seconds / 0.01)
    return waveform[:samples].astype(np.float32)


def corrupt_video(video: Video, fault: str, background: Image, rng: np.random.Generator) -> Video:
    """The video with its fault; ``background`` is the frame without a person."""
    if fault == "no sound":
        return replace(video, waveform=None)
    if fault == "no face":
        return replace(video, frames=(background for _ in video.frames))
    if fault == "absurd rate":
        return replace(video, fps=Fraction(1000), times=_uneven_times(1000 / float(video.fps), rng))
    if fault == "long" and video.waveform is not None:
        waveform = np.zeros(round(LONGEST_SECONDS * video.sample_rate), np.float32)
        waveform[: len(video.waveform)] = video.waveform[: len(waveform)]
        return replace(video, waveform=waveform, frames=_repeat_last(video), times=_sparse_times(video))
    return video


def _uneven_times(step: float, rng: np.random.Generator) -> Iterator[int]:
    time = 0
    while True:
        yield time
        time += max(1, round(step * rng.uniform(0.5, 1.5)))


def _repeat_last(video: Video) -> Iterator[Image]:
    """The frames, then the last one without end."""
    frame: Image | None = None
    for frame in video.frames:
        yield frame
    while frame is not None:
        yield frame


def _sparse_times(video: Video) -> Iterator[int]:
    """Presentation times: unchanged while there is speech, then one frame every two seconds up to the end."""
    spoken = round(len(video.waveform) / video.sample_rate * video.fps) if video.waveform is not None else 0
    last = round(LONGEST_SECONDS * float(video.fps))
    yield from range(spoken)
    yield from range(spoken, last, round(2 * video.fps))
    yield last - 1


def corrupt_provided(home: Path, name: str, fault: str) -> None:
    """Corrupt the face images or the mp3 file of the clip ``name`` under ``home``."""
    images = home / "face_images" / name
    if fault in ("no face pictures", "no face"):
        for image in images.glob("*.jpg"):
            image.unlink()
    elif fault == "foreign file":
        (images / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0 not a picture")
    elif fault == "broken mp3":
        (home / "audio" / f"{name}.mp3").write_bytes(b"ID3\x03 this is not sound")
