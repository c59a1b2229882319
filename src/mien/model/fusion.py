"""From embeddings to intensities: what stands for a missing modality, modality dropout, and the regressor.

    embeddings {modality: (K, B, D)} → missing → dropout of whole modalities → concatenation (K, B, sum of D)
        → LayerNorm → Dropout → Linear → GELU → Dropout → Linear → (K, B, E), no sigmoid

Source: "Two-Stage Multimodal Framework for Emotion Mimicry Intensity Prediction" (2026); learned tokens for missing
modalities: "TAEMI" (ABAW 2026).
Shapes: ``K`` models, ``B`` batch, ``M`` modalities, ``D`` embedding width, ``H`` hidden width, ``E`` emotions.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mien.modalities.stacked import Chance, Dropout, LayerNorm, Linear


class Embedding(NamedTuple):
    """One modality of a batch, embedded.

    Attributes:
        values: ``(K, B, D)``; zeros where it is absent.
        present: ``(B,)`` bool.
    """

    values: Tensor
    present: Tensor


class Head(nn.Module):
    """The regressor of one encoder in stage 1: Dropout → Linear, ``(K, B, D)`` → ``(K, B, E)``."""

    def __init__(self, chance: Chance, width: int, targets: int, rates: Sequence[float]) -> None:
        super().__init__()
        self.dropout = Dropout(rates)
        self.linear = Linear(chance, width, targets)

    def forward(self, embedding: Float[Tensor, "K B D"], chance: Chance | None = None) -> Float[Tensor, "K B E"]:
        """Regress intensities."""
        return self.linear(self.dropout(embedding, chance))


class Fusion(nn.Module):
    """K regressors over the concatenated embeddings of several modalities."""

    modality_rate: Tensor

    def __init__(
        self,
        chance: Chance,
        widths: Mapping[str, int],
        hidden: int,
        targets: int,
        rates: Sequence[float],
        modality_rates: Sequence[float],
        missing: Literal["zero", "token"],
    ) -> None:
        """K regressors, one per stream of ``chance``; ``widths`` are those of the embeddings, in a fixed order."""
        super().__init__()
        models, width = len(chance.generators), sum(widths.values())
        self.modalities = tuple(widths)
        self.tokens = (
            nn.ParameterDict({name: nn.Parameter(0.02 * chance.uniform(1, d)) for name, d in widths.items()})
            if missing == "token"
            else None
        )
        self.norm = LayerNorm(models, width)
        self.first_dropout = Dropout(rates)
        self.hidden = Linear(chance, width, hidden)
        self.second_dropout = Dropout(rates)
        self.out = Linear(chance, hidden, targets)
        self.register_buffer("modality_rate", torch.tensor(modality_rates, dtype=torch.float32), persistent=False)

    def forward(self, embeddings: Mapping[str, Embedding], chance: Chance | None = None) -> Float[Tensor, "K B E"]:
        """Regress intensities from whatever is present: ``(K, B, E)``."""
        present = torch.stack([embeddings[name].present for name in self.modalities], -1)  # (B, M)
        kept = present.expand(len(self.modality_rate), -1, -1)
        if chance is not None:
            kept = keep_modalities(present, self.modality_rate, chance)
        fused = torch.cat([self._part(name, embeddings[name].values, kept[..., m], chance is not None)
                           for m, name in enumerate(self.modalities)], -1)  # fmt: skip
        hidden = self.hidden(self.first_dropout(self.norm(fused), chance))
        return self.out(self.second_dropout(nn.functional.gelu(hidden), chance))

    def _part(
        self, name: str, values: Float[Tensor, "K B D"], kept: Bool[Tensor, "K B"], training: bool
    ) -> Float[Tensor, "K B D"]:
        """A modality's share of the concatenation: its embedding where kept, else zeros or its token."""
        if self.tokens is not None:  # a token takes the place of what is dropped, so nothing needs rescaling
            return torch.where(kept[..., None], values, self.tokens[name])
        scale = 1 / (1 - self.modality_rate)[:, None, None] if training else 1.0
        return torch.where(kept[..., None], values * scale, 0.0)


def keep_modalities(present: Bool[Tensor, "B M"], rates: Float[Tensor, " K"], chance: Chance) -> Bool[Tensor, "K B M"]:
    """Which modalities of which training clips survive modality dropout.

    Args:
        present: ``(B, M)`` bool.
        rates: ``(K,)`` chance of each present modality to be dropped.
        chance: one stream per model.

    Returns:
        ``(K, B, M)`` bool: some of ``present``, and at least one of each clip that has any; where chance would drop
        all, one of them, equally likely, stays.
    """
    draw = torch.where(present, chance.uniform(*present.shape), -1.0)
    kept = draw >= rates[:, None, None]
    highest = nn.functional.one_hot(draw.argmax(-1), present.shape[-1]).bool() & present
    return torch.where(kept.any(-1, keepdim=True), kept, highest) & present
