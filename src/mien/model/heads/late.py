"""Late fusion: every modality regresses alone, and the scores are averaged.

    embeddings {modality: (K, B, D)} → missing, dropout of whole modalities
        → Dropout → Linear, by modality → (K, B, M, E) → mean over the modalities → (K, B, E), no sigmoid

``Mean`` weighs them alike, ``WeightedLate`` by emotion: text may lead for admiration and vision for amusement. Nothing
that two modalities say only together can be learned, and what each contributed can be read off.

Sources: the mean of unimodal predictions is the baseline of the challenge; weights per emotion: Savchenko 2025,
arXiv:2503.10399 (there chosen on validation clips, here learned with the rest).
Shapes: ``K`` models, ``B`` batch, ``M`` modalities, ``D`` embedding width, ``E`` emotions.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mien.modalities.stacked import RngStreams
from mien.model.fusion import Embedding, FusionHead, Head
from mien.model.modality_mask import FusionSpec


class Mean(FusionHead):
    """K plain means of the scores of the modalities that are there."""

    def __init__(self, design: FusionSpec) -> None:
        """K heads, one per stream of chance; the design's widths are those of the embeddings; hidden is not needed."""
        super().__init__(design)
        self.heads = nn.ModuleDict(
            {name: Head(design.chance, width, design.targets, design.rates) for name, width in design.widths.items()}
        )

    def start_from(self, heads: Mapping[str, Head]) -> None:
        """Begin with the linear maps of stage 1, by modality: ``Mean`` is then the mean of the unimodal models."""
        for name, mine in self.heads.items():
            mine.load_state_dict(heads[name].state_dict())

    def forward(self, embeddings: Mapping[str, Embedding], chance: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Average what the modalities that are present say."""
        kept = self.presence({name: part.present for name, part in embeddings.items()}, chance)
        parts = {name: self.presence.fill(name, embeddings[name].values, kept) for name in self.presence.modalities}
        scores = torch.stack([self.heads[name](part, chance) for name, part in parts.items()], 2)  # (K, B, M, E)
        return (scores * self.weights(self.presence.voices(kept))).sum(2)

    def weights(self, voices: Bool[Tensor, "K B M"]) -> Float[Tensor, "K B M _"]:
        """How much each modality counts; they add up to one over the modalities that have a say."""
        return (voices / voices.sum(-1, keepdim=True))[..., None]


class WeightedLate(Mean):
    """K averages of the scores, weighted by modality and emotion; at first all weights are equal."""

    def __init__(self, design: FusionSpec) -> None:
        """K heads, one per stream of chance; the design's widths are those of the embeddings; hidden is not needed."""
        super().__init__(design)
        self.logits = nn.Parameter(
            torch.zeros(len(design.chance.generators), len(design.widths), design.targets)
        )  # (K, M, E)

    def weights(self, voices: Bool[Tensor, "K B M"]) -> Float[Tensor, "K B M E"]:
        """How much each modality counts for each emotion."""
        return torch.softmax(torch.where(voices[..., None], self.logits[:, None], -torch.inf), 2)
