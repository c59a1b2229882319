"""What is missing or dropped, as every way of fusion sees it: modality dropout, what stands in, and who has a say.

Where parts are averaged with weights, the weights of those that are left add up to one again, so survivors of modality
dropout are scaled up only where parts are concatenated.

Source: modality dropout, "Two-Stage Multimodal Framework for Emotion Mimicry Intensity Prediction" (2026); learned
tokens for missing modalities, "TAEMI" (ABAW 2026).

Shapes: ``K`` models, ``B`` batch, ``M`` modalities, ``D`` width of a part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mien.modalities.stacked import RngStreams


@dataclass(frozen=True)
class FusionSpec:
    """What every way of fusion is built from.

    Attributes:
        chance: where first weights come from, one stream per model.
        widths: of what is read, by modality, in a fixed order: embeddings, or features for those that read steps.
        hidden: width of the hidden layer.
        targets: number of emotions.
        rates: dropout of each model.
        modality_rates: modality dropout of each model.
        missing: what stands for a missing modality: zeros, or a learned token.
    """

    chance: RngStreams
    widths: Mapping[str, int]
    hidden: int
    targets: int
    rates: Sequence[float]
    modality_rates: Sequence[float]
    missing: Literal["zero", "token"]


class ModalityMask(nn.Module):
    """Modality dropout, and zeros or learned tokens for what is missing or dropped."""

    modality_rate: Tensor

    def __init__(self, design: FusionSpec, widths: Mapping[str, int] | None = None) -> None:
        """``widths`` are those of the parts that are filled, where they are not those of what is read."""
        super().__init__()
        widths = widths or design.widths
        self.modalities = tuple(widths)
        self.tokens = (
            nn.ParameterDict({name: nn.Parameter(0.02 * design.chance.uniform(1, d)) for name, d in widths.items()})
            if design.missing == "token"
            else None
        )
        rates = torch.tensor(design.modality_rates, dtype=torch.float32)
        self.register_buffer("modality_rate", rates, persistent=False)

    def forward(self, present: Mapping[str, Bool[Tensor, " B"]], chance: RngStreams | None) -> Bool[Tensor, "K B M"]:
        """Which modalities are kept: those present, and with ``chance`` not dropped."""
        stacked = torch.stack([present[name] for name in self.modalities], -1)  # (B, M)
        if chance is None:
            return stacked.expand(len(self.modality_rate), -1, -1)
        return keep_modalities(stacked, self.modality_rate, chance)

    def fill(self, name: str, part: Float[Tensor, "K B D"], kept: Bool[Tensor, "K B M"]) -> Float[Tensor, "K B D"]:
        """A modality's part where kept, else zeros or its token."""
        other = 0.0 if self.tokens is None else self.tokens[name]
        return torch.where(kept[..., self.modalities.index(name), None], part, other)

    def concatenate(
        self, parts: Mapping[str, Float[Tensor, "K B _"]], kept: Bool[Tensor, "K B M"], training: bool
    ) -> Float[Tensor, "K B D"]:
        """All parts, filled, side by side; with zeros for what is dropped, survivors are scaled up in ``training``."""
        if training and self.tokens is None:
            scale = 1 / (1 - self.modality_rate)[:, None, None]
            parts = {name: part * scale for name, part in parts.items()}
        return torch.cat([self.fill(name, parts[name], kept) for name in self.modalities], -1)

    def voices(self, kept: Bool[Tensor, "K B M"]) -> Bool[Tensor, "K B M"]:
        """Which modalities have a say in a weighted average.

        Those kept. A token speaks for what is missing, so with tokens all do; so they do where nothing is kept, because
        an average needs something: their zeros give the offsets of the layers above, alike for all such clips.
        """
        return torch.ones_like(kept) if self.tokens is not None else kept | ~kept.any(-1, keepdim=True)


def keep_modalities(
    present: Bool[Tensor, "B M"], rates: Float[Tensor, " K"], chance: RngStreams
) -> Bool[Tensor, "K B M"]:
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
