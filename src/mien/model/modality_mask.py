"""Masking of missing and dropped modalities in fusion heads: modality dropout, and zeros or learned tokens.

Heads that average parts renormalise the weights of the remaining ones, so survivors of modality dropout are scaled up
only where parts are concatenated.

Source: modality dropout, "Two-Stage Multimodal Framework for Emotion Mimicry Intensity Prediction" (2026); learned
tokens for missing modalities, "TAEMI" (ABAW 2026).

Shapes: ``K`` models, ``B`` batch, ``M`` modalities, ``D`` width of a part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mien.modalities.stacked import RngStreams


@dataclass(frozen=True)
class FusionSpec:
    """The specification that every fusion head is built from.

    Attributes:
        rng: for initial weights, one stream per model.
        widths: of the inputs, by modality, in a fixed order: embeddings, or features for heads that read steps.
        hidden: width of the hidden layer.
        n_targets: number of emotions.
        rates: dropout rate of each model.
        modality_rates: modality dropout rate of each model.
        missing: replacement for a missing modality: zeros, or a learned token.
        layers: for heads that read steps, ``L`` of the modalities whose features are several layers side by side.
    """

    rng: RngStreams
    widths: Mapping[str, int]
    hidden: int
    n_targets: int
    rates: Sequence[float]
    modality_rates: Sequence[float]
    missing: Literal["zero", "token"]
    layers: Mapping[str, int] = field(default_factory=dict)


class ModalityMask(nn.Module):
    """Modality dropout, and zeros or learned tokens for missing and dropped modalities."""

    modality_rate: Tensor

    def __init__(self, spec: FusionSpec, widths: Mapping[str, int] | None = None) -> None:
        """``widths`` are those of the maskable parts, by default ``spec.widths``."""
        super().__init__()
        widths = widths or spec.widths
        self.modalities = tuple(widths)
        self.tokens = (
            nn.ParameterDict({name: nn.Parameter(0.02 * spec.rng.uniform(1, d)) for name, d in widths.items()})
            if spec.missing == "token"
            else None
        )
        rates = torch.tensor(spec.modality_rates, dtype=torch.float32)
        self.register_buffer("modality_rate", rates, persistent=False)

    def forward(self, present: Mapping[str, Bool[Tensor, " B"]], rng: RngStreams | None) -> Bool[Tensor, "K B M"]:
        """The kept modalities: those available and, with ``rng``, not dropped."""
        stacked = torch.stack([present[name] for name in self.modalities], -1)  # (B, M)
        if rng is None:
            return stacked.expand(len(self.modality_rate), -1, -1)
        return keep_modalities(stacked, self.modality_rate, rng)

    def fill(self, name: str, part: Float[Tensor, "K B D"], kept: Bool[Tensor, "K B M"]) -> Float[Tensor, "K B D"]:
        """The part of a modality where kept, else zeros or its token."""
        other = 0.0 if self.tokens is None else self.tokens[name]
        return torch.where(kept[..., self.modalities.index(name), None], part, other)

    def concatenate(
        self, parts: Mapping[str, Float[Tensor, "K B _"]], kept: Bool[Tensor, "K B M"], training: bool
    ) -> Float[Tensor, "K B D"]:
        """Concatenate all parts, filled; if dropped parts are zeros, survivors are scaled up in ``training``."""
        if training and self.tokens is None:
            scale = 1 / (1 - self.modality_rate)[:, None, None]
            parts = {name: part * scale for name, part in parts.items()}
        return torch.cat([self.fill(name, parts[name], kept) for name in self.modalities], -1)

    def voting_mask(self, kept: Bool[Tensor, "K B M"]) -> Bool[Tensor, "K B M"]:
        """The modalities that enter a weighted average: those kept.

        With tokens all of them do, because tokens replace missing ones. So do all where none is kept, because a mean
        needs a term: zeros then give the biases of the layers above, the same for all such clips.
        """
        return torch.ones_like(kept) if self.tokens is not None else kept | ~kept.any(-1, keepdim=True)


def keep_modalities(present: Bool[Tensor, "B M"], rates: Float[Tensor, " K"], rng: RngStreams) -> Bool[Tensor, "K B M"]:
    """Modality dropout of a training batch.

    Args:
        present: ``(B, M)`` bool.
        rates: ``(K,)`` probability of dropping each available modality.
        rng: one stream per model.

    Returns:
        ``(K, B, M)`` bool: the kept ones of ``present``, at least one for each clip that has any; where all would be
        dropped, one, chosen uniformly, is kept.
    """
    draw = torch.where(present, rng.uniform(*present.shape), -1.0)
    kept = draw >= rates[:, None, None]
    highest = nn.functional.one_hot(draw.argmax(-1), present.shape[-1]).bool() & present
    return torch.where(kept.any(-1, keepdim=True), kept, highest) & present
