"""Concatenation with auxiliary heads: while fusion learns, every modality must also predict on its own.

    embeddings {modality: (K, B, D)} ─ as in ``Fusion`` → (K, B, E), no sigmoid
                                     └ Dropout → Linear, by modality → {modality: (K, B, E)}, for the loss only

The score is that of ``Fusion`` with the same weights; the auxiliary heads shape it only through encoders that learn, so
on frozen encoders there is nothing to gain from them.

Source: Huang et al. 2026, arXiv:2603.13760.
Shapes: ``K`` models, ``B`` batch, ``D`` embedding width, ``E`` emotions.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mien.modalities.stacked import RngStreams
from mien.model.fusion import Embedding, Fusion, Head
from mien.model.modality_mask import FusionSpec


class Auxiliary(Fusion):
    """K regressors over the concatenation, and one linear head per modality beside each."""

    def __init__(self, design: FusionSpec) -> None:
        """K heads, one per stream of chance; the design's widths are those of the embeddings, in a fixed order."""
        super().__init__(design)
        self.heads = nn.ModuleDict(
            {name: Head(design.chance, width, design.targets, design.rates) for name, width in design.widths.items()}
        )

    def auxiliary(
        self, inputs: Mapping[str, Embedding], chance: RngStreams | None = None
    ) -> dict[str, Float[Tensor, "K B E"]]:
        """What each modality says alone, whatever modality dropout does to the fusion.

        Returns:
            By modality ``(K, B, E)``; of a clip without it the head's offset, which a loss should leave out.
        """
        return {
            name: self.heads[name](torch.where(part.present[:, None], part.values, 0.0), chance)
            for name, part in ((name, inputs[name]) for name in self.presence.modalities)
        }
