"""Prediction intervals that hold what they state, whatever the model is worth: split-conformal prediction.

The half-width of an interval is an order statistic of the absolute errors on clips that the model did not learn from,
per emotion and per set of modalities that a clip has. Few clips lack a modality by nature, so every set is calibrated
on all clips that have at least it, with the others taken away. A clip that has less never gets a narrower interval
than one that has more: the wider of the two would be valid for both.

The trade-off: an interval has the same width for all clips with the same modalities. Clips that stopped the training
(validation) are not quite unseen; with thousands of them the difference is below the sampling error.

Source: J. Lei et al., "Distribution-free predictive inference for regression", JASA 113 (2018) 1094, theorem 2.2; one
calibration per group: V. Vovk, ACML 2012 (Mondrian).
Shapes: ``N`` calibration clips, ``E`` emotions.
"""

import math

import numpy as np
import numpy.typing as npt

from mien.model.bundle import Bundle
from mien.model.inputs import ClipDataset
from mien.subsets import all_subsets, modalities_of, subset_name


def calibrate(bundle: Bundle, clips: ClipDataset, level: float = 0.9) -> dict[str, npt.NDArray[np.float32]]:
    """Half-widths ``(E,)`` by set of modalities (``"text+audio"``), for ``Bundle.quantiles``.

    Args:
        bundle: the model.
        clips: rated ones that it did not learn from.
        level: share of new clips whose rating the interval shall hold.

    Returns:
        ``inf`` where there are too few rated clips for the level: an interval that holds everything. A set that no
        calibration clip has is left out.
    """
    rated = clips.labels.cpu().numpy()
    present = np.stack([clips.present(name).cpu().numpy() for name in bundle.modalities], -1)
    half: dict[str, npt.NDArray[np.float32]] = {}
    answers = bundle.score_subsets(clips, all_subsets(bundle.modalities))
    for subset in reversed(answers):  # larger sets first
        have = np.array([name in subset for name in bundle.modalities])
        able = (present | ~have).all(-1)
        if not able.any():
            continue
        own = conformal_quantile(np.abs(answers[subset][able] - rated[able]), level)
        larger = [half[name] for name in half if set(subset) < set(modalities_of(name))]
        half[subset_name(subset)] = np.max([own, *larger], 0).astype(np.float32)
    return half


def conformal_quantile(errors: npt.ArrayLike, level: float) -> npt.NDArray[np.float64]:
    """The ``ceil((n + 1) level)``-th smallest error of each emotion; ``inf`` when there is no such one.

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
