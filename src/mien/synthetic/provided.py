"""Writes what comes with the real videos: the sound as an mp3 file and pictures of the face.

    audio/{id}.mp3               16 kHz, mono
    face_images/{id}/{n}.jpg     112 x 112 pixels, numbered from 0

The trade-off: the face box is where the person sits, not where a detector finds them, since the detector is what such
pictures are there to replace.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from av.audio.stream import AudioStream

from mien.storage.files import atomic_file
from mien.synthetic.video import Picture, Sound, write_track

FACE_SIDE = 112
FACES_EVERY = 5
"""One picture in so many is kept."""

MP3_RATE = 16_000


def keep_faces(pictures: Iterable[Picture], folder: Path, box: tuple[slice, slice]) -> Iterator[Picture]:
    """Pass the pictures on, and write the face of every fifth into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        if number % FACES_EVERY == 0:
            face = cv2.resize(picture[box], (FACE_SIDE, FACE_SIDE), interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(folder / f"{number // FACES_EVERY}.jpg"), cv2.cvtColor(face, cv2.COLOR_RGB2BGR))
        yield picture


def write_mp3(path: Path, sound: Sound, sound_rate: int) -> None:
    """Write a sound as the real data come: mp3, 16 kHz, mono."""
    places = np.arange(int(len(sound) * MP3_RATE / sound_rate)) * (sound_rate / MP3_RATE)
    resampled = np.interp(places, np.arange(len(sound)), sound).astype(np.float32)
    with atomic_file(path) as part, av.open(str(part), "w", format="mp3") as file:
        track = file.add_stream("libmp3lame", rate=MP3_RATE, layout="mono")
        assert isinstance(track, AudioStream)
        write_track(file, track, resampled)
