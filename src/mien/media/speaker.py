"""Who of several people in view speaks: whose mouth opens and closes while the clip is loud.

In a single moment lips and loudness agree little: they close within words, and "ss" is loud through a closed mouth.
Over a clip the movement adds up, so that of everybody is compared. The trade-off: somebody who chews while another
one speaks behind the camera is taken for the speaker; the size of faces decides unless the difference is large.

Shapes: ``T`` frames in which a person's face was found; ``N`` samples at 16 kHz.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.schema import SAMPLE_RATE

INNER_LIPS, FOREHEAD_CHIN = [13, 14], [10, 152]
"""Landmarks of the middle of the upper and the lower lip, and of the top and the bottom of the face."""

LOUD_DECIBELS = 20.0
"""A moment is loud if it is at most this far below the loudest ones of the clip (their 95th percentile)."""

SILENT_DECIBELS = -50.0
"""No moment below is loud, relative to full scale."""

WINDOW_SECONDS = 0.2
"""Loudness is measured over this time."""

LONGEST_GAP_SECONDS = 0.5
"""Frames further apart show no movement."""

CLEARLY_MORE = 2.0
"""A speaker's mouth moves so many times as much as that of the person with the most face."""

SLOWEST = 0.08
"""Mean movement of a speaking mouth, in heights of the face per second. A real one has .17, resting ones .07."""

SMALLEST = 1 / 3
"""A speaker's face is at least this large, relative to that of the person with the most face: small ones tremble."""

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Mouth:
    """A person's mouth through a clip: ``(T,)`` times, ``(T,)`` openings (``mouth_opening``), and the face's size."""

    seconds: Floats
    openings: Floats
    side: float


def mouth_opening(landmarks: Floats) -> float:
    """The gap between the lips in heights of the face, from landmarks ``(478, ≥ 2)``."""
    gap, height = (np.hypot(*(landmarks[a, :2] - landmarks[b, :2])) for a, b in (INNER_LIPS, FOREHEAD_CHIN))
    return float(gap / height) if height > 0 else 0.0


def speaker_of(mouths: Sequence[Mouth], waveform: npt.NDArray[np.float32]) -> int | None:
    """Which person speaks, if it is clearly another one than the first.

    Args:
        mouths: of people, the one with the most face first.
        waveform: ``(N,)`` of the clip.

    Returns:
        The index of the person whose mouth moves most while it is loud; ``None`` if that is the first, or not clearly
        another one: less than ``CLEARLY_MORE`` times as much, too slowly for speech, or in a tiny face.
    """
    if not mouths or not len(waveform):
        return None
    moved = [mouth_movement(mouth, waveform) for mouth in mouths]
    best = max(range(len(mouths)), key=lambda person: moved[person][0])
    travel, seconds = moved[best]
    slow = travel < SLOWEST * seconds or not seconds
    small = mouths[best].side < SMALLEST * mouths[0].side
    return None if best == 0 or slow or small or travel < CLEARLY_MORE * moved[0][0] else best


def loudness(waveform: npt.NDArray[np.float32], seconds: Floats) -> Floats:
    """``(T,)`` decibels relative to full scale, around each time.

    >>> loudness(np.full(SAMPLE_RATE, 0.1, np.float32), np.array([0.5, 2.0])).round().tolist()  # nothing after 1 s
    [-20.0, -100.0]
    """
    energy = np.concatenate([[0.0], np.cumsum(np.square(waveform, dtype=np.float64))])
    edges = np.clip(seconds[:, None] + (-WINDOW_SECONDS / 2, WINDOW_SECONDS / 2), 0, len(waveform) / SAMPLE_RATE)
    first, last = np.rint(edges.T * SAMPLE_RATE).astype(int)
    return 10 * np.log10(np.maximum((energy[last] - energy[first]) / np.maximum(last - first, 1), 1e-10))


def mouth_movement(mouth: Mouth, waveform: npt.NDArray[np.float32]) -> tuple[float, float]:
    """How far the lips move in all while it is loud, in heights of the face, and the seconds in which they could."""
    steps = np.diff(mouth.seconds)
    if not len(steps):
        return 0.0, 0.0
    every = np.arange(0, len(waveform) / SAMPLE_RATE, WINDOW_SECONDS / 2)
    limit = max(np.percentile(loudness(waveform, every), 95) - LOUD_DECIBELS, SILENT_DECIBELS)
    counted = (loudness(waveform, mouth.seconds[:-1] + steps / 2) >= limit) & (steps <= LONGEST_GAP_SECONDS)
    return float(np.abs(np.diff(mouth.openings))[counted].sum()), float(steps[counted].sum())
