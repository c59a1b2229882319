"""The attention weights of the encoders: the weight of each step in the embedding of its modality.

They show where the encoder attends, not whether a step raised or lowered a score.

Shapes: ``K`` models, ``N`` clips, ``T`` steps.
"""

import numpy as np
import numpy.typing as npt
import torch

from mien.model.inputs import ClipDataset, averaged
from mien.model.network import Multimodal, Unimodal


def step_weights(module: Unimodal | Multimodal, clips: ClipDataset) -> dict[str, list[npt.NDArray[np.float32]]]:
    """Attention weights of every clip ``(T,)``, the mean over the models, by modality with attention pooling.

    The weights of a clip sum to 1; a clip without the modality has none. Text has a single step, and heads that read
    steps have no attention pooling: neither has an entry.
    """
    weights: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in module.attending}
    with torch.inference_mode():
        for index in torch.arange(len(clips), device=clips.labels.device).split(1):  # one by one, without padding
            for name, steps in clips.batch(index).items():
                if name in weights:
                    mean = module.attending[name].step_weights(steps)[0].mean(0)  # (K, T) → (T,)
                    weights[name].append(mean[steps.mask[0]].cpu().numpy())
    return weights


def step_seconds(seconds: npt.NDArray[np.float32], longest: int) -> npt.NDArray[np.float32]:
    """The times of a clip's steps, averaged like the steps where there are more than ``longest``.

    >>> step_seconds(np.array([0.0, 1.0, 2.0, 3.0], np.float32), 2).tolist()
    [0.5, 2.5]
    """
    return seconds if len(seconds) <= longest else averaged(seconds[:, None], longest)[:, 0]
