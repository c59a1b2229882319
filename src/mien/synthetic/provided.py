"""Writes the files that come with the real videos: the audio as mp3 and crops of the face.

    audio/{id}.mp3               16 kHz, mono
    face_images/{id}/{n}.jpg     112 x 112 pixels, numbered from 0

The trade-off: the face box is where the person is drawn, not where a detector finds them, since such crops replace the
detector.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from av.audio.stream import AudioStream

from mien.media.encode import Image, Waveform, write_audio
from mien.storage.files import atomic_file

FACE_SIDE = 112
FACES_EVERY = 5
"""One frame in so many is kept."""

MP3_RATE = 16_000


def save_face_crops(frames: Iterable[Image], folder: Path, box: tuple[slice, slice]) -> Iterator[Image]:
    """Yield the frames, and write the face of every fifth into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        if number % FACES_EVERY == 0:
            face = cv2.resize(frame[box], (FACE_SIDE, FACE_SIDE), interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(folder / f"{number // FACES_EVERY}.jpg"), cv2.cvtColor(face, cv2.COLOR_RGB2BGR))
        yield frame


def write_mp3(path: Path, waveform: Waveform, sample_rate: int) -> None:
    """Write a waveform as in the real data: mp3, 16 kHz, mono."""
    places = np.arange(int(len(waveform) * MP3_RATE / sample_rate)) * (sample_rate / MP3_RATE)
    resampled = np.interp(places, np.arange(len(waveform)), waveform).astype(np.float32)
    with atomic_file(path) as part, av.open(str(part), "w", format="mp3") as file:
        track = file.add_stream("libmp3lame", rate=MP3_RATE, layout="mono")
        assert isinstance(track, AudioStream)
        write_audio(file, track, resampled)
