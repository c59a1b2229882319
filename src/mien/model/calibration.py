"""Scores that are expected ratings: an affine map per emotion and per set of available modalities.

A correlation loss fixes the spread of the scores at that of the ratings, under dropout at that; the best guess of a
rating spreads less, by the factor r. So the mean of the models is mapped to the ratings by least squares, with r
shrunken, on the clips that chose the epochs: ``rating = slope * score + offset``. The map rises, so r of an emotion
among clips with the same modalities does not change.

The trade-off: CCC falls, because scores spread less than ratings; errors fall, and few scores leave the rating scale.

Shapes: ``N`` clips, ``E`` emotions; a map is ``(2, E)``: slopes, offsets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.metrics import mean_defined, pearson
from mien.subsets import subset_name

FEWEST_CLIPS = 20
"""Rated clips of an emotion, at least, for a map of its own."""
PRIOR_CLIPS = 100
"""The mean r of the emotions weighs as much as so many clips beside the r of one emotion."""

Maps = Mapping[str, npt.NDArray[np.float32]]
"""Maps ``(2, E)`` by set of modalities (``"text+audio"``)."""


def shrunken_line(
    scores: npt.ArrayLike, ratings: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """The least-squares line of each emotion, with its r shrunken to the mean r of the emotions.

    The slope is r times the spread of the ratings over that of the scores. Spreads and means are well known from few
    clips, r is not: from 50, its standard error is .13, more than emotions differ.

    Args:
        scores: ``(N, E)``.
        ratings: ``(N, E)``, ``nan`` where unrated.

    Returns:
        Maps ``(2, E)``, and whether each is of the emotion's own r, ``(E,)``. An emotion whose r is not above 0 has the
        mean r: its own would invert scores. The map is ``nan`` with fewer than ``FEWEST_CLIPS`` rated clips, where r is
        undefined, or where the mean r is not above 0.

    >>> x = np.tile([0.0, 1.0], 10)[:, None]
    >>> maps, own = shrunken_line(x, 0.2 + 0.5 * x)
    >>> maps.round(6).tolist(), own.tolist()
    ([[0.5], [0.2]], [True])
    >>> shrunken_line(x, 0.2 - 0.5 * x)[0].tolist(), shrunken_line(x[:19], x[:19])[0].tolist()
    ([[nan], [nan]], [[nan], [nan]])
    """
    x, y = np.asarray(scores, np.float64), np.asarray(ratings, np.float64)
    x = np.where(np.isnan(y), np.nan, x)
    count = (~np.isnan(y)).sum(0)
    r = np.where(count >= FEWEST_CLIPS, pearson(np.nan_to_num(x), y), np.nan)
    mean_r = float(mean_defined(r))
    own = (r > 0) & (mean_r > 0)
    maps = np.full((2, x.shape[1]), np.nan)
    for e in np.flatnonzero(~np.isnan(r)) if mean_r > 0 else ():
        weight = count[e] / (count[e] + PRIOR_CLIPS) if own[e] else 0.0
        slope = (weight * r[e] + (1 - weight) * mean_r) * np.nanstd(y[:, e]) / np.nanstd(x[:, e])
        maps[:, e] = slope, np.nanmean(y[:, e]) - slope * np.nanmean(x[:, e])
    return maps, own


@dataclass(frozen=True)
class Fit:
    """The maps of a model.

    Attributes:
        maps: by set of modalities.
        kept: ``(set, emotion)`` whose map is not of their own r: it has the mean r of the emotions, or is that of all
            modalities, or, for all modalities, leaves scores as they are.
    """

    maps: Maps
    kept: tuple[tuple[str, int], ...]

    @property
    def count(self) -> int:
        """Number of sets of modalities, times emotions."""
        return sum(one.shape[1] for one in self.maps.values())

    def notes(self, targets: Sequence[str]) -> list[str]:
        """How many maps are not their own, with the first."""
        if not self.kept:
            return []
        (name, e), counted = self.kept[0], f"{len(self.kept)} of {self.count}"
        return [
            f"{counted} maps of scores to ratings could not be fitted to the emotion itself (r not above 0, or fewer "
            f"than {FEWEST_CLIPS} rated clips); such a map uses the mean r of all emotions, is the map for all "
            f"modalities, or leaves the score as it is (first: {name}, {targets[e]})"
        ]

    def record(self, targets: Sequence[str]) -> dict[str, Any]:
        """Counts, notes, and the slopes with all modalities by emotion, for ``provenance.json``."""
        slopes = self.maps[max(self.maps, key=len)][0]
        return {
            "maps": self.count,
            "kept": len(self.kept),
            "slopes": {name: round(float(slope), 6) for name, slope in zip(targets, slopes, strict=True)},
            "notes": self.notes(targets),
        }


def fit(
    scores: Mapping[tuple[str, ...], npt.NDArray[np.float32]],
    ratings: npt.NDArray[np.float32],
    present: npt.NDArray[np.bool_],
    modalities: Sequence[str],
) -> Fit:
    """Fit the maps of every set of modalities, on all clips that have at least these.

    Args:
        scores: ``(N, E)`` by set, with the other modalities removed; the mean over the models.
        ratings: ``(N, E)``, ``nan`` where unrated.
        present: ``(N, M)``, the modalities of each clip.
        modalities: of the model, in order.
    """
    whole = tuple(modalities)
    found = {
        subset: shrunken_line(values[has], ratings[has])
        for subset, values in scores.items()
        for has in [has_subset(present, modalities, subset)]
    }
    identity = np.stack([np.ones(ratings.shape[1]), np.zeros(ratings.shape[1])])
    usual = np.where(np.isnan(found[whole][0]), identity, found[whole][0])
    kept = tuple((subset_name(s), int(e)) for s, (_, own) in found.items() for e in np.flatnonzero(~own))
    maps = {subset_name(s): np.where(np.isnan(m), usual, m).astype(np.float32) for s, (m, _) in found.items()}
    return Fit(maps, kept)


def has_subset(
    present: npt.NDArray[np.bool_], modalities: Sequence[str], subset: Sequence[str]
) -> npt.NDArray[np.bool_]:
    """``(N,)``, whether each clip has at least the modalities of a set; ``present`` is ``(N, M)``."""
    return np.asarray((present | ~np.isin(modalities, subset)).all(-1))


def left_out_errors(scores: npt.ArrayLike, ratings: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Absolute errors ``(N, E)``, each as if the map had been fitted without its clip; ``nan`` where unrated.

    An error of least squares, divided by one minus the clip's leverage, is the error of the line fitted to the others.

    Args:
        scores: ``(N, E)``, mapped by least squares on these clips; with shrunken r, the errors are slightly too large.
        ratings: ``(N, E)``, ``nan`` where unrated.

    >>> left_out_errors([[0.5], [1.5], [2.5]], [[0.0], [2.0], [2.5]]).round(3).tolist()  # leverages 5/6, 1/3, 5/6
    [[3.0], [0.75], [0.0]]
    """
    x, y = np.asarray(scores, np.float64), np.asarray(ratings, np.float64)
    known = ~np.isnan(y)
    count = np.maximum(known.sum(0), 1)
    apart = np.where(known, x - np.where(known, x, 0).sum(0) / count, 0)
    spread = (apart**2).sum(0)
    leverage = 1 / count + apart**2 / np.where(spread > 0, spread, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.abs(x - y) / (1 - leverage)
