"""Clips after their encoders: what fusion reads. Each clip is embedded once, however often fusion looks at it.

Fusion on frozen encoders trains on this, and judging with only some of the modalities is the same embeddings again.

Shapes: ``K`` models, ``N`` clips, ``D`` embedding width, ``E`` emotions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mien.model.fusion import Embedding
from mien.model.inputs import ClipDataset, predict_all
from mien.model.network import Multimodal, Unimodal

_BATCH_CLIPS = 1024


@dataclass
class Embedded:
    """Clips after the encoders: ``values (K, N, D)`` and ``present (N,)`` by modality, and their labels ``(N, E)``."""

    parts: Mapping[str, Embedding]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sizes(self) -> Tensor:
        """All clips cost the same."""
        return torch.ones(len(self))

    def batch(self, index: Tensor) -> dict[str, Embedding]:
        """The clips at ``index``."""
        return {name: Embedding(part.values[:, index], part.present[index]) for name, part in self.parts.items()}

    def of_models(self, places: Tensor) -> "Embedded":
        """What the encoders of some of the models give."""
        parts = {name: Embedding(part.values[places], part.present) for name, part in self.parts.items()}
        return Embedded(parts, self.labels)

    def by_length(self) -> list[Tensor]:
        """All clips in batches."""
        return list(torch.arange(len(self), device=self.labels.device).split(_BATCH_CLIPS))

    def without(self, names: Sequence[str]) -> "Embedded":
        """The same clips as if they lacked some modalities."""
        parts = {
            name: Embedding(part.values, torch.zeros_like(part.present)) if name in names else part
            for name, part in self.parts.items()
        }
        return Embedded(parts, self.labels)


def embed_all(module: Multimodal, clips: ClipDataset) -> Embedded:
    """Every clip through the encoders, once, in float32."""
    places = clips.by_length()
    back = torch.argsort(torch.cat(places))
    parts: dict[str, list[Tensor]] = {name: [] for name in module.modalities}
    with torch.no_grad():
        for index in places:
            for name, embedding in module.embed(clips.batch(index)).items():
                parts[name].append(embedding.values)
    return Embedded(
        {name: Embedding(torch.cat(values, 1)[:, back], clips.present(name)) for name, values in parts.items()},
        clips.labels,
    )


def subset_scores(
    module: Unimodal | Multimodal, clips: ClipDataset, subsets: Iterable[tuple[str, ...]]
) -> dict[tuple[str, ...], npt.NDArray[np.float32]]:
    """Scores of clips as if they had no other modalities than those of a subset: ``(K, N, E)`` by subset."""
    inputs, head = clips, module
    if isinstance(head, Multimodal) and not head.reads_steps:
        inputs, head = embed_all(head, clips), head.fusion
    gone = {subset: [name for name in clips.modalities if name not in subset] for subset in subsets}
    return {subset: predict_all(head, inputs.without(names)) for subset, names in gone.items()}
