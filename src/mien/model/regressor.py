"""The regressor of the paper, the last part of most fusion heads: ``(K, B, D)`` → ``(K, B, E)``, no sigmoid.

    LayerNorm → Dropout → Linear → GELU → Dropout → Linear

Shapes: ``K`` models, ``B`` batch, ``D`` width, ``E`` emotions.
"""

from jaxtyping import Float
from torch import Tensor, nn

from mien.modalities.stacked import Dropout, LayerNorm, Linear, RngStreams
from mien.model.modality_mask import FusionSpec


class Regressor(nn.Module):
    """K regressors with one hidden layer."""

    def __init__(self, spec: FusionSpec, width: int) -> None:
        """``width`` is that of the input."""
        super().__init__()
        self.norm = LayerNorm(len(spec.rng.generators), width)
        self.dropout = Dropout(spec.rates)
        self.hidden = Linear(spec.rng, width, spec.hidden)
        self.out = Linear(spec.rng, spec.hidden, spec.n_targets)

    def forward(self, x: Float[Tensor, "K B D"], rng: RngStreams | None) -> Float[Tensor, "K B E"]:
        """Regress intensities."""
        hidden = self.hidden(self.dropout(self.norm(x), rng))
        return self.out(self.dropout(nn.functional.gelu(hidden), rng))
