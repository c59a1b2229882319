"""The baseline: ridge regression on features averaged over time, without stages and attention.

Shapes: ``N`` clips, ``F`` feature width, ``E`` emotions.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import RidgeCV

from mien.model.inputs import PackedSteps

Array = npt.NDArray[np.float32]

PENALTIES = np.logspace(0, 7, 15)
_CLIPS = 256


def pooled(steps: PackedSteps) -> Array:
    """``(N, F)`` mean over the steps of each clip; ``nan`` for a clip without steps."""
    count = len(steps.has)
    means = torch.full((count, steps.values.shape[1]), torch.nan)
    for index in torch.arange(count).split(_CLIPS):
        batch = steps.batch(index.to(steps.has.device), torch.float32)
        has = batch.mask.sum(1, keepdim=True)
        means[index] = torch.where(has > 0, batch.values.float().sum(1) / has, torch.nan).cpu()
    return means.numpy()


def ridge_scores(parts: Mapping[str, tuple[Array, Array]], labels: Array) -> Array:
    """Predictions ``(N, E)`` of the validation clips.

    Args:
        parts: by modality, pooled features of training and validation clips.
        labels: ``(N, E)`` of the training clips, ``nan`` where unrated: such clips are left out, emotion by emotion.

    Returns:
        ``nan`` for an emotion with fewer than two rated training clips.

    Features are standardised over the training clips; a missing modality is replaced by its mean, with a missingness
    indicator column. The penalty is chosen per emotion by leave-one-out on the training clips.
    """
    train, valid = zip(*(_standard(*part) for part in parts.values()), strict=True)
    inputs, outputs, known = np.hstack(train), np.hstack(valid), ~np.isnan(labels)
    if known.all():
        ridge = RidgeCV(PENALTIES, alpha_per_target=True).fit(inputs, labels)
        return np.asarray(ridge.predict(outputs), np.float32).reshape(len(outputs), -1)  # (N,) for one emotion
    scores = np.full((len(outputs), labels.shape[1]), np.nan, np.float32)
    for e in np.flatnonzero(known.sum(0) > 1):
        rows = known[:, e]
        scores[:, e] = RidgeCV(PENALTIES).fit(inputs[rows], labels[rows, e]).predict(outputs)
    return scores


def _standard(train: Array, valid: Array) -> tuple[Array, Array]:
    mean, deviation = np.nanmean(train, 0), np.nanstd(train, 0)
    scale = np.where(deviation > 1e-6, deviation, 1)
    first, second = (
        np.column_stack([np.nan_to_num((side - mean) / scale), np.isnan(side[:, :1])]) for side in (train, valid)
    )
    return first, second
