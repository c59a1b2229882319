"""Losses that do not degenerate when a rating is constant in the batch.

1 - CCC and 1 - r are functions of means and variances. Over a small batch those are noise, and where a rarely shown
emotion is zero in all sixteen clips both correlations are 0 / something, with no gradient. So five sums (E[p], E[y],
E[p²], E[y²], E[py]) are accumulated over the last thousand clips or so, and the loss is taken of the accumulated
values; its gradient flows through the clips of the present batch. Ratings that are ``nan`` count nowhere.

Source: M. Wang, E. Fang, H. Liu, "Stochastic compositional gradient descent", Math. Programming 161 (2017) 419: for a
loss f(E[g]) with a curved f, track E[g] with a running average u and step along f'(u) ∇g. Concordance as a loss:
F. Weninger et al., IJCAI 2016.

Shapes: ``K`` models, ``B`` batch, ``E`` emotions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mien.config import LossSettings

_MOMENTS = 5


@dataclass
class Moments:
    """Running averages of p, y, p², y², py per model and emotion.

    Attributes:
        memory: how many clips they remember; 0 forgets everything before the present batch.
        values: ``(K, 5, E)`` averages, biased towards zero while young.
        weight: ``(E,)`` what the averages sum to: 0 at first, 1 in the long run.
    """

    memory: int
    values: Tensor
    weight: Tensor

    @classmethod
    def start(cls, models: int, targets: int, memory: int, device: torch.device | str = "cpu") -> "Moments":
        """Nothing remembered yet."""
        shape = (models, _MOMENTS, targets)
        return cls(memory, torch.zeros(shape, device=device), torch.zeros(targets, device=device))

    def update(self, predicted: Float[Tensor, "K B E"], rated: Float[Tensor, "B E"]) -> Float[Tensor, "K M E"]:
        """Take in a batch.

        Args:
            predicted: ``(K, B, E)``.
            rated: ``(B, E)``, ``nan`` where unrated.

        Returns:
            ``(K, 5, E)``: the running averages in value, the batch's averages in gradient. An emotion that has not
            been rated yet has moments 0.
        """
        known = ~torch.isnan(rated)
        y = torch.where(known, rated, 0.0).expand_as(predicted)
        p = torch.where(known, predicted, 0.0)
        count = known.sum(0)  # (E,)
        batch = torch.stack([p, y, p * p, y * y, p * y], 1).sum(2) / count.clamp(min=1)  # (K, 5, E)
        share = (count / max(self.memory, 1)).clamp(max=1) if self.memory else (count > 0).float()
        self.values = torch.lerp(self.values, batch.detach(), share)
        self.weight = torch.lerp(self.weight, torch.ones_like(self.weight), share)
        running = self.values / self.weight.clamp(min=1e-12)
        return running + torch.where(count > 0, batch - batch.detach(), 0.0)


def loss(
    predicted: Float[Tensor, "K B E"], rated: Float[Tensor, "B E"], moments: Moments, settings: LossSettings
) -> Float[Tensor, " K"]:
    """The weighted loss of each model, averaged over the emotions that are rated: ``(K,)``.

    Its sum over models gives every model its own gradient, since no model's loss depends on another's parameters.
    """
    p, y, pp, yy, py = moments.update(predicted, rated).unbind(1)  # (K, E) each
    p_variance, y_variance, covariance = pp - p * p, yy - y * y, py - p * y
    known = ~torch.isnan(rated)
    total = torch.zeros_like(p)
    if settings.ccc:
        total = total + settings.ccc * (1 - _ratio(2 * covariance, p_variance + y_variance + (p - y) ** 2))
    if settings.pearson:
        spread = torch.sqrt((p_variance * y_variance).clamp(min=1e-12))
        total = total + settings.pearson * (1 - covariance / spread)
    if settings.mse:
        error = torch.where(known, predicted - torch.where(known, rated, 0.0), 0.0) ** 2
        total = total + settings.mse * error.sum(1) / known.sum(0).clamp(min=1)
    rated_at_all = known.any(0)
    return torch.where(rated_at_all, total, 0.0).sum(-1) / rated_at_all.sum().clamp(min=1)


def branch_loss(
    branches: Mapping[str, Float[Tensor, "K B E"]],
    present: Mapping[str, Bool[Tensor, " B"]],
    rated: Float[Tensor, "B E"],
) -> Float[Tensor, " K"]:
    """Mean squared error of what each modality says alone of the clips that have it, averaged over modalities."""
    known = ~torch.isnan(rated)
    errors = []
    for name, predicted in branches.items():
        counted = known & present[name][:, None]
        square = torch.where(counted, predicted - torch.where(known, rated, 0.0), 0.0) ** 2
        errors.append(square.sum((1, 2)) / counted.sum().clamp(min=1))
    return torch.stack(errors).mean(0)


def ramped(settings: LossSettings, epoch: int) -> LossSettings:
    """The weights in an epoch, counted from 0: that of 1 - r rises over ``pearson_ramp`` epochs (Huang 2026).

    >>> ramped(LossSettings(pearson=1.0, pearson_ramp=4), 1).pearson
    0.5
    """
    if not settings.pearson_ramp:
        return settings
    return settings.model_copy(update={"pearson": settings.pearson * min(1.0, (epoch + 1) / settings.pearson_ramp)})


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """``above / below``, 0 where both vanish (two constant columns), with a finite gradient."""
    return above / below.clamp(min=1e-8)
