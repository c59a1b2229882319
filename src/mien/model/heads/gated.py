"""Gated fusion: a weighted sum of the embeddings, with weights computed from all of them.

    embeddings {modality: (K, B, D)} → missing, dropout of whole modalities
        → concatenation → LayerNorm → Dropout → Linear → softmax over the modalities  (K, B, M)   gates
        → Dropout → Linear → tanh, by modality                                        (K, B, H)   common space
        → sum, weighted by the gates → Dropout → Linear → (K, B, E), no sigmoid

Unlike concatenation it weighs modalities differently per clip, but a modality cannot change the meaning of another. It
has about as many parameters.

Source: gated multimodal units, Arevalo et al. 2017, arXiv:1702.01992, with a softmax over the modalities as gate.
Shapes: ``K`` models, ``B`` batch, ``M`` modalities, ``D`` embedding width, ``H`` hidden width, ``E`` emotions.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mien.modalities.stacked import Dropout, LayerNorm, Linear, RngStreams
from mien.model.fusion import Embedding, FusionHead
from mien.model.modality_mask import FusionSpec


class Gated(FusionHead):
    """K gated fusions."""

    def __init__(self, spec: FusionSpec) -> None:
        """K heads, one per random stream; ``spec.widths`` are those of the embeddings, in a fixed order."""
        super().__init__(spec)
        rng, widths = spec.rng, spec.widths
        self.norm = LayerNorm(len(rng.generators), sum(widths.values()))
        self.gate = Linear(rng, sum(widths.values()), len(widths))
        self.project = nn.ModuleDict({name: Linear(rng, width, spec.hidden) for name, width in widths.items()})
        self.dropout = Dropout(spec.rates)
        self.out = Linear(rng, spec.hidden, spec.n_targets)

    def forward(self, embeddings: Mapping[str, Embedding], rng: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Regress intensities from the available modalities."""
        kept = self.presence({name: part.present for name, part in embeddings.items()}, rng)
        parts = {name: self.presence.fill(name, embeddings[name].values, kept) for name in self.presence.modalities}
        scores = self.gate(self.dropout(self.norm(torch.cat(list(parts.values()), -1)), rng))
        gates = torch.softmax(torch.where(self.presence.voting_mask(kept), scores, -torch.inf), -1)  # (K, B, M)
        common = [torch.tanh(self.project[name](self.dropout(part, rng))) for name, part in parts.items()]
        fused = (torch.stack(common, 2) * gates[..., None]).sum(2)  # (K, B, M, H) → (K, B, H)
        return self.out(self.dropout(fused, rng))


HEAD = Gated
