"""Prediction intervals with a stated coverage for any model: split-conformal prediction.

The half-width of an interval is an order statistic of the absolute errors on clips that the model was not trained on,
per emotion and per set of available modalities. Few clips lack a modality, so every set is calibrated on all clips that
have at least its modalities, with the others removed. A clip with fewer modalities never gets a narrower interval than
one with more: the wider of the two is valid for both.

The trade-off: an interval has the same width for all clips with the same modalities. Its calibration clips, which also
chose the best epoch, are not quite unseen; with thousands of them the difference is below the sampling error. The maps
of scores to ratings were fitted on the same clips, so each error is that of a map fitted without its clip.

Source: J. Lei et al., "Distribution-free predictive inference for regression", JASA 113 (2018) 1094, theorem 2.2; one
calibration per group: V. Vovk, ACML 2012 (Mondrian).
Shapes: ``N`` calibration clips, ``E`` emotions.
"""

import math

import numpy as np
import numpy.typing as npt

from mien.model.bundle import Bundle
from mien.model.calibration import has_subset, left_out_errors
from mien.model.inputs import ClipDataset
from mien.subsets import all_subsets, modalities_of, subset_name


def calibrate(bundle: Bundle, clips: ClipDataset, level: float = 0.9) -> dict[str, npt.NDArray[np.float32]]:
    """Half-widths ``(E,)`` by set of modalities (``"text+audio"``), for ``Bundle.quantiles``.

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
    half_widths: dict[str, npt.NDArray[np.float32]] = {}
    scores_by_subset = bundle.score_subsets(clips, all_subsets(bundle.modalities))
    for subset in reversed(scores_by_subset):  # larger sets first
        has = has_subset(present, bundle.modalities, subset)
        if not has.any():
            continue
        scores, ratings = scores_by_subset[subset][has], labels[has]
        errors = left_out_errors(scores, ratings) if bundle.calibration else np.abs(scores - ratings)
        quantile = conformal_quantile(errors, level)
        larger = [half_widths[name] for name in half_widths if set(subset) < set(modalities_of(name))]
        half_widths[subset_name(subset)] = np.max([quantile, *larger], 0).astype(np.float32)
    return half_widths


def conformal_quantile(errors: npt.ArrayLike, level: float) -> npt.NDArray[np.float64]:
    """The ``ceil((n + 1) level)``-th smallest error of each emotion; ``inf`` if ``n`` is too small.

    Args:
        errors: ``(N, E)``, ``nan`` where unrated.
        level: in (0, 1).

    >>> conformal_quantile([[0.1], [0.4], [0.2], [0.3]], 0.8).tolist()  # the 4th of 4
    [0.4]
    >>> conformal_quantile([[0.1], [0.4], [0.2], [0.3]], 0.9).tolist()  # the 5th of 4
    [inf]
    """
    errors = np.asarray(errors, np.float64)
    result = np.full(errors.shape[1], np.inf)
    for e in range(errors.shape[1]):
        known = np.sort(errors[~np.isnan(errors[:, e]), e])
        rank = math.ceil((len(known) + 1) * level)
        if rank <= len(known):
            result[e] = known[rank - 1]
    return result
