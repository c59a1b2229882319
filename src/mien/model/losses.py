"""Losses that do not degenerate when a label is constant in the batch.

1 - CCC and 1 - r are functions of means and variances. Over a small batch those are noisy, and where a rare emotion is
zero in all sixteen clips both correlations are 0 / something, without gradient. So five moments (E[p], E[y], E[p²],
E[y²], E[py]) are averaged over the last thousand clips or so, and the loss is computed from the running averages; its
gradient flows through the clips of the current batch. Labels that are ``nan`` are ignored.

Source: M. Wang, E. Fang, H. Liu, "Stochastic compositional gradient descent", Math. Programming 161 (2017) 419: for a
loss f(E[g]) with a curved f, track E[g] with a running average u and step along f'(u) ∇g. Concordance as a loss:
F. Weninger et al., IJCAI 2016.

Shapes: ``K`` models, ``B`` batch, ``E`` emotions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mien.config import LossSettings

_MOMENTS = 5


@dataclass
class Moments:
    """Running averages of p, y, p², y², py per model and emotion.

    Attributes:
        memory: length of the running average in clips; 0 uses only the current batch.
        values: ``(K, 5, E)`` averages, biased towards zero at first.
        weight: ``(E,)`` sum of the weights in the averages, from 0 to 1, for bias correction.
    """

    memory: int
    values: Tensor
    weight: Tensor

    @classmethod
    def start(cls, models: int, n_targets: int, memory: int, device: torch.device | str = "cpu") -> "Moments":
        """Empty averages."""
        shape = (models, _MOMENTS, n_targets)
        return cls(memory, torch.zeros(shape, device=device), torch.zeros(n_targets, device=device))

    def update(self, predicted: Float[Tensor, "K B E"], labels: Float[Tensor, "B E"]) -> Float[Tensor, "K M E"]:
        """Update with a batch.

        Args:
            predicted: ``(K, B, E)``.
            labels: ``(B, E)``, ``nan`` where unrated.

        Returns:
            ``(K, 5, E)``: the values of the running averages, with the gradient of the batch averages. Moments of an
            emotion without labels so far are 0.
        """
        known = ~torch.isnan(labels)
        y = torch.where(known, labels, 0.0).expand_as(predicted)
        p = torch.where(known, predicted, 0.0)
        count = known.sum(0)  # (E,)
        batch = torch.stack([p, y, p * p, y * y, p * y], 1).sum(2) / count.clamp(min=1)  # (K, 5, E)
        share = (count / max(self.memory, 1)).clamp(max=1) if self.memory else (count > 0).float()
        self.values = torch.lerp(self.values, batch.detach(), share)
        self.weight = torch.lerp(self.weight, torch.ones_like(self.weight), share)
        running = self.values / self.weight.clamp(min=1e-12)
        return running + torch.where(count > 0, batch - batch.detach(), 0.0)


def loss(
    predicted: Float[Tensor, "K B E"], labels: Float[Tensor, "B E"], moments: Moments, settings: LossSettings
) -> Float[Tensor, " K"]:
    """The weighted loss of each model, averaged over the emotions with labels: ``(K,)``.

    The gradient of the sum over models is that of each model's loss, since models share no parameters.
    """
    p, y, pp, yy, py = moments.update(predicted, labels).unbind(1)  # (K, E) each
    p_variance, y_variance, covariance = pp - p * p, yy - y * y, py - p * y
    known = ~torch.isnan(labels)
    total = torch.zeros_like(p)
    if settings.ccc:
        total = total + settings.ccc * (1 - _ratio(2 * covariance, p_variance + y_variance + (p - y) ** 2))
    if settings.pearson:
        spread = torch.sqrt((p_variance * y_variance).clamp(min=1e-12))
        total = total + settings.pearson * (1 - covariance / spread)
    if settings.mse:
        error = torch.where(known, predicted - torch.where(known, labels, 0.0), 0.0) ** 2
        total = total + settings.mse * error.sum(1) / known.sum(0).clamp(min=1)
    has_labels = known.any(0)
    return torch.where(has_labels, total, 0.0).sum(-1) / has_labels.sum().clamp(min=1)


def cross_entropy(log_odds: Float[Tensor, "K B E"], labels: Float[Tensor, "B E"]) -> Float[Tensor, " K"]:
    """The cross-entropy of the ratings of a clip, from 0 to 1, averaged over the clips that have any: ``(K,)``.

    It is the negative log-likelihood of a clip's votes, so a rating weighs the same in whichever emotion it is.

    >>> cross_entropy(torch.zeros(1, 2, 2), torch.tensor([[1.0, float("nan")], [0.5, 0.0]])).tolist()  # 3/2 ln 2
    [1.0397207736968994]
    """
    known = ~torch.isnan(labels)
    y = torch.where(known, labels, 0.0).expand_as(log_odds)
    each = nn.functional.binary_cross_entropy_with_logits(log_odds, y, reduction="none") * known
    return each.sum((1, 2)) / known.any(1).sum().clamp(min=1)


def branch_loss(
    branches: Mapping[str, Float[Tensor, "K B E"]],
    present: Mapping[str, Bool[Tensor, " B"]],
    labels: Float[Tensor, "B E"],
) -> Float[Tensor, " K"]:
    """Mean squared error of each modality's own scores of the clips that have it, averaged over modalities."""
    known = ~torch.isnan(labels)
    errors = []
    for name, predicted in branches.items():
        counted = known & present[name][:, None]
        square = torch.where(counted, predicted - torch.where(known, labels, 0.0), 0.0) ** 2
        errors.append(square.sum((1, 2)) / counted.sum().clamp(min=1))
    return torch.stack(errors).mean(0)


def ramped(settings: LossSettings, epoch: int) -> LossSettings:
    """The loss weights in an epoch, counted from 0: that of 1 - r rises over ``pearson_ramp`` epochs (Huang 2026).

    >>> ramped(LossSettings(pearson=1.0, pearson_ramp=4), 1).pearson
    0.5
    """
    if not settings.pearson_ramp:
        return settings
    return settings.model_copy(update={"pearson": settings.pearson * min(1.0, (epoch + 1) / settings.pearson_ramp)})


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """``numerator / denominator``, 0 where both are 0 (constant columns), with a finite gradient."""
    return numerator / denominator.clamp(min=1e-8)
