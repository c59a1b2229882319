"""Temporal fusion: convolutions, a recurrence, and a learned quality weight per modality.

    steps → downsample → normalise → Linear → dilated convolutions → gated bidirectional LSTM → mean
        → (K, B, N), by modality → missing, dropout of whole modalities
        → Linear → softmax over the modalities (K, B, M), the quality
        → concatenation, weighted by quality → regressor → (K, B, E), no sigmoid

``N`` is about a third of ``hidden``, as in ``recurrent``. Quality weighs whole modalities of a clip, so audio can make
up for a bad camera.

Source: Yu et al. 2025, arXiv:2503.10603, without its first stage, the contrastive alignment of each
modality with text; the sizes and the form of the gate (a sigmoid of the input of the recurrence) are our choice.
Shapes: ``K`` models, ``B`` batch, ``M`` modalities, ``S`` segments, ``W`` width of a step, ``N`` width of a branch,
``E`` emotions.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mien.modalities.encoder import LayerWeights, Steps, layers_in
from mien.modalities.stacked import Dropout, Linear, RngStreams
from mien.model.fusion import FusionHead
from mien.model.heads.lstm import LSTM
from mien.model.heads.steps import Projection, downsample
from mien.model.modality_mask import FusionSpec
from mien.model.regressor import Regressor

_DILATIONS = (1, 2, 4)


class Convolution(nn.Module):
    """K dilated convolutions in time with three taps, as residuals: ``(K, B, S, W)`` → the same."""

    def __init__(self, rng: RngStreams, width: int, dilation: int, rates: Sequence[float]) -> None:
        super().__init__()
        self.dilation = dilation
        self.linear = Linear(rng, 3 * width, width)
        self.dropout = Dropout(rates)

    def forward(
        self, x: Float[Tensor, "K B S W"], mask: Bool[Tensor, "B S"], rng: RngStreams | None
    ) -> Float[Tensor, "K B S W"]:
        """Convolve each step with its neighbours at ± ``dilation``; padding is zeros."""
        x = torch.where(mask[..., None], x, 0.0)
        wide = nn.functional.pad(x, (0, 0, self.dilation, self.dilation))
        neighbours = torch.cat([wide[:, :, : x.shape[2]], x, wide[:, :, 2 * self.dilation :]], -1)
        activated = nn.functional.gelu(self.linear(neighbours.flatten(1, 2)))
        return x + self.dropout(activated, rng).unflatten(1, x.shape[1:3])


class Branch(nn.Module):
    """K temporal branches of one modality: ``Steps`` → ``(K, B, N)``, ``N`` twice ``state``."""

    def __init__(self, rng: RngStreams, width: int, state: int, rates: Sequence[float], layers: int = 0) -> None:
        """``width`` is that of the features, of ``layers`` side by side or of one."""
        super().__init__()
        self.project = Projection(rng, width, 2 * state, layers)
        self.convolutions = nn.ModuleList([Convolution(rng, 2 * state, d, rates) for d in _DILATIONS])
        self.forwards, self.backwards = LSTM(rng, 2 * state, state), LSTM(rng, 2 * state, state)
        self.gate = Linear(rng, 2 * state, 2 * state)

    def forward(self, steps: Steps, rng: RngStreams | None) -> Float[Tensor, "K B N"]:
        """The masked mean over steps; zeros for a clip without steps."""
        x = self.project(steps)
        for convolution in self.convolutions:
            x = convolution(x, steps.mask, rng)
        states = torch.cat([self.forwards(x, steps.mask), self.backwards(x, steps.mask, backward=True)], -1)
        gated = states * torch.sigmoid(self.gate(x.flatten(1, 2))).unflatten(1, x.shape[1:3])
        count = steps.mask.sum(-1, keepdim=True).clamp(min=1)
        return torch.where(steps.mask[..., None], gated, 0.0).sum(2) / count


class Temporal(FusionHead):
    """K fusions of temporal branches, weighted by quality."""

    reads_steps = True

    def __init__(self, spec: FusionSpec) -> None:
        """K heads, one per random stream; ``spec.widths`` are those of the features, in a fixed order."""
        rng, widths = spec.rng, spec.widths
        state = max(1, spec.hidden // 6)
        super().__init__(spec, dict.fromkeys(widths, 2 * state))
        self.branches = nn.ModuleDict(
            {name: Branch(rng, width, state, spec.rates, spec.layers.get(name, 0)) for name, width in widths.items()}
        )
        self.quality = nn.ModuleDict({name: Linear(rng, 2 * state, 1) for name in widths})
        self.regressor = Regressor(spec, 2 * state * len(widths))

    def forward(self, inputs: Mapping[str, Steps], rng: RngStreams | None = None) -> Float[Tensor, "K B E"]:
        """Regress intensities from the available modalities."""
        kept = self.presence({name: steps.mask.any(-1) for name, steps in inputs.items()}, rng)
        parts = {name: branch(downsample(inputs[name]), rng) for name, branch in self.branches.items()}
        parts = {name: self.presence.fill(name, part, kept) for name, part in parts.items()}
        scores = torch.cat([self.quality[name](part) for name, part in parts.items()], -1)  # (K, B, M)
        weights = torch.softmax(torch.where(self.presence.voting_mask(kept), scores, -torch.inf), -1)
        weighted = [part * weights[..., m, None] for m, part in enumerate(parts.values())]
        return self.regressor(torch.cat(weighted, -1), rng)

    def layer_weights(self) -> dict[str, LayerWeights | None]:
        """The learned weights of layers, by modality."""
        return {name: layers_in(branch) for name, branch in self.branches.items()}


HEAD = Temporal
