"""Writes a film: pictures and sound into an mp4 file, H.264 or MPEG-4 video with AAC sound.

The trade-off: the fastest encoder settings, since the files are read once and thrown away; ``yuv420p``, so that
everything can play them. One codec thread: processes are the unit of parallel work here.

Shapes: pictures are ``(H, W, 3)`` uint8 RGB with even sides; sound is ``(N,)`` float32 mono in [-1, 1].
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

Picture = npt.NDArray[np.uint8]
Sound = npt.NDArray[np.float32]
Codec = Literal["h264", "mpeg4"]

ENCODERS = {"h264": "libx264", "mpeg4": "mpeg4"}
OPTIONS: dict[str, dict[str, str]] = {
    "h264": {"preset": "superfast", "crf": "25", "tune": "fastdecode"},
    "mpeg4": {"qscale": "6"},
}
BLOCK = 1024
"""Samples handed to the sound encoder at once."""


@dataclass(frozen=True)
class Film:
    """What goes into a file.

    Attributes:
        pictures: in order of time, all of one size, at least one; they are drawn while they are written.
        sound: ``None`` for a film without a sound track.
        sound_rate: samples per second.
        rate: pictures per second that the file claims.
        ticks: presentation time of each picture in units of ``1 / rate``; counted from 0 when not given.
    """

    pictures: Iterable[Picture]
    sound: Sound | None
    sound_rate: int
    rate: Fraction = Fraction(25)
    ticks: Iterable[int] = field(default_factory=itertools.count)


def write_film(path: Path, film: Film, codec: Codec = "h264") -> None:
    """Write an mp4 file, whole or not at all."""
    with atomic_file(path) as part, av.open(str(part), "w", format="mp4") as file:
        pictures = iter(film.pictures)
        first = next(pictures)
        video = _video_stream(file, first, film.rate, codec)
        track = _sound_stream(file, film.sound_rate) if film.sound is not None else None
        for tick, picture in zip(film.ticks, itertools.chain([first], pictures), strict=False):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = tick, 1 / film.rate
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        if track is not None and film.sound is not None:
            write_track(file, track, film.sound)


def _video_stream(file: OutputContainer, picture: Picture, rate: Fraction, codec: Codec) -> VideoStream:
    video = file.add_stream(ENCODERS[codec], rate=rate, options=OPTIONS[codec])
    assert isinstance(video, VideoStream)
    video.height, video.width = picture.shape[:2]
    video.pix_fmt = "yuv420p"
    video.codec_context.thread_count = 1
    video.codec_context.time_base = 1 / rate
    return video


def _sound_stream(file: OutputContainer, rate: int) -> AudioStream:
    track = file.add_stream("aac", rate=rate, layout="mono")
    assert isinstance(track, AudioStream)
    track.bit_rate = 64_000
    return track


def write_track(file: OutputContainer, track: AudioStream, sound: Sound) -> None:
    """Encode the sound into an open file, in blocks."""
    for start in range(0, len(sound), BLOCK):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None, start : start + BLOCK]), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = track.rate, start, Fraction(1, track.rate)
        file.mux(track.encode(frame))
    file.mux(track.encode(None))
