"""Outputs of the encoders for all clips, computed once: embeddings for evaluation, hidden activations for training.

Evaluation on subsets of modalities reuses the embeddings; fusion on frozen encoders is trained on the activations.

Shapes: ``K`` models, ``N`` clips, ``D`` embedding width, ``E`` emotions.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mien.modalities.encoder import Steps
from mien.model.fusion import Embedding
from mien.model.inputs import ClipDataset, autocast, predict_all
from mien.model.network import Multimodal, Unimodal

_BATCH_CLIPS = 1024


@dataclass
class EmbeddedClips:
    """Embedded clips: ``values (K, N, D)`` and ``present (N,)`` by modality, their labels ``(N, E)`` and sizes."""

    parts: Mapping[str, Embedding]
    labels: Tensor
    sizes: Tensor
    """``(N,)`` those of the clips themselves, so that batches are in the same order."""

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor) -> dict[str, Embedding]:
        """The clips at ``index``."""
        return {name: Embedding(part.values[:, index], part.present[index]) for name, part in self.parts.items()}

    def select_models(self, batches: Tensor) -> "EmbeddedClips":
        """The embeddings of the models at ``places``."""
        parts = {name: Embedding(part.values[batches], part.present) for name, part in self.parts.items()}
        return EmbeddedClips(parts, self.labels, self.sizes)

    def by_length(self) -> list[Tensor]:
        """All clips in batches."""
        return list(torch.arange(len(self), device=self.labels.device).split(_BATCH_CLIPS))

    def without(self, names: Sequence[str]) -> "EmbeddedClips":
        """The same clips without some modalities."""
        parts = {
            name: Embedding(part.values, torch.zeros_like(part.present)) if name in names else part
            for name, part in self.parts.items()
        }
        return EmbeddedClips(parts, self.labels, self.sizes)


def embed_all(module: Multimodal, clips: ClipDataset) -> EmbeddedClips:
    """Embed every clip once, in float32."""
    return _encode_all(module.embed, clips, torch.float32)


def hidden_all(module: Unimodal | Multimodal, clips: ClipDataset, precision: torch.dtype) -> EmbeddedClips:
    """The activations of every clip before the encoders' dropout, with matrix products in the precision of training."""
    return _encode_all(module.hidden, clips, precision)


def _encode_all(
    encode: Callable[[Mapping[str, Steps]], Mapping[str, Embedding]], clips: ClipDataset, precision: torch.dtype
) -> EmbeddedClips:
    batches = clips.by_length()
    original_order = torch.argsort(torch.cat(batches))
    parts: dict[str, list[Tensor]] = {name: [] for name in clips.modalities}
    with torch.no_grad(), autocast(clips.labels.device, precision):
        for index in batches:
            for name, embedding in encode(clips.batch(index)).items():
                parts[name].append(embedding.values.float())
    return EmbeddedClips(
        {
            name: Embedding(torch.cat(values, 1)[:, original_order], clips.present(name))
            for name, values in parts.items()
        },
        clips.labels,
        clips.sizes,
    )


def subset_scores(
    module: Unimodal | Multimodal, clips: ClipDataset, subsets: Iterable[tuple[str, ...]]
) -> dict[tuple[str, ...], npt.NDArray[np.float32]]:
    """Scores of clips with only the modalities of a subset: ``(K, N, E)`` by subset."""
    inputs, head = clips, module
    if isinstance(head, Multimodal) and not head.reads_steps:
        inputs, head = embed_all(head, clips), head.fusion
    missing = {subset: [name for name in clips.modalities if name not in subset] for subset in subsets}
    return {subset: predict_all(head, inputs.without(names)) for subset, names in missing.items()}
