"""What decoding returns, and how it comes from the decoder process; imports no libav."""

from dataclasses import dataclass
from struct import Struct

import numpy as np
import numpy.typing as npt

LENGTHS = Struct(">II")
"""Lengths of the header and of the payload of a part of a reply."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A requested frame.

    Attributes:
        seconds: presentation time from the start of the clip.
        rgb: ``(H, W, 3)`` uint8, upright.
        wanted: the names of the rates that it serves.
    """

    seconds: float
    rgb: npt.NDArray[np.uint8]
    wanted: frozenset[str]


@dataclass(frozen=True, slots=True)
class Samples:
    """Audio of a stream, ``(N,)`` float32 in [-1, 1] at 16 kHz, that follows the samples before it."""

    values: npt.NDArray[np.float32]
