"""The regressor of the paper, in which most ways of fusion end: ``(K, B, D)`` → ``(K, B, E)``, no sigmoid.

    LayerNorm → Dropout → Linear → GELU → Dropout → Linear

Shapes: ``K`` models, ``B`` batch, ``D`` width, ``E`` emotions.
"""

from jaxtyping import Float
from torch import Tensor, nn

from mien.modalities.stacked import Dropout, LayerNorm, Linear, RngStreams
from mien.model.modality_mask import FusionSpec


class Regressor(nn.Module):
    """K regressors with one hidden layer."""

    def __init__(self, design: FusionSpec, width: int) -> None:
        """``width`` is that of what is regressed on."""
        super().__init__()
        self.norm = LayerNorm(len(design.chance.generators), width)
        self.dropout = Dropout(design.rates)
        self.hidden = Linear(design.chance, width, design.hidden)
        self.out = Linear(design.chance, design.hidden, design.targets)

    def forward(self, x: Float[Tensor, "K B D"], chance: RngStreams | None) -> Float[Tensor, "K B E"]:
        """Regress intensities."""
        hidden = self.hidden(self.dropout(self.norm(x), chance))
        return self.out(self.dropout(nn.functional.gelu(hidden), chance))
