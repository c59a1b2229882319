"""The dirt of the real data, put into a stand-in corpus on purpose, and a list of what was spoiled.

A share of the clips gets one fault each, evenly dealt, so that a corpus of some size has all of them.
Labels stay as they are: in the real data, too, people rated clips that our parts cannot read.

Shapes: ``N`` samples of sound at ``VOICE_RATE`` Hz.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.synthetic.video import Film, Picture
from mien.synthetic.voice import VOICE_RATE

Sound = npt.NDArray[np.float32]

LONGEST_SECONDS = 1249.92
"""The longest clip of the real data; exactly one clip of a dirty corpus is made this long."""

SHORTEST_SECONDS = 0.064

FAULTS = {
    "no sound": "the file has no sound track",
    "blip": f"the whole clip lasts {SHORTEST_SECONDS} s",
    "silence": "nobody speaks",
    "music": "music instead of speech",
    "no face": "the room is empty",
    "absurd rate": "uneven picture times in milliseconds, so that the file claims about 1000 pictures a second",
}
"""What can be wrong with a video file."""

PROVIDED_FAULTS = {
    "no face pictures": "the folder of face pictures is empty",
    "foreign file": "Thumbs.db lies among the face pictures",
    "broken mp3": "audio/ holds an mp3 file that cannot be read",
}
"""What can be wrong with the face pictures and sounds that come with the real data."""

LONG_FAULT = {"long": f"the clip lasts {LONGEST_SECONDS} s"}


def choose_faults(clips: int, rate: float, provided: bool, rng: np.random.Generator) -> dict[int, str]:
    """Which clips get which fault: ``round(rate * clips)`` of them, evenly dealt; the first of them is the long one.

    Args:
        clips: how many there are.
        rate: share to spoil, in [0, 1].
        provided: whether face pictures and mp3 files are written, which can then be spoiled too.
        rng: chooses.

    Raises:
        ValueError: ``rate`` is outside [0, 1].
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"dirt = {rate}, but a share lies in [0, 1]")
    kinds = [*FAULTS, *(PROVIDED_FAULTS if provided else ())]
    spoiled = rng.permutation(clips)[: round(rate * clips)]
    faults = itertools.chain(LONG_FAULT, itertools.cycle(rng.permutation(kinds).tolist()))
    return {int(clip): str(fault) for clip, fault in zip(spoiled, faults, strict=False)}


def soil_sound(sound: Sound, fault: str, rng: np.random.Generator) -> tuple[Sound, bool]:
    """The sound with its fault, and whether a voice is left in it to move the mouth."""
    if fault == "blip":
        return sound[: round(SHORTEST_SECONDS * VOICE_RATE)], True
    if fault == "silence":
        return np.zeros_like(sound), False
    if fault == "music":
        return play_music(len(sound), rng), False
    return sound, True


def play_music(samples: int, rng: np.random.Generator) -> Sound:
    """Plucked chords on a major scale, ``(samples,)``."""
    scale = 220 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12)
    beat = round(0.4 * VOICE_RATE)
    seconds = np.arange(beat) / VOICE_RATE
    sound = np.zeros(samples + beat)
    for start in range(0, samples, beat):
        for note in rng.choice(scale, 3, replace=False):
            tones = sum(np.sin(2 * np.pi * note * k * seconds) / k**1.5 for k in (1, 2, 3, 4))
            sound[start : start + beat] += 0.12 * tones * np.exp(-4 * seconds) * np.minimum(1, seconds / 0.01)
    return sound[:samples].astype(np.float32)


def soil_film(film: Film, fault: str, room: Picture, rng: np.random.Generator) -> Film:
    """The film with its fault; ``room`` is what the camera sees when nobody is there."""
    if fault == "no sound":
        return replace(film, sound=None)
    if fault == "no face":
        return replace(film, pictures=(room for _ in film.pictures))
    if fault == "absurd rate":
        return replace(film, rate=Fraction(1000), ticks=_uneven(1000 / float(film.rate), rng))
    if fault == "long" and film.sound is not None:
        sound = np.zeros(round(LONGEST_SECONDS * film.sound_rate), np.float32)
        sound[: len(film.sound)] = film.sound[: len(sound)]
        return replace(film, sound=sound, pictures=_lingering(film), ticks=_slowing(film))
    return film


def _uneven(step: float, rng: np.random.Generator) -> Iterator[int]:
    tick = 0
    while True:
        yield tick
        tick += max(1, round(step * rng.uniform(0.5, 1.5)))


def _lingering(film: Film) -> Iterator[Picture]:
    """The pictures, and then the last one again and again."""
    picture: Picture | None = None
    for picture in film.pictures:
        yield picture
    while picture is not None:
        yield picture


def _slowing(film: Film) -> Iterator[int]:
    """Times of the pictures: as filmed for as long as there is speech, then one every two seconds, up to the end."""
    spoken = round(len(film.sound) / film.sound_rate * film.rate) if film.sound is not None else 0
    last = round(LONGEST_SECONDS * float(film.rate))
    yield from range(spoken)
    yield from range(spoken, last, round(2 * film.rate))
    yield last - 1


def soil_provided(home: Path, name: str, fault: str) -> None:
    """Spoil the face pictures or the mp3 file of the clip ``name`` under ``home``."""
    pictures = home / "face_images" / name
    if fault in ("no face pictures", "no face"):
        for picture in pictures.glob("*.jpg"):
            picture.unlink()
    elif fault == "foreign file":
        (pictures / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0 not a picture")
    elif fault == "broken mp3":
        (home / "audio" / f"{name}.mp3").write_bytes(b"ID3\x03 this is not sound")
