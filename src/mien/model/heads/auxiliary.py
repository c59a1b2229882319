"""Concatenation with auxiliary heads: in training, every modality also predicts on its own.

    embeddings {modality: (K, B, D)} ─ as in ``Fusion`` → (K, B, E), no sigmoid
                                     └ Dropout → Linear, by modality → {modality: (K, B, E)}, for the loss only

The score is that of ``Fusion`` with the same weights; the auxiliary heads influence it only through trained encoders,
so with frozen encoders they have no effect.

Source: Huang et al. 2026, arXiv:2603.13760; weights of .03 to .08 there, ``stage2.auxiliary`` for all here.
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

    has_auxiliary = True

    def __init__(self, spec: FusionSpec) -> None:
        """K heads, one per random stream; ``spec.widths`` are those of the embeddings, in a fixed order."""
        super().__init__(spec)
        self.heads = nn.ModuleDict(
            {name: Head(spec.rng, width, spec.n_targets, spec.rates) for name, width in spec.widths.items()}
        )

    def auxiliary(
        self, inputs: Mapping[str, Embedding], rng: RngStreams | None = None
    ) -> dict[str, Float[Tensor, "K B E"]]:
        """Scores of each modality alone, unaffected by modality dropout.

        Returns:
            By modality ``(K, B, E)``; for a clip without it the bias of the head, which a loss should ignore.
        """
        return {
            name: self.heads[name](torch.where(part.present[:, None], part.values, 0.0), rng)
            for name, part in ((name, inputs[name]) for name in self.presence.modalities)
        }


HEAD = Auxiliary
