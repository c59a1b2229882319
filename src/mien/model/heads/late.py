"""Late fusion: every modality predicts alone, and the scores are averaged.

    embeddings {modality: (K, B, D)} → missing, dropout of whole modalities
        → Dropout → Linear, by modality → (K, B, M, E) → mean over the modalities → (K, B, E), no sigmoid

``Mean`` has equal weights, ``WeightedLate`` weights per emotion: text may lead for admiration and vision for amusement.
Interactions between modalities cannot be learned, and contributions are additive.

Sources: the mean of unimodal predictions is the baseline of the challenge; weights per emotion: Savchenko 2025,
arXiv:2503.10399 (there chosen on validation clips after training with 1 - r, here learned with the rest).
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
    """K plain means of the scores of the available modalities."""

    def __init__(self, spec: FusionSpec) -> None:
        """K heads, one per random stream; ``spec.widths`` are those of the embeddings; ``spec.hidden`` is unused."""
        super().__init__(spec)
        self.heads = nn.ModuleDict(
            {name: Head(spec.rng, width, spec.n_targets, spec.rates) for name, width in spec.widths.items()}
        )

    def start_from(self, heads: Mapping[str, Head]) -> None:
        """Copy the heads of stage 1, by modality: ``Mean`` is then the mean of the unimodal models."""
        for name, mine in self.heads.items():
            mine.load_state_dict(heads[name].state_dict())

    def forward(self, embeddings: Mapping[str, Embedding], rng: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Average the scores of the available modalities."""
        kept = self.presence({name: part.present for name, part in embeddings.items()}, rng)
        parts = {name: self.presence.fill(name, embeddings[name].values, kept) for name in self.presence.modalities}
        scores = torch.stack([self.heads[name](part, rng) for name, part in parts.items()], 2)  # (K, B, M, E)
        return (scores * self.weights(self.presence.voting_mask(kept))).sum(2)

    def weights(self, voting_mask: Bool[Tensor, "K B M"]) -> Float[Tensor, "K B M _"]:
        """The weights of the modalities, which sum to 1 over those that vote."""
        return (voting_mask / voting_mask.sum(-1, keepdim=True))[..., None]


class WeightedLate(Mean):
    """K means of the scores, weighted by modality and emotion; weights are equal at first."""

    def __init__(self, spec: FusionSpec) -> None:
        """K heads, one per random stream; ``spec.widths`` are those of the embeddings; ``spec.hidden`` is unused."""
        super().__init__(spec)
        self.logits = nn.Parameter(torch.zeros(len(spec.rng.generators), len(spec.widths), spec.n_targets))  # (K, M, E)

    def weights(self, voting_mask: Bool[Tensor, "K B M"]) -> Float[Tensor, "K B M E"]:
        """The weights of the modalities for each emotion."""
        return torch.softmax(torch.where(voting_mask[..., None], self.logits[:, None], -torch.inf), 2)


HEAD = WeightedLate
