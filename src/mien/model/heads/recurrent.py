"""Recurrent fusion: an LSTM per modality, and a regression on the concatenated last states.

    steps → downsample → normalise → Linear → LSTM, last state → (K, B, N), by modality
        → tanh → missing, dropout of whole modalities → concatenation → Dropout → Linear → (K, B, E), no sigmoid

``N`` is a third of ``hidden``, so that text, audio and vision together are as wide as the regressor of ``Fusion``. The
published states are as wide as the features, and followed by a hidden layer (``hallmen.py``).

Source: Hallmen et al. 2025, arXiv:2504.11460; the projection before the LSTM and modality dropout are added.
Shapes: ``K`` models, ``B`` batch, ``S`` segments, ``N`` width of a state, ``E`` emotions.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mien.modalities.encoder import LayerWeights, Steps, layers_in
from mien.modalities.stacked import Dropout, Linear, RngStreams
from mien.model.fusion import FusionHead
from mien.model.heads.lstm import LSTM
from mien.model.heads.steps import Projection, downsample
from mien.model.modality_mask import FusionSpec


class Recurrent(FusionHead):
    """K regressions on the last states of LSTMs."""

    reads_steps = True

    def __init__(self, spec: FusionSpec) -> None:
        """K heads, one per random stream; ``spec.widths`` are those of the features, in a fixed order."""
        rng, widths = spec.rng, spec.widths
        narrow = max(1, spec.hidden // 3)
        super().__init__(spec, dict.fromkeys(widths, narrow))
        self.project = nn.ModuleDict(
            {name: Projection(rng, width, narrow, spec.layers.get(name, 0)) for name, width in widths.items()}
        )
        self.lstm = nn.ModuleDict({name: LSTM(rng, narrow, narrow) for name in widths})
        self.dropout = Dropout(spec.rates)
        self.out = Linear(rng, narrow * len(widths), spec.n_targets)

    def forward(self, inputs: Mapping[str, Steps], rng: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Regress intensities from the available modalities."""
        kept = self.presence({name: steps.mask.any(-1) for name, steps in inputs.items()}, rng)
        parts = {name: torch.tanh(self._last(name, downsample(inputs[name]))) for name in self.presence.modalities}
        fused = self.presence.concatenate(parts, kept, rng is not None)
        return self.out(self.dropout(fused, rng))

    def layer_weights(self) -> dict[str, LayerWeights | None]:
        """The learned weights of layers, by modality."""
        return {name: layers_in(projection) for name, projection in self.project.items()}

    def _last(self, name: str, steps: Steps) -> Float[Tensor, "K B N"]:
        """The state of a modality's LSTM after its last step."""
        return self.lstm[name](self.project[name](steps), steps.mask)[:, :, -1]


HEAD = Recurrent
