"""The state of a training: what the loop changes, all of it saved in a checkpoint, so that a killed training continues
to the same bits.

Models that have stopped leave the module and every tensor of the state but ``progress``, ``best`` and ``history``.

Shapes: ``K`` models, ``A`` of them still training, ``P`` trainable parameters per model.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from mien.config import FitSettings
from mien.errors import Damaged, ModelError
from mien.modalities.stacked import RngStreams, seeded
from mien.model.inputs import Data
from mien.model.losses import Moments
from mien.model.network import ModelSpec, ParamGroup
from mien.scale import follows
from mien.storage.checksums import read_tensors, write_tensors
from mien.training.parameters import Optimiser, ParameterMatrix, keep_models
from mien.training.schedule import EpochPlan, History, Progress


@dataclass
class TrainingJob:
    """The module, data and settings of one training.

    Attributes:
        name: of this training, in messages and as the purpose of random streams.
        module: maps ``(inputs, rng)`` to ``(K, B, E)``; has the best weights at the end.
        groups: all its parameters, with their share of the learning rate.
        models: hyper-parameters in which the K models differ.
        train, valid: clips; unrated labels are ignored. ``valid`` is ``None`` with a ``plan``.
        settings: of the optimiser, schedule and loss.
        epochs: maximum number.
        batch_seed: of the order of batches.
        precision: of matrix products in training; the finished model is always evaluated in float32.
        log_odds: whether the module gives the log odds of ratings, and the loss is their cross-entropy.
        terms: weights of further terms of the loss (``mien.model.terms``), for a module with ``with_parts``.
        checkpoint: file to continue from and to save to; ``None`` saves nothing.
        checkpoint_seconds: seconds between checkpoints.
        plan: epochs and rates to follow, instead of early stopping and plateaus of validation r.
        shares: whether the processes of a launch divide each batch (``mien.compute.processes``).
        history: the course of the training, set at its end.
    """

    name: str
    module: nn.Module
    groups: Sequence[ParamGroup]
    models: Sequence[ModelSpec]
    train: Data
    valid: Data | None
    settings: FitSettings
    epochs: int
    batch_seed: int = 0
    precision: torch.dtype = torch.float32
    log_odds: bool = False
    terms: Mapping[str, float] = field(default_factory=dict)
    checkpoint: Path | None = None
    checkpoint_seconds: float = 60.0
    plan: EpochPlan | None = None
    shares: bool = False
    history: History | None = None


@dataclass
class State:
    """The state of training, all of it saved in a checkpoint.

    Attributes:
        learning: ``(A,)`` indices of the models that have not stopped; the next seven attributes cover only these.
        best: ``(K, P)`` best weights; like ``progress`` and ``history``, of all models.
        history: ``(T, K, 2)`` validation r and plateau factor of each epoch.
    """

    learning: Tensor
    matrix: ParameterMatrix
    optimiser: Optimiser
    rng: RngStreams
    moments: Moments
    average: Tensor | None
    train: Data
    valid: Data | None
    order: torch.Generator
    progress: Progress
    best: Tensor
    history: Tensor
    epoch: int = 0
    step: int = 0
    saved: float = field(default_factory=time.monotonic)

    def so_far(self) -> History:
        """The course of the training up to now."""
        r, factors = self.history.numpy().transpose(2, 0, 1)
        best = self.epoch - self.progress.waited.long().numpy()
        return History(r, factors, best)


def start(job: TrainingJob, matrix: ParameterMatrix) -> State:
    """The state before the first epoch."""
    device, seeds = matrix.values.device, [model.seed for model in job.models]
    return State(
        learning=torch.arange(len(seeds)),
        matrix=matrix,
        optimiser=Optimiser(matrix, job.models),
        rng=RngStreams(seeds, f"{job.name} dropout", device),
        moments=Moments.start(len(seeds), job.train.labels.shape[1], job.settings.loss.memory_clips, device),
        average=matrix.values.clone() if job.settings.ema else None,
        train=job.train,
        valid=job.valid,
        order=seeded(job.batch_seed, f"{job.name} batches"),
        progress=Progress.start(len(seeds)),
        best=matrix.values.clone(),
        history=torch.empty((0, len(seeds), 2), dtype=torch.float64),
    )


def drop_stopped_models(job: TrainingJob, state: State, learning: Tensor) -> None:
    """Continue with the models at the indices ``learning`` only."""
    rows = torch.searchsorted(state.learning, learning)
    state.learning = learning
    if not len(learning):
        return
    device = state.matrix.values.device
    state.rng.generators = [state.rng.generators[row] for row in rows.tolist()]
    rows = rows.to(device)
    moments = {name: value if name == "step" else value[rows] for name, value in state.optimiser.state().items()}
    keep_models(job.module, rows)
    state.matrix = ParameterMatrix(job.groups)
    state.optimiser = Optimiser(state.matrix, [job.models[k] for k in learning.tolist()])
    if moments:
        state.optimiser.restore(moments)
    state.moments.values = state.moments.values[rows]
    state.average = None if state.average is None else state.average[rows]
    state.train = state.train.select_models(rows)
    state.valid = None if state.valid is None else state.valid.select_models(rows)


def save_if_due(job: TrainingJob, state: State) -> None:
    """Write the checkpoint, unless that was less than ``checkpoint_seconds`` ago."""
    if job.checkpoint is None or follows() or time.monotonic() - state.saved < job.checkpoint_seconds:
        return
    _write_checkpoint(job.checkpoint, state)
    state.saved = time.monotonic()


def _write_checkpoint(path: Path, state: State) -> None:
    tensors = {
        "learning": state.learning,
        "values": state.matrix.values,
        "best": state.best,
        "history": state.history,
        "chance": state.rng.state(),
        "order": state.order.get_state(),
        "moments": state.moments.values,
        "moments.weight": state.moments.weight,
        "clock": torch.tensor([state.epoch, state.step]),
    }
    tensors |= {f"optimiser.{name}": value for name, value in state.optimiser.state().items()}
    tensors |= {f"progress.{name}": value.clone() for name, value in vars(state.progress).items()}
    if state.average is not None:
        tensors["average"] = state.average
    write_tensors(path, {name: value.detach().cpu().contiguous().numpy() for name, value in tensors.items()})


def read_checkpoint(job: TrainingJob, state: State) -> None:
    """Continue from the checkpoint of a job.

    Raises:
        ModelError: it is damaged.
    """
    assert job.checkpoint is not None
    device = state.matrix.values.device
    try:
        tensors = {name: torch.from_numpy(values) for name, values in read_tensors(job.checkpoint)[0].items()}
    except Damaged as error:
        raise ModelError(f"{error}; delete it and train again: this stage starts over") from error
    if len(tensors["learning"]) < len(state.learning):
        drop_stopped_models(job, state, tensors["learning"])
    state.best = tensors["best"].to(device)
    state.progress = Progress(**{name: tensors[f"progress.{name}"] for name in vars(state.progress)})
    state.epoch, state.step = tensors["clock"].tolist()
    unknown = torch.full((state.epoch, len(job.models), 2), torch.nan, dtype=torch.float64)
    state.history = tensors.get("history", unknown)  # older versions saved none
    if not len(state.learning):  # all models have stopped; what follows is of the last that learned
        return
    state.matrix.values.copy_(tensors["values"])
    state.rng.restore(tensors["chance"])
    state.order.set_state(tensors["order"])
    state.moments.values = tensors["moments"].to(device)
    state.moments.weight = tensors["moments.weight"].to(device)
    optimiser = {n.removeprefix("optimiser."): v.to(device) for n, v in tensors.items() if n.startswith("optimiser.")}
    state.optimiser.restore(optimiser)
    if state.average is not None:
        state.average = tensors["average"].to(device)
