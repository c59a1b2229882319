"""Gated fusion: a weighted sum of the embeddings, the weights read from all of them.

    embeddings {modality: (K, B, D)} → missing, dropout of whole modalities
        → concatenation → LayerNorm → Dropout → Linear → softmax over the modalities  (K, B, M)   the gates
        → Dropout → Linear → tanh, by modality                                        (K, B, H)   on common ground
        → sum, weighted by the gates → Dropout → Linear → (K, B, E), no sigmoid

Against concatenation it may trust a modality in one clip and not in another, but a modality cannot change what another
means. It has about as many parameters.

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

    def __init__(self, design: FusionSpec) -> None:
        """K heads, one per stream of chance; the design's widths are those of the embeddings, in a fixed order."""
        super().__init__(design)
        chance, widths = design.chance, design.widths
        self.norm = LayerNorm(len(chance.generators), sum(widths.values()))
        self.gate = Linear(chance, sum(widths.values()), len(widths))
        self.project = nn.ModuleDict({name: Linear(chance, width, design.hidden) for name, width in widths.items()})
        self.dropout = Dropout(design.rates)
        self.out = Linear(chance, design.hidden, design.targets)

    def forward(self, embeddings: Mapping[str, Embedding], chance: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Regress intensities from whatever is present."""
        kept = self.presence({name: part.present for name, part in embeddings.items()}, chance)
        parts = {name: self.presence.fill(name, embeddings[name].values, kept) for name in self.presence.modalities}
        scores = self.gate(self.dropout(self.norm(torch.cat(list(parts.values()), -1)), chance))
        gates = torch.softmax(torch.where(self.presence.voices(kept), scores, -torch.inf), -1)  # (K, B, M)
        common = [torch.tanh(self.project[name](self.dropout(part, chance))) for name, part in parts.items()]
        fused = (torch.stack(common, 2) * gates[..., None]).sum(2)  # (K, B, M, H) → (K, B, H)
        return self.out(self.dropout(fused, chance))
