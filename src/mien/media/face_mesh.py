"""The 478 landmarks of a face in a region of an image, and its 52 blendshapes.

Shapes: ``H, W`` height and width of an image; 478 landmarks, of which the last ten are the irises; 52 blendshapes.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.media.crops import Image, warp
from mien.media.face_networks import Network
from mien.media.short_range import Detection

SIDE = 256
"""Side of the landmark network's input, pixels."""

REGION_SCALE = 1.5
"""Size of the region in which landmarks are looked for, in sizes of the detected box."""

FOLLOWED_SCALE = 1.5
"""The same, in the longer side of the box around the landmarks that a followed face had last."""

OUTER_EYE_CORNERS = [33, 263]
"""Landmarks of the outer eye corners, the left one in the image first."""

# fmt: off
BLENDSHAPE_LANDMARKS = np.array([
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80, 81,
    82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154,
    155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263,
    267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321,
    323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387,
    388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
])
# fmt: on
"""The landmarks that the blendshape network reads; see ``NOTICE`` for their source."""


@dataclass(frozen=True)
class Region:
    """A rotated rectangle of an image: centre, width and height in pixels, and angle in radians (clockwise)."""

    x: float
    y: float
    width: float
    height: float
    angle: float

    @classmethod
    def around(cls, face: Detection) -> "Region":
        """The region of a detected face: the box, enlarged, and turned so that the eyes are level."""
        (left, top, right, bottom), ((x0, y0), (x1, y1)) = face.box, face.eyes
        size = ((right - left) * REGION_SCALE, (bottom - top) * REGION_SCALE)
        return cls((left + right) / 2, (top + bottom) / 2, *size, math.atan2(y1 - y0, x1 - x0))

    @classmethod
    def of_landmarks(cls, landmarks: npt.NDArray[np.floating]) -> "Region":
        """The region in which a face is expected that had these landmarks ``(478, ≥ 2)`` a moment ago: a square."""
        (left, top), (right, bottom) = landmarks[:, :2].min(axis=0).tolist(), landmarks[:, :2].max(axis=0).tolist()
        side = max(right - left, bottom - top, 1.0) * FOLLOWED_SCALE
        (x0, y0), (x1, y1) = landmarks[OUTER_EYE_CORNERS, :2].tolist()
        return cls((left + right) / 2, (top + bottom) / 2, side, side, math.atan2(y1 - y0, x1 - x0))

    def change_to(self, other: "Region") -> float:
        """How far another region is moved, resized or turned: the largest, in widths, as a log ratio, in radians."""
        moved = math.hypot(other.x - self.x, other.y - self.y) / self.width
        return max(moved, abs(math.log(other.width / self.width)), abs(other.angle - self.angle))

    def matrix(self, side: int) -> npt.NDArray[np.float64]:
        """The ``(2, 3)`` map from a square of ``side`` pixels onto the region."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        across = np.array([cos, sin]) * self.width
        down = np.array([-sin, cos]) * self.height
        corner = np.array([self.x, self.y]) - (across + down) / 2
        return np.stack([across / side, down / side, corner], axis=1)


class FaceMesh:
    """The networks of landmarks and blendshapes.

    Source: Grishchenko et al., "Attention Mesh: High-fidelity Face Mesh Prediction in Real-time" (2020),
    arXiv:2006.10962; the graphs of MediaPipe's face landmarker (Apache-2.0).
    """

    def __init__(self, landmarks: Network, blendshapes: Network) -> None:
        self._landmarks, self._blendshapes = landmarks, blendshapes

    def landmarks(self, image: Image, region: Region) -> npt.NDArray[np.float64] | None:
        """``(478, 3)`` x, y, and depth in the scale of x, pixels; ``None`` if the region does not show a face."""
        matrix = region.matrix(SIDE)
        values, presence = self._landmarks(warp(image, matrix, SIDE)[None].astype(np.float32) / np.float32(255))
        if presence[0, 0, 0, 0] < 0:  # a logit: less likely than not
            return None
        points = values.reshape(-1, 3).astype(np.float64)
        placed = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        return np.concatenate([placed, points[:, 2:] * (region.width / SIDE)], axis=1)

    def blendshapes(self, landmarks: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """``(52,)`` in [0, 1], in the order of MediaPipe, the first of which is ``_neutral``."""
        (values,) = self._blendshapes(landmarks[None, BLENDSHAPE_LANDMARKS, :2].astype(np.float32))
        return values
