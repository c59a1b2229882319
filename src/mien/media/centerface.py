"""Detection of small or distant faces: CenterFace, run by OpenCV.

It scales an image to 640 pixels and finds faces from 40 pixels on in one that is 1280 wide, in about 60 ms; its boxes
are candidates, which ``face_detection.py`` confirms with the landmarker.

Shapes: ``H, W`` height and width of an image; ``h, w`` of the detector's maps, a quarter of its input; ``n`` boxes.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.errors import WeightsError
from mien.media.crops import Box, Image, open_cv

MIN_CONFIDENCE = 0.5
"""Lowest confidence of the full-range detector; real faces of 40 pixels score .6 and more."""

FULL_RANGE_SIDE = 640
"""Longer side to which an image is scaled for the full-range detector, pixels."""

SAME_FACE = 0.4
"""Boxes that overlap by more (intersection over union) are the same face."""


class FullRange:
    """CenterFace, a detector for faces from 40 pixels on (in an image 1280 wide).

    Run by OpenCV: the file fixes a wrong input shape, which OpenCV ignores and ONNX Runtime refuses. Checked against
    ONNX Runtime on a corrected copy: equal to 2e-5, in 60 % of the time.

    Source: Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point" (2019), section 3.
    """

    def __init__(self, file: Path) -> None:
        cv2 = open_cv()
        try:
            self._net = cv2.dnn.readNetFromONNX(str(file))
        except cv2.error as error:
            raise WeightsError(f"{file}: not a full-range face detector; check it with: mien weights verify") from error
        self._blob = cv2.dnn.blobFromImage

    def boxes(self, image: Image) -> list[Box]:
        """Boxes of faces in an image ``(H, W, 3)``, in order of falling confidence."""
        height, width = image.shape[:2]
        scale = min(1.0, FULL_RANGE_SIDE / max(height, width))
        columns, rows = (32 * max(1, round(length * scale / 32)) for length in (width, height))
        self._net.setInput(self._blob(image, 1.0, (columns, rows)))
        heat, size, offset, _ = self._net.forward(["537", "538", "539", "540"])  # each (1, ·, rows/4, columns/4)
        boxes, scores = decode_centres(heat[0, 0], size[0], offset[0])
        return _distinct_boxes(boxes * (width / columns, height / rows, width / columns, height / rows), scores)


def decode_centres(
    heat: npt.NDArray[np.float32], size: npt.NDArray[np.float32], offset: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Boxes from the maps of a centre-point detector with stride 4.

    Args:
        heat: ``(h, w)`` confidence that a face's centre lies in this cell, in [0, 1].
        size: ``(2, h, w)`` natural logarithm of the face's height and width in cells.
        offset: ``(2, h, w)`` position of the centre in its cell, down and right from the middle, in cells.

    Returns:
        ``(n, 4)`` boxes in pixels of the detector's input, and their ``(n,)`` scores.

    A face 2 cells high and 1 wide (8 by 4 pixels), in the middle of the cell in row 1, column 2, which is at (10, 6):

    >>> heat, maps = np.zeros((3, 4), np.float32), np.zeros((2, 3, 4), np.float32)
    >>> heat[1, 2], maps[0, 1, 2] = 0.9, np.log(2)
    >>> decode_centres(heat, maps, np.zeros_like(maps))[0].round(4).tolist()
    [[8.0, 2.0, 12.0, 10.0]]
    """
    row, column = np.nonzero(heat > MIN_CONFIDENCE)
    half_height, half_width = 2 * np.exp(size[:, row, column])
    y = 4 * (row + 0.5 + offset[0, row, column])
    x = 4 * (column + 0.5 + offset[1, row, column])
    boxes = np.stack([x - half_width, y - half_height, x + half_width, y + half_height], axis=1)
    return boxes.astype(np.float32), heat[row, column]


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes.

    >>> overlap((0.0, 0.0, 2.0, 2.0), (1.0, 0.0, 3.0, 2.0))  # 2 of 6 pixels
    0.3333333333333333
    """
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (one, other)]
    return width * height / (sum(areas) - width * height)


def _distinct_boxes(boxes: npt.NDArray[np.floating], scores: npt.NDArray[np.float32]) -> list[Box]:
    kept: list[Box] = []
    for left, top, right, bottom in boxes[np.argsort(-scores, kind="stable")].tolist():
        if all(overlap((left, top, right, bottom), other) <= SAME_FACE for other in kept):
            kept.append((left, top, right, bottom))
    return kept
