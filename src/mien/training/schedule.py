"""Learning-rate schedules and early stopping: a small state per model, all in tensors, so that it can be saved.

A training without validation clips follows an ``EpochPlan``: what early stopping and the plateau rule decided in
another.

Shapes: ``K`` models, ``T`` epochs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mien.config import FitSettings

_PLATEAU_THRESHOLD = 1e-4


@dataclass(frozen=True)
class EpochPlan:
    """How long to train each of K models, and at which rates.

    Attributes:
        epochs: ``(K,)``; 0 leaves the initial weights.
        factors: ``(T, K)`` factor of the plateau rule in each epoch; of a model's own epochs only.
    """

    epochs: npt.NDArray[np.int64]
    factors: npt.NDArray[np.float64]

    def record(self) -> dict[str, Any]:
        """This plan as values for JSON: a list of factors per model."""
        factors = [self.factors[:count, k].tolist() for k, count in enumerate(self.epochs)]
        return {"epochs": self.epochs.tolist(), "factors": factors}

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> "EpochPlan":
        """The plan of a ``record``.

        Raises:
            ValueError, KeyError, TypeError: it is damaged.
        """
        epochs = np.array(record["epochs"], np.int64)
        factors = np.full((int(epochs.max()), len(epochs)), np.nan)
        for k, values in enumerate(record["factors"]):
            factors[: epochs[k], k] = np.array(values, np.float64)
        if any(np.isnan(factors[:count, k]).any() for k, count in enumerate(epochs)):
            raise ValueError("a factor of the learning rate is missing")
        return cls(epochs, factors)


@dataclass(frozen=True)
class History:
    """The course of a training; ``nan`` once a model has stopped.

    Attributes:
        r: ``(T, K)`` mean validation r after each epoch.
        factors: ``(T, K)`` factor of the plateau rule in each epoch.
        best: ``(K,)`` number of the best epoch, counted from 1; 0 if r was never defined.
    """

    r: npt.NDArray[np.float64]
    factors: npt.NDArray[np.float64]
    best: npt.NDArray[np.int64]

    @property
    def plan(self) -> EpochPlan:
        """Training up to the best epoch."""
        return EpochPlan(self.best, self.factors)


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

    def follow(self, plan: EpochPlan, epoch: int) -> Tensor:
        """Stop the models for which this epoch is the last of the plan; returns which, bool."""
        last = torch.from_numpy(plan.epochs == epoch)
        self.stopped = torch.where(torch.from_numpy(plan.epochs <= epoch), 1.0, self.stopped)
        return last

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
