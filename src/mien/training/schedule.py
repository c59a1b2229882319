"""Learning-rate schedules and early stopping: a small state per model, all in tensors, so that it can be saved.

Shapes: ``K`` models.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mien.config import FitSettings

_PLATEAU_THRESHOLD = 1e-4


@dataclass
class Progress:
    """Early stopping and plateau state of K models, ``(K,)`` each, float64.

    Attributes:
        best: highest validation r so far; -inf before the first.
        waited: epochs since ``best``.
        stopped: whether the model has stopped.
        factor: learning-rate factor after all plateaus.
        plateau_best: highest r of the plateau rule, which ignores small gains.
        plateau_waited: epochs since ``plateau_best``.
    """

    best: Tensor
    waited: Tensor
    stopped: Tensor
    factor: Tensor
    plateau_best: Tensor
    plateau_waited: Tensor

    @classmethod
    def start(cls, models: int) -> "Progress":
        """The state before the first epoch."""
        low, zero, one = (torch.full((models,), v, dtype=torch.float64) for v in (-math.inf, 0.0, 1.0))
        return cls(low, zero, zero.clone(), one, low.clone(), zero.clone())

    def update(self, r: Tensor, settings: FitSettings) -> Tensor:
        """Update with the validation r ``(K,)`` of an epoch; returns which models have a new best, bool.

        An undefined r is never a new best, nor is one after the model has stopped.
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
        better = r > self.plateau_best + _PLATEAU_THRESHOLD
        self.plateau_best = torch.where(better, r, self.plateau_best)
        self.plateau_waited = torch.where(better, 0.0, self.plateau_waited + 1)
        reduce = self.plateau_waited > settings.plateau_patience
        self.factor = torch.where(reduce, self.factor * settings.plateau_factor, self.factor)
        self.plateau_waited = torch.where(reduce, 0.0, self.plateau_waited)


def step_factor(step: int, steps_per_epoch: int, epochs: int, settings: FitSettings) -> float:
    """Learning-rate factor of warm-up and cosine at a step counted from 0, in (0, 1].

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
