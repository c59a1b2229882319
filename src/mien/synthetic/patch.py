"""A small part of a frame to draw on: its pixels, and the face coordinates of each of them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.synthetic.canvas import Floats


@dataclass
class Patch:
    """Pixels to draw on.

    Attributes:
        pixels: ``(h, w, 3)`` float32 RGB, 0 to 255; changed in place.
        x, y: ``(h, w)`` face coordinates, in pupil distances.
        soft: pixels per pupil distance: an edge is ``soft * (distance to it)`` wide.
    """

    pixels: npt.NDArray[np.float32]
    x: Floats
    y: Floats
    soft: float

    def edge(self, distance: Floats) -> Floats:
        """1 where ``distance`` is positive, 0 where it is negative, one pixel of transition."""
        return np.clip(distance * self.soft + 0.5, 0, 1)

    def cover(self, colour: Floats, alpha: Floats) -> None:
        """Paint ``colour`` over the pixels where ``alpha`` is 1."""
        self.pixels += (colour - self.pixels) * alpha[..., None]

    def darken(self, by: Floats) -> None:
        """Darken the pixels by a share."""
        self.pixels *= 1 - np.clip(by, 0, 1)[..., None]
