"""Half-widths of prediction intervals, by emotion and by band of the score.

Shapes: ``N`` clips, ``E`` emotions, ``B`` bands.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MOST_BANDS = 64
"""In a model that is read."""


@dataclass(frozen=True)
class HalfWidths:
    """A half-width per emotion and band of the score.

    Attributes:
        widths: ``(B, E)``, the lowest band first; ``nan`` without calibration clips, ``inf`` with too few.
        edges: ``(B - 1, E)``, ascending: the lowest score of each band but the first. Bands that an emotion does not
            have begin at ``inf``.
    """

    widths: npt.NDArray[np.float32]
    edges: npt.NDArray[np.float32]

    @classmethod
    def constant(cls, widths: npt.ArrayLike) -> "HalfWidths":
        """The same half-width ``(E,)`` for every score."""
        row = np.asarray(widths, np.float32)[None]
        return cls(row, np.empty((0, row.shape[1]), np.float32))

    @classmethod
    def of_columns(cls, columns: Sequence[tuple[Sequence[float], Sequence[float]]]) -> "HalfWidths":
        """Half-widths and edges of each emotion, of which some may have fewer bands than others."""
        bands = max(len(widths) for widths, _ in columns)
        widths = np.array([[*w, *[w[-1]] * (bands - len(w))] for w, _ in columns], np.float32).T
        edges = np.array([[*e, *[np.inf] * (bands - 1 - len(e))] for _, e in columns], np.float32).T
        return cls(widths, edges.reshape(bands - 1, len(columns)))

    def at(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The half-widths of scores ``(N, E)``.

        >>> HalfWidths.of_columns([([0.1, 0.4], [0.5]), ([0.2], [])]).at(np.array([[0.4, 9], [0.5, 0]])).tolist()
        [[0.10000000149011612, 0.20000000298023224], [0.4000000059604645, 0.20000000298023224]]
        """
        band = (np.asarray(scores)[:, None] >= self.edges).sum(1)  # (N, E)
        return np.take_along_axis(self.widths, band, 0)
