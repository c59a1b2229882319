"""Where learned weights of layers start: at what a linear model reads from each layer alone.

From equal weights, the encoder of a few dozen clips ends near the average of all layers, most of which know less than
the best. So each layer is first read by a ridge regression of the clips' means over time, in folds by participant; a
layer whose predictions have an r that is ``TEMPERATURE`` higher starts with e times the weight. Only training clips
have a part in it. The trade-off: seconds before a training, and the start knows no attention. Where that reads more
from the last layer than from others, as of voices, the last has a lead (``Modality.last_layer_lead``), which another
has to outdo by evidence (``docs/decisions/0079-layers-start-at-a-ridge.md``).

Shapes: ``N`` clips, ``L`` layers, ``F`` backbone width, ``E`` emotions.
"""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from mien.metrics import mean_defined, pearson
from mien.modalities import find_modality
from mien.modalities.encoder import LayerWeights, mean_pool
from mien.model.inputs import ClipDataset, PackedSteps

Array = npt.NDArray[np.float64]

TEMPERATURE = 0.05
"""About the standard error of the difference in r between two layers on eighty clips."""
_TEMPERATURE_CLIPS = 80
FOLDS, MOST_CLIPS = 5, 1000
_BATCH_CLIPS = 64
PENALTIES = (1.0, 10.0, 100.0)
"""Of the ridge regression, as multiples of ``F``; the best of a layer counts."""


def start_layers(layers: Mapping[str, LayerWeights], clips: ClipDataset) -> None:
    """Set the weights of layers to their start: equal but for a lead of the last where too few clips can tell.

    Args:
        layers: by modality (``layers_of``).
        clips: that train, with at least these modalities.
    """
    for name, part in layers.items():
        r = np.nan_to_num(layer_r(clips, name))
        r[-1] += find_modality(name).last_layer_lead * _standard_error(int(clips.present(name).sum()))
        start = torch.from_numpy(r / TEMPERATURE)
        with torch.no_grad():
            part.logits.copy_(start - start.max())


def layer_r(clips: ClipDataset, modality: str) -> Array:
    """``(L,)`` r of each layer's predictions for clips of other people, the mean over emotions; ``nan`` if undefined.

    At most ``MOST_CLIPS`` of the clips are read, drawn with a fixed seed.
    """
    rng, steps = np.random.default_rng(0), clips.modalities[modality]
    index = torch.nonzero(clips.present(modality)).flatten()
    index = index[np.sort(rng.permutation(len(index))[:MOST_CLIPS])]
    labels = clips.labels[index].double().cpu().numpy()
    labels = labels[:, ~np.isnan(labels).all(0)]
    folds = _folds(np.arange(len(labels)) if clips.people is None else clips.people[index].cpu().numpy(), rng)
    if len(np.unique(folds)) == 1:
        return np.full(steps.layers, np.nan)
    means = _means(steps, index)
    return np.array([_out_of_fold_r(means[:, layer], labels, folds) for layer in range(steps.layers)])


def _standard_error(clips: int) -> float:
    """Of the difference in r between two layers, of which at most ``MOST_CLIPS`` are read."""
    return TEMPERATURE * math.sqrt(_TEMPERATURE_CLIPS / max(1, min(clips, MOST_CLIPS)))


def _means(steps: PackedSteps, index: torch.Tensor) -> Array:
    """``(N, L, F)`` the layers of clips, each the mean of its steps."""
    parts = [mean_pool(steps.batch(part, torch.float32))[0].cpu() for part in index.split(_BATCH_CLIPS)]
    return torch.cat(parts).double().unflatten(1, (steps.layers, -1)).numpy()


def _folds(people: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """``(N,)`` the fold of each clip; the clips of a person are in one."""
    names, place = np.unique(people, return_inverse=True)
    return (rng.permutation(len(names)) % FOLDS)[place]


def _out_of_fold_r(means: Array, labels: Array, folds: npt.NDArray[np.int64]) -> float:
    """r of the best penalty, the mean over emotions, from ``(N, F)`` and ``(N, E)``; unrated labels are ignored."""
    features = (means - means.mean(0)) / np.maximum(means.std(0), 1e-6)
    kernel = features @ features.T / features.shape[1]  # (N, N)
    known = np.where(np.isnan(labels), np.nanmean(labels, 0), labels)
    predicted = np.full((len(PENALTIES), *labels.shape), np.nan)
    for fold in np.unique(folds):
        others, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        mean = known[others].mean(0)
        for penalty, out in zip(PENALTIES, predicted, strict=True):
            within = kernel[np.ix_(others, others)] + penalty * np.eye(len(others))
            out[held] = kernel[np.ix_(held, others)] @ np.linalg.solve(within, known[others] - mean) + mean
    return float(np.max(mean_defined(pearson(predicted, labels))))
