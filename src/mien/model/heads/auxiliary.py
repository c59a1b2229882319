"""Concatenation with auxiliary heads: while fusion learns, every modality must also predict on its own.

    embeddings {modality: (K, B, D)} ─ as in ``Fusion`` → (K, B, E), no sigmoid
                                     └ Dropout → Linear, by modality → {modality: (K, B, E)}, for the loss only

The score is that of ``Fusion`` with the same weights; the auxiliary heads shape it only through encoders that learn, so
on frozen encoders there is nothing to gain from them.

Source: Huang et al. 2026, arXiv:2603.13760.
Shapes: ``K`` models, ``B`` batch, ``D`` embedding width, ``E`` emotions.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mien.modalities.stacked import Chance
from mien.model.fusion import Embedding, Fusion, Head


class Auxiliary(Fusion):
    """K regressors over the concatenation, and one linear head per modality beside each."""

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
        """K heads, one per stream of ``chance``; ``widths`` are those of the embeddings, in a fixed order."""
        super().__init__(chance, widths, hidden, targets, rates, modality_rates, missing)
        self.heads = nn.ModuleDict({name: Head(chance, width, targets, rates) for name, width in widths.items()})

    def auxiliary(
        self, embeddings: Mapping[str, Embedding], chance: Chance | None = None
    ) -> dict[str, Float[Tensor, "K B E"]]:
        """What each modality says alone, whatever modality dropout does to the fusion.

        Returns:
            By modality ``(K, B, E)``; of a clip without it the head's offset, which a loss should leave out.
        """
        return {
            name: self.heads[name](torch.where(part.present[:, None], part.values, 0.0), chance)
            for name, part in ((name, embeddings[name]) for name in self.modalities)
        }
