"""What is missing or dropped, as the heads see it: modality dropout, what stands in, and who has a say.

It is how ``Fusion`` treats them, for heads that do not only concatenate. Where parts are averaged with weights, the
weights of those that are left add up to one again, so survivors of modality dropout are scaled up only where parts are
concatenated.

Shapes: ``K`` models, ``B`` batch, ``M`` modalities, ``D`` width of a part.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mien.modalities.stacked import Chance
from mien.model.fusion import keep_modalities


class Presence(nn.Module):
    """Modality dropout, and zeros or learned tokens for what is missing or dropped."""

    modality_rate: Tensor

    def __init__(
        self,
        chance: Chance,
        widths: Mapping[str, int],
        modality_rates: Sequence[float],
        missing: Literal["zero", "token"],
    ) -> None:
        """``widths`` are those of the parts that are filled, in a fixed order."""
        super().__init__()
        self.modalities = tuple(widths)
        self.tokens = (
            nn.ParameterDict({name: nn.Parameter(0.02 * chance.uniform(1, d)) for name, d in widths.items()})
            if missing == "token"
            else None
        )
        self.register_buffer("modality_rate", torch.tensor(modality_rates, dtype=torch.float32), persistent=False)

    def forward(self, present: Mapping[str, Bool[Tensor, " B"]], chance: Chance | None) -> Bool[Tensor, "K B M"]:
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
