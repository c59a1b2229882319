"""Recurrent fusion with the sizes of its publication: states as wide as the features, and a hidden layer.

    steps of a sequence → LSTM, last state  (K, B, F)   by modality; a single vector (text) as it is
        → missing, dropout of whole modalities → concatenation → Dropout → Linear → tanh → Linear → (K, B, E)

``hidden`` is the width of the hidden layer. ``recurrent`` is the same idea at a fraction of the size: here every step
is read, and an LSTM of 1,027 has 8 million parameters, so this is for one model on a GPU. With the published features
(768, 1024 with three values of affect per step, 768) the concatenation is 2,563 wide, and ``hidden`` is 1,027.

Source: Hallmen et al. 2025, arXiv:2504.11460. How a missing modality is replaced, and whether there is dropout, is
not given: here as for all heads.
Shapes: ``K`` models, ``B`` batch, ``S`` steps, ``F`` feature width, ``E`` emotions.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mien.modalities import find_modality
from mien.modalities.encoder import LayerWeights, Steps, layer_width, layers_in, mean_pool
from mien.modalities.stacked import Dropout, Linear, RngStreams
from mien.model.fusion import FusionHead
from mien.model.heads.lstm import LSTM
from mien.model.modality_mask import FusionSpec


class Hallmen(FusionHead):
    """K regressions on the last states of wide LSTMs."""

    reads_steps = True

    def __init__(self, spec: FusionSpec) -> None:
        """K heads, one per random stream; ``spec.widths`` are those of the features, in a fixed order."""
        rng, layers = spec.rng, spec.layers
        widths = {name: layer_width(width, layers.get(name, 0)) for name, width in spec.widths.items()}
        super().__init__(spec, widths)
        self.layers = nn.ModuleDict({name: LayerWeights(len(rng.generators), count) for name, count in layers.items()})
        self.lstm = nn.ModuleDict(
            {name: LSTM(rng, width, width) for name, width in widths.items() if find_modality(name).sequence}
        )
        self.dropout = Dropout(spec.rates)
        self.hidden = Linear(rng, sum(widths.values()), spec.hidden)
        self.out = Linear(rng, spec.hidden, spec.n_targets)

    def forward(self, inputs: Mapping[str, Steps], rng: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Regress intensities from the available modalities."""
        kept = self.presence({name: steps.mask.any(-1) for name, steps in inputs.items()}, rng)
        parts = {name: self._last(name, inputs[name]) for name in self.presence.modalities}
        fused = self.presence.concatenate(parts, kept, rng is not None)
        return self.out(torch.tanh(self.hidden(self.dropout(fused, rng))))

    def layer_weights(self) -> dict[str, LayerWeights | None]:
        """The learned weights of layers, by modality."""
        return {name: layers_in(part) for name, part in self.layers.items()}

    def _last(self, name: str, steps: Steps) -> Float[Tensor, "K B F"]:
        """The state of a modality's LSTM after its last step, or its single vector; zeros without steps."""
        values = torch.where(steps.mask[..., None], steps.values.float(), 0.0)
        weights, models = self.layer_weights().get(name), len(self.out.weight)
        if name not in self.lstm:
            pooled = mean_pool(Steps(values, steps.mask))  # (1, B, F)
            return pooled.expand(models, -1, -1) if weights is None else weights(pooled)
        read = values.expand(models, -1, -1, -1) if weights is None else weights.of_steps(values)
        return self.lstm[name](read, steps.mask)[:, :, -1]


HEAD = Hallmen
