"""What a model takes from the training clips before it is trained: the centers of its encoders, and the start of its
weights of layers.

Encoders of other runs keep theirs. Only training clips have a part in it. They are read a few at a time, so that
features may be in a file (``docs/decisions/0082-encoders-may-have-a-center.md``).

Shapes: ``K`` models, ``L`` layers, ``F`` backbone width.
"""

from collections.abc import Collection

import torch

from mien.modalities.encoder import mean_pool
from mien.model.inputs import ClipDataset, PackedSteps
from mien.model.network import Multimodal, Unimodal, encoders_of, layers_of
from mien.training.layer_start import start_layers

_BATCH_CLIPS = 64


def started(module: Unimodal | Multimodal) -> tuple[str, ...]:
    """The modalities of which ``start_encoders`` reads clips."""
    centered = [name for name, encoder in encoders_of(module).items() if encoder.center is not None]
    return tuple({**layers_of(module), **dict.fromkeys(centered)})


def start_encoders(module: Unimodal | Multimodal, clips: ClipDataset, given: Collection[str] = ()) -> None:
    """Set the centers of a model and its weights of layers to their start.

    Args:
        module: untrained.
        clips: that train, with at least the modalities that are ``started``.
        given: the modalities whose encoders come from another run.
    """
    start_layers({name: layers for name, layers in layers_of(module).items() if name not in given}, clips)
    for name, encoder in encoders_of(module).items():
        if encoder.center is not None and name not in given:
            encoder.center.copy_(center(clips.modalities[name]))


def center(steps: PackedSteps) -> torch.Tensor:
    """``(F,)`` or ``(L F,)`` the mean of clips, shortened by the root mean square of their distances from it.

    It is of the clips with the modality, each the mean of its steps; zeros where distances are longer. So what is left
    of the mean is as long as that in which clips differ: with nothing left, an encoder alone learns a little more, and
    fused models of a hundred clips lose.
    """
    present, layers = torch.nonzero(steps.has > 0).flatten(), max(1, steps.layers)
    total, squares = torch.zeros(()), torch.zeros(())
    for index in present.split(_BATCH_CLIPS):
        means = mean_pool(steps.batch(index, torch.float32))[0].cpu().double().unflatten(1, (layers, -1))  # (B, L, F)
        total, squares = total + means.sum(0), squares + means.square().sum((0, 2))
    mean = total / len(present)
    length = mean.norm(dim=-1)  # (L,)
    distance = (squares / len(present) - length.square()).clamp(min=0).sqrt()
    return (mean * (1 - distance / length.clamp(min=1e-12)).clamp(min=0)[:, None]).flatten()
