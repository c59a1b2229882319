"""Recurrent fusion: each modality is read in time by an LSTM, and the last states are regressed together.

    steps → coarse → normalise → Linear → LSTM, last state → (K, B, N), by modality
        → tanh → missing, dropout of whole modalities → concatenation → Dropout → Linear → (K, B, E), no sigmoid

``N`` is a third of ``hidden``, so that text, audio and vision together are as wide as the regressor of ``Fusion``. The
published states are as wide as the features, 2,563 together, on backbones that learn.

Source: Hallmen et al. 2025, arXiv:2504.11460; the projection before the LSTM and modality dropout are added.
Shapes: ``K`` models, ``B`` batch, ``S`` segments, ``N`` width of a state, ``E`` emotions.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mien.modalities.encoder import Steps
from mien.modalities.stacked import Dropout, Linear, RngStreams
from mien.model.fusion import FusionHead
from mien.model.heads.lstm import LSTM
from mien.model.heads.steps import Projection, coarse
from mien.model.modality_mask import FusionSpec


class Recurrent(FusionHead):
    """K fusions of the last states of LSTMs."""

    reads_steps = True

    def __init__(self, design: FusionSpec) -> None:
        """K heads, one per stream of chance; the design's widths are those of the features, in a fixed order."""
        chance, widths = design.chance, design.widths
        narrow = max(1, design.hidden // 3)
        super().__init__(design, dict.fromkeys(widths, narrow))
        self.project = nn.ModuleDict({name: Projection(chance, width, narrow) for name, width in widths.items()})
        self.lstm = nn.ModuleDict({name: LSTM(chance, narrow, narrow) for name in widths})
        self.dropout = Dropout(design.rates)
        self.out = Linear(chance, narrow * len(widths), design.targets)

    def forward(self, inputs: Mapping[str, Steps], chance: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Regress intensities from whatever is present."""
        kept = self.presence({name: steps.mask.any(-1) for name, steps in inputs.items()}, chance)
        parts = {name: torch.tanh(self._last(name, coarse(inputs[name]))) for name in self.presence.modalities}
        fused = self.presence.concatenate(parts, kept, chance is not None)
        return self.out(self.dropout(fused, chance))

    def _last(self, name: str, steps: Steps) -> Float[Tensor, "K B N"]:
        """The state of a modality's LSTM after the last step that counts."""
        return self.lstm[name](self.project[name](steps), steps.mask)[:, :, -1]
