"""The regressor of the paper, for heads that end in one: ``(K, B, D)`` → ``(K, B, E)``, no sigmoid.

    LayerNorm → Dropout → Linear → GELU → Dropout → Linear

Shapes: ``K`` models, ``B`` batch, ``D`` width, ``E`` emotions.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from mien.modalities.stacked import Chance, Dropout, LayerNorm, Linear


class Regressor(nn.Module):
    """K regressors with one hidden layer, as in ``Fusion``."""

    def __init__(self, chance: Chance, width: int, hidden: int, targets: int, rates: Sequence[float]) -> None:
        super().__init__()
        self.norm = LayerNorm(len(chance.generators), width)
        self.dropout = Dropout(rates)
        self.hidden = Linear(chance, width, hidden)
        self.out = Linear(chance, hidden, targets)

    def forward(self, x: Float[Tensor, "K B D"], chance: Chance | None) -> Float[Tensor, "K B E"]:
        """Regress intensities."""
        hidden = self.hidden(self.dropout(self.norm(x), chance))
        return self.out(self.dropout(nn.functional.gelu(hidden), chance))
