"""Writes a film: pictures and sound into an mp4 file, H.264 or MPEG-4 video with AAC sound.

The trade-off: the fastest encoder settings, since the files are read once and thrown away; ``yuv420p`` and a baseline
profile, so that everything can play them. One codec thread: processes are the unit of parallel work here.

Shapes: pictures are ``(H, W, 3)`` uint8 RGB with even sides; sound is ``(N,)`` float32 mono in [-1, 1].
"""

import contextlib
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from mien.artifacts import atomic_file

Picture = npt.NDArray[np.uint8]
CODECS = {"h264": {"preset": "superfast", "crf": "25", "tune": "fastdecode"}, "mpeg4": {}}


def write_film(
    path: Path,
    pictures: Iterable[Picture],
    sound: npt.NDArray[np.float32] | None,
    sound_rate: int,
    fps: Fraction = Fraction(25),
    codec: str = "h264",
) -> None:
    """Write a film, whole or not at all.

    Args:
        path: file to write; the container is mp4 whatever its name.
        pictures: in order of time, all of one size; at least one.
        sound: ``None`` for a film without a sound track; an empty array for a track without samples.
        sound_rate: samples per second of ``sound``.
        fps: pictures per second.
        codec: ``h264`` or ``mpeg4``.
    """
    with atomic_file(path) as part, av.open(str(part), "w", format="mp4") as film:
        pictures = iter(pictures)
        first = next(pictures)
        video = _video_stream(film, first, fps, codec)
        track = _sound_stream(film, sound_rate) if sound is not None else None
        _write_pictures(film, video, first, pictures)
        if track is not None and sound is not None:
            _write_sound(film, track, sound)


def _video_stream(film: OutputContainer, first: Picture, fps: Fraction, codec: str) -> VideoStream:
    encoder = {"h264": "libx264", "mpeg4": "mpeg4"}[codec]
    video = film.add_stream(encoder, rate=fps, options=CODECS[codec])
    assert isinstance(video, VideoStream)
    video.height, video.width = first.shape[:2]
    video.pix_fmt = "yuv420p"
    video.codec_context.thread_count = 1
    video.codec_context.time_base = 1 / fps
    if codec == "mpeg4":
        video.bit_rate = 900_000
    return video


def _sound_stream(film: OutputContainer, rate: int) -> AudioStream:
    track = film.add_stream("aac", rate=rate, layout="mono")
    assert isinstance(track, AudioStream)
    track.bit_rate = 64_000
    return track


def _write_pictures(film: OutputContainer, video: VideoStream, first: Picture, others: Iterable[Picture]) -> None:
    for number, picture in enumerate(_chain(first, others)):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = number, video.codec_context.time_base
        film.mux(video.encode(frame))
    film.mux(video.encode(None))


def _chain(first: Picture, others: Iterable[Picture]) -> Iterable[Picture]:
    yield first
    yield from others


def _write_sound(film: OutputContainer, track: AudioStream, sound: npt.NDArray[np.float32]) -> None:
    block = 1024
    for start in range(0, len(sound), block):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None, start : start + block]), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = track.rate, start, Fraction(1, track.rate)
        film.mux(track.encode(frame))
    with contextlib.suppress(EOFError):
        film.mux(track.encode(None))
