"""How learning rates go, and when a model stops: one small state per model, all in tensors, so it is saved as it is.

Shapes: ``K`` models.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mien.config import FitSettings

_MARGIN = 1e-4


@dataclass
class Progress:
    """Where each of K models stands, ``(K,)`` each, float64.

    Attributes:
        best: highest validation r so far; -inf before the first.
        waited: epochs since then.
        stopped: whether it has stopped learning.
        factor: what plateaus have made of the learning rate.
        plateau_best: highest r as the plateau rule sees it (small gains do not count).
        plateau_waited: epochs since then.
    """

    best: Tensor
    waited: Tensor
    stopped: Tensor
    factor: Tensor
    plateau_best: Tensor
    plateau_waited: Tensor

    @classmethod
    def start(cls, models: int) -> "Progress":
        """Nothing has happened yet."""
        low, zero, one = (torch.full((models,), v, dtype=torch.float64) for v in (-math.inf, 0.0, 1.0))
        return cls(low, zero, zero.clone(), one, low.clone(), zero.clone())

    def judge(self, r: Tensor, settings: FitSettings) -> Tensor:
        """Take in the validation r ``(K,)`` of an epoch; returns which models have a new best, bool.

        A model whose r is undefined is not better. One that has stopped has no new best any more.
        """
        r = torch.where(torch.isnan(r), -torch.inf, r.double())
        better = (r > self.best) & (self.stopped == 0)
        self.best = torch.where(better, r, self.best)
        self.waited = torch.where(better, 0.0, self.waited + 1)
        if settings.patience:
            self.stopped = torch.where(self.waited >= settings.patience, 1.0, self.stopped)
        if settings.schedule == "plateau":
            self._plateau(r, settings)
        return better

    def _plateau(self, r: Tensor, settings: FitSettings) -> None:
        """As ``torch.optim.lr_scheduler.ReduceLROnPlateau(mode="max", threshold=1e-4, threshold_mode="abs")``."""
        better = r > self.plateau_best + _MARGIN
        self.plateau_best = torch.where(better, r, self.plateau_best)
        self.plateau_waited = torch.where(better, 0.0, self.plateau_waited + 1)
        reduce = self.plateau_waited > settings.plateau_patience
        self.factor = torch.where(reduce, self.factor * settings.plateau_factor, self.factor)
        self.plateau_waited = torch.where(reduce, 0.0, self.plateau_waited)


def step_factor(step: int, steps_per_epoch: int, epochs: int, settings: FitSettings) -> float:
    """What warm-up and cosine make of the learning rate at a step counted from 0, in (0, 1].

    >>> settings = FitSettings(schedule="cosine", warmup_epochs=1)
    >>> [round(step_factor(step, 10, 3, settings), 3) for step in (0, 9, 10, 20)]
    [0.1, 1.0, 1.0, 0.5]
    """
    warmup = settings.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / warmup
    if settings.schedule != "cosine":
        return 1.0
    done = (step - warmup) / max(1.0, epochs * steps_per_epoch - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
