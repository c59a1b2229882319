"""Detection of close faces: MediaPipe's short-range detector, on the image scaled to 128 pixels.

Shapes: ``H, W`` height and width of an image; 896 anchors; ``n`` detections; 6 points, the first two of them the eyes.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.media.crops import Box, Image, warp
from mien.media.face_networks import Network

MIN_CONFIDENCE = 0.7
"""Lowest confidence. At MediaPipe's default of .5 it detects faces in a cartoon rabbit, at .65 none; real faces are
detected up to .8."""

Floats = npt.NDArray[np.floating]

SIDE = 128
"""Side of the detector's input, pixels."""

SAME_FACE = 0.5
"""Detections that overlap by more (intersection over union) are merged."""


@dataclass(frozen=True)
class Detection:
    """A detected face, in pixels of the image: its box, the two eyes as (x, y), and the confidence."""

    box: Box
    eyes: tuple[tuple[float, float], tuple[float, float]]
    confidence: float


class ShortRange:
    """The short-range detector; misses faces much smaller than a fifth of the image.

    Source: Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs" (2019),
    arXiv:1907.05047; constants as in MediaPipe (Apache-2.0).
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._anchors = anchors()

    def find(self, image: Image) -> list[Detection]:
        """Faces in an image ``(H, W, 3)``, in order of falling confidence."""
        height, width = image.shape[:2]
        side = max(height, width)
        corner = np.array([(width - side) / 2, (height - side) / 2])  # of the square around the image
        step = side / SIDE
        placed = warp(image, np.array([[step, 0, corner[0]], [0, step, corner[1]]]), SIDE, border=0)
        rows, logits = self._network(placed[None].astype(np.float32) / np.float32(127.5) - 1)
        kept = logits[0, :, 0] >= math.log(MIN_CONFIDENCE / (1 - MIN_CONFIDENCE))
        confidence = 1 / (1 + np.exp(-logits[0, kept, 0]))
        points = rows[0, kept].reshape(-1, 8, 2) / SIDE  # centre, size, six points
        points[:, [0, 2, 3, 4, 5, 6, 7]] += self._anchors[kept, None]
        merged, scores = merge(points, confidence)
        return [_detection(row, score, corner, side) for row, score in zip(merged, scores.tolist(), strict=True)]


def anchors() -> Floats:
    """``(896, 2)`` positions that detections are relative to, as shares of the input: x, y.

    A grid of 16 by 16 cells with two anchors each, then one of 8 by 8 with six each; rows first.

    >>> anchors()[[0, 1, 2, 512]].tolist()
    [[0.03125, 0.03125], [0.03125, 0.03125], [0.09375, 0.03125], [0.0625, 0.0625]]
    """
    grids = []
    for cells, copies in ((16, 2), (8, 6)):
        middle = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        grid = np.stack(np.meshgrid(middle, middle), axis=-1).reshape(-1, 2)
        grids.append(np.repeat(grid, copies, axis=0))
    return np.concatenate(grids)


def merge(rows: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """Merge detections of the same face: the mean of those that overlap with the best, weighted by their scores.

    Args:
        rows: ``(n, 8, 2)``: centre, size and six points.
        scores: ``(n,)`` in (0, 1].

    Returns:
        The merged rows and the best score of each, in order of falling scores.
    """
    merged, best = [], []
    order = np.argsort(-scores, kind="stable")
    while len(order):
        same = _overlaps(rows[order[0]], rows[order]) > SAME_FACE
        same[0] = True
        group = order[same]
        merged.append(np.average(rows[group], axis=0, weights=scores[group]))
        best.append(scores[order[0]])
        order = order[~same]
    return np.array(merged).reshape(-1, 8, 2), np.array(best)


def _overlaps(one: Floats, others: Floats) -> Floats:
    """Intersection over union of one row's box with the boxes of others."""
    top_left, bottom_right = others[:, 0] - others[:, 1] / 2, others[:, 0] + others[:, 1] / 2
    shared = np.minimum(bottom_right, one[0] + one[1] / 2) - np.maximum(top_left, one[0] - one[1] / 2)
    common = np.clip(shared, 0, None).prod(axis=1)
    union = others[:, 1].prod(axis=1) + one[1].prod() - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def _detection(row: Floats, confidence: float, corner: Floats, side: int) -> Detection:
    centre, eyes = row[0] * side + corner, row[2:4] * side + corner
    (left, top), (right, bottom) = (centre - row[1] * side / 2).tolist(), (centre + row[1] * side / 2).tolist()
    (x0, y0), (x1, y1) = eyes.tolist()
    return Detection((left, top, right, bottom), ((x0, y0), (x1, y1)), confidence)
