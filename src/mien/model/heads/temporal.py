"""Temporal fusion: convolutions for what is quick, a recurrence for what is slow, and a weight for how good each is.

    steps → coarse → normalise → Linear → dilated convolutions → gated bidirectional LSTM → mean  (K, B, N), by modality
        → missing, dropout of whole modalities → Linear → softmax over the modalities             (K, B, M)   quality
        → concatenation, weighted by quality → regressor → (K, B, E), no sigmoid

``N`` is about a third of ``hidden``, as in ``recurrent``. Quality weighs whole modalities of a clip, so a bad camera
can be made up for by the voice.

Source: Yu et al. 2025, arXiv:2503.10603, whose first stage, contrastive alignment of each modality with text, is not
part of it; the sizes and the form of the gate (a sigmoid of what enters the recurrence) are our choice.
Shapes: ``K`` models, ``B`` batch, ``M`` modalities, ``S`` segments, ``W`` width of a step, ``N`` width of a branch,
``E`` emotions.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mien.modalities.encoder import Steps
from mien.modalities.stacked import Dropout, Linear, RngStreams
from mien.model.fusion import FusionHead
from mien.model.heads.lstm import LSTM
from mien.model.heads.steps import Projection, coarse
from mien.model.modality_mask import FusionSpec
from mien.model.regressor import Regressor

_DILATIONS = (1, 2, 4)


class Convolution(nn.Module):
    """K dilated convolutions in time with three taps, as residuals: ``(K, B, S, W)`` → the same."""

    def __init__(self, chance: RngStreams, width: int, dilation: int, rates: Sequence[float]) -> None:
        super().__init__()
        self.dilation = dilation
        self.linear = Linear(chance, 3 * width, width)
        self.dropout = Dropout(rates)

    def forward(
        self, x: Float[Tensor, "K B S W"], mask: Bool[Tensor, "B S"], chance: RngStreams | None
    ) -> Float[Tensor, "K B S W"]:
        """Add what each step and its neighbours at ± ``dilation`` say; padding is the same as no neighbour."""
        x = torch.where(mask[..., None], x, 0.0)
        wide = nn.functional.pad(x, (0, 0, self.dilation, self.dilation))
        taps = torch.cat([wide[:, :, : x.shape[2]], x, wide[:, :, 2 * self.dilation :]], -1)
        heard = nn.functional.gelu(self.linear(taps.flatten(1, 2)))
        return x + self.dropout(heard, chance).unflatten(1, x.shape[1:3])


class Branch(nn.Module):
    """K readers of one modality in time: ``Steps`` → ``(K, B, N)``, ``N`` twice ``state``."""

    def __init__(self, chance: RngStreams, width: int, state: int, rates: Sequence[float]) -> None:
        """``width`` is that of the features."""
        super().__init__()
        self.project = Projection(chance, width, 2 * state)
        self.convolutions = nn.ModuleList([Convolution(chance, 2 * state, d, rates) for d in _DILATIONS])
        self.forwards, self.backwards = LSTM(chance, 2 * state, state), LSTM(chance, 2 * state, state)
        self.gate = Linear(chance, 2 * state, 2 * state)

    def forward(self, steps: Steps, chance: RngStreams | None) -> Float[Tensor, "K B N"]:
        """The mean over the steps that count; zeros where there are none."""
        x = self.project(steps)
        for convolution in self.convolutions:
            x = convolution(x, steps.mask, chance)
        states = torch.cat([self.forwards(x, steps.mask), self.backwards(x, steps.mask, backward=True)], -1)
        gated = states * torch.sigmoid(self.gate(x.flatten(1, 2))).unflatten(1, x.shape[1:3])
        count = steps.mask.sum(-1, keepdim=True).clamp(min=1)
        return torch.where(steps.mask[..., None], gated, 0.0).sum(2) / count


class Temporal(FusionHead):
    """K fusions of temporal branches, weighted by quality."""

    reads_steps = True

    def __init__(self, design: FusionSpec) -> None:
        """K heads, one per stream of chance; the design's widths are those of the features, in a fixed order."""
        chance, widths = design.chance, design.widths
        state = max(1, design.hidden // 6)
        super().__init__(design, dict.fromkeys(widths, 2 * state))
        self.branches = nn.ModuleDict(
            {name: Branch(chance, width, state, design.rates) for name, width in widths.items()}
        )
        self.quality = nn.ModuleDict({name: Linear(chance, 2 * state, 1) for name in widths})
        self.regressor = Regressor(design, 2 * state * len(widths))

    def forward(self, inputs: Mapping[str, Steps], chance: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Regress intensities from whatever is present."""
        kept = self.presence({name: steps.mask.any(-1) for name, steps in inputs.items()}, chance)
        parts = {name: branch(coarse(inputs[name]), chance) for name, branch in self.branches.items()}
        parts = {name: self.presence.fill(name, part, kept) for name, part in parts.items()}
        scores = torch.cat([self.quality[name](part) for name, part in parts.items()], -1)  # (K, B, M)
        weights = torch.softmax(torch.where(self.presence.voices(kept), scores, -torch.inf), -1)
        weighted = [part * weights[..., m, None] for m, part in enumerate(parts.values())]
        return self.regressor(torch.cat(weighted, -1), chance)
