"""Prediction intervals with a stated coverage for any model: split-conformal prediction, by band of the score.

The half-width of an interval is an order statistic of the absolute errors on clips that the model was not trained on,
per emotion and per set of available modalities. High scores have larger errors than low ones, so the calibration clips
are divided into bands by their score, and each band has a half-width of its own: the target coverage holds for high
scores as for low ones. Few scores are high, so bands are narrow at the top: the ``BAND_CLIPS`` highest scores, then
twice as many, and so on. With few clips there is a single band.

Few clips lack a modality, so every set is calibrated on all clips that have at least its modalities, with the others
removed. A clip with fewer modalities never gets a narrower interval than one with more that has the same score: the
wider of the two is valid for both (``Bundle.intervals``).

The trade-off: at the edge of a band the half-width jumps. Coverage is not guaranteed by level of the *rating*: a rating
that is much higher than its score lies outside by definition. The calibration clips, which also chose the best epoch,
are not quite unseen; with thousands of them the difference is below the sampling error. The maps of scores to ratings
were fitted on the same clips, so each error is that of a map fitted without its clip.

Sources: J. Lei et al., "Distribution-free predictive inference for regression", JASA 113 (2018) 1094, theorem 2.2; one
calibration per group: V. Vovk, ACML 2012 (Mondrian).
Shapes: ``N`` calibration clips, ``E`` emotions.
"""

import math

import numpy as np
import numpy.typing as npt

from mien.model.bundle import Bundle
from mien.model.calibration import has_subset, left_out_errors
from mien.model.half_widths import HalfWidths
from mien.model.inputs import ClipDataset
from mien.subsets import all_subsets, subset_name

BAND_CLIPS = 100
"""Rated clips of the highest band of an emotion; each lower one has twice as many as the one above it, at least."""


def calibrate(bundle: Bundle, clips: ClipDataset, level: float = 0.9) -> dict[str, HalfWidths]:
    """Half-widths by set of modalities (``"text+audio"``), for ``Bundle.half_widths``.

    Args:
        bundle: the model.
        clips: rated clips that it was not trained on.
        level: target coverage for new clips.

    Returns:
        ``inf`` where there are too few rated clips for the level, so that the interval contains everything. A set
        without calibration clips has no entry.
    """
    labels = clips.labels.cpu().numpy()
    present = bundle.present(clips)
    half_widths: dict[str, HalfWidths] = {}
    for subset, of_all in bundle.score_subsets(clips, all_subsets(bundle.modalities)).items():
        has = has_subset(present, bundle.modalities, subset)
        if not has.any():
            continue
        scores, ratings = of_all[has], labels[has]
        errors = left_out_errors(scores, ratings) if bundle.calibration else np.abs(scores - ratings)
        half_widths[subset_name(subset)] = half_widths_of(scores, errors, level)
    return half_widths


def half_widths_of(scores: npt.NDArray[np.float32], errors: npt.NDArray[np.floating], level: float) -> HalfWidths:
    """Half-widths from the scores and absolute errors of calibration clips, ``(N, E)`` each, ``nan`` where unrated."""
    return HalfWidths.of_columns([_bands(*column, level) for column in zip(scores.T, errors.T, strict=True)])


def _bands(
    scores: npt.NDArray[np.float32], errors: npt.NDArray[np.floating], level: float
) -> tuple[list[float], list[float]]:
    """The half-widths of an emotion, ``B`` of them from the lowest band to the highest, and the ``B - 1`` edges."""
    known = ~np.isnan(errors)
    order = np.argsort(scores[known], kind="stable")
    x, e = scores[known][order], errors[known][order]
    begins = band_begins(x)
    parts = np.split(e, begins)
    return [conformal_quantile(part, level) for part in parts], [float(x[begin]) for begin in begins]


def band_begins(scores: npt.NDArray[np.float32]) -> list[int]:
    """The places of ascending scores at which a band begins, without the first.

    Equal scores are in one band, and a rest that is not twice as long as the band above joins it.

    >>> band_begins(np.arange(1000)), band_begins(np.arange(299)), band_begins(np.zeros(1000))
    ([700, 900], [], [])
    """
    begins, end, size = [], len(scores), BAND_CLIPS
    while end - size >= 2 * size:
        begin = int(np.searchsorted(scores, scores[end - size]))
        if begin < 2 * size:
            break
        begins.append(begin)
        end, size = begin, 2 * size
    return begins[::-1]


def conformal_quantile(errors: npt.ArrayLike, level: float) -> float:
    """The ``ceil((n + 1) level)``-th smallest of ``n`` errors; ``inf`` if ``n`` is too small, ``nan`` is left out.

    >>> conformal_quantile([0.1, 0.4, 0.2, 0.3], 0.8)  # the 4th of 4
    0.4
    >>> conformal_quantile([0.1, 0.4, 0.2, 0.3], 0.9)  # the 5th of 4
    inf
    """
    values = np.asarray(errors, np.float64)
    known = np.sort(values[~np.isnan(values)])
    rank = math.ceil((len(known) + 1) * level)
    return float(known[rank - 1]) if rank <= len(known) else math.inf
