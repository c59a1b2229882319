"""The training loop: a generator of epochs, for K models at once. The body of the caller's ``for`` is the callback.

    for epoch in fit(job):
        log(epoch)        # ``break`` stops early; the best weights so far are then in ``job.module``

Every random stream has its own seed: initial weights and dropout from the seed of each model, the order of batches from
the seed of the run. So a model is the same whether it is trained alone or with others, and an interrupted run continues
from its checkpoint to the same bits. Models that have stopped early leave the module, so that they cost nothing; all
are back in it at the end.

Shapes: ``K`` models, ``A`` of them still training, ``P`` trainable parameters per model, ``N`` clips, ``B`` batch,
``E`` emotions.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mien.config import FitSettings
from mien.errors import Damaged, MienError, ModelError
from mien.metrics import mean_defined, pearson
from mien.modalities.stacked import RngStreams, seeded
from mien.model.inputs import Data, autocast, predict_all
from mien.model.losses import Moments, branch_loss, loss, ramped
from mien.model.network import ModelSpec, Multimodal, ParamGroup
from mien.storage.checksums import read_tensors, write_tensors
from mien.storage.documents import plain
from mien.training.batches import batch_order
from mien.training.parameters import Optimiser, ParameterMatrix, keep_models
from mien.training.schedule import Progress, step_factor


@dataclass
class TrainingJob:
    """The module, data and settings of one training.

    Attributes:
        name: of this training, in messages and as the purpose of random streams.
        module: maps ``(inputs, rng)`` to ``(K, B, E)``; has the best weights at the end.
        groups: all its parameters, with their share of the learning rate.
        models: hyper-parameters in which the K models differ.
        train, valid: clips; unrated labels are ignored.
        settings: of the optimiser, schedule and loss.
        epochs: maximum number.
        batch_seed: of the order of batches.
        precision: of matrix products in training; the finished model is always evaluated in float32.
        auxiliary: weight of the auxiliary loss of each modality, for a module with ``with_branches``; 0 for none.
        checkpoint: file to continue from and to save to; ``None`` saves nothing.
        checkpoint_seconds: seconds between checkpoints.
    """

    name: str
    module: nn.Module
    groups: Sequence[ParamGroup]
    models: Sequence[ModelSpec]
    train: Data
    valid: Data
    settings: FitSettings
    epochs: int
    batch_seed: int = 0
    precision: torch.dtype = torch.float32
    auxiliary: float = 0.0
    checkpoint: Path | None = None
    checkpoint_seconds: float = 60.0


@dataclass(frozen=True)
class Epoch:
    """The results of an epoch; arrays have one entry per model, ``nan`` once it has stopped.

    Attributes:
        number: counted from 1.
        loss: mean over the batches.
        r: ``(K, E)`` validation Pearson.
        mean_r: ``(K,)`` its mean over the emotions for which it is defined.
        lr: learning rate of the head in the last step.
        gradient: mean norm of the gradient before clipping.
        best: whether this is the best epoch so far.
        stopped: whether the model has stopped.
        seconds: of training and validation.
    """

    number: int
    loss: npt.NDArray[np.float64]
    r: npt.NDArray[np.float64]
    mean_r: npt.NDArray[np.float64]
    lr: npt.NDArray[np.float64]
    gradient: npt.NDArray[np.float64]
    best: npt.NDArray[np.bool_]
    stopped: npt.NDArray[np.bool_]
    seconds: float

    def record(self) -> dict[str, Any]:
        """This record as values for JSON."""
        return plain(vars(self))


@dataclass
class _State:
    """The state of training, all of it saved in a checkpoint.

    Attributes:
        learning: ``(A,)`` indices of the models that have not stopped; the next seven attributes cover only these.
        best: ``(K, P)`` best weights; like ``progress``, of all models.
    """

    learning: Tensor
    matrix: ParameterMatrix
    optimiser: Optimiser
    rng: RngStreams
    moments: Moments
    average: Tensor | None
    train: Data
    valid: Data
    order: torch.Generator
    progress: Progress
    best: Tensor
    epoch: int = 0
    step: int = 0
    saved: float = field(default_factory=time.monotonic)


def fit(job: TrainingJob) -> Iterator[Epoch]:
    """Train until every model has stopped or ``job.epochs`` is reached; then put the best weights into the module.

    Yields:
        One record per epoch; after resuming, numbers continue from the checkpoint.

    Raises:
        MienError: the validation r of every model was undefined (no labels, or the loss is not finite).
        ModelError: the checkpoint is damaged.
    """
    matrix = ParameterMatrix(job.groups)
    tensors_before = [(part, part.data) for part in (*job.module.parameters(), *job.module.buffers())]
    state = _start(job, matrix)
    if job.checkpoint and job.checkpoint.exists():
        _read_checkpoint(job, state)
    try:
        while state.epoch < job.epochs and len(state.learning):
            epoch = _run_epoch(job, state)
            _save_if_due(job, state)
            yield epoch
    finally:
        for part, data in tensors_before:
            part.data = data
        matrix.values.copy_(state.best)
    if not bool(torch.isfinite(state.progress.best).any()):
        raise MienError(
            f"{job.name}: no validation r is defined; are the clips rated, and is the loss finite (lower lr)?"
        )


def _start(job: TrainingJob, matrix: ParameterMatrix) -> _State:
    device, seeds = matrix.values.device, [model.seed for model in job.models]
    return _State(
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
    )


def _run_epoch(job: TrainingJob, state: _State) -> Epoch:
    begin = time.monotonic()
    batches = batch_order(job.train.sizes.cpu(), job.settings.batch_size, state.order)
    losses, norms, factor = [], [], np.ones(len(state.learning))
    plateau = state.progress.factor[state.learning].numpy()
    for index in batches:
        factor = plateau * step_factor(state.step, len(batches), job.epochs, job.settings)
        value, norm = _step(job, state, index.to(job.train.labels.device), factor.tolist())
        losses.append(value)
        norms.append(norm)
    state.epoch += 1
    still_learning = state.learning.numpy()

    def all_models(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Values of the models still training, ``nan`` for the others."""
        filled = np.full((len(job.models), *values.shape[1:]), np.nan)
        filled[still_learning] = values
        return filled

    r = all_models(_validation_r(job, state))
    mean_r = mean_defined(r)
    better = state.progress.update(torch.from_numpy(mean_r), job.settings)
    current = state.matrix.values if state.average is None else state.average
    improved = better[state.learning]
    state.best[state.learning[improved].to(current.device)] = current[improved.to(current.device)]
    if bool(state.progress.stopped[state.learning].any()):
        _drop_stopped_models(job, state, state.learning[state.progress.stopped[state.learning] == 0])
    return Epoch(
        number=state.epoch,
        loss=all_models(torch.stack(losses).double().mean(0).cpu().numpy()),
        r=r,
        mean_r=mean_r,
        lr=all_models(factor * np.array([job.models[k].lr for k in still_learning])),
        gradient=all_models(torch.stack(norms).double().mean(0).cpu().numpy()),
        best=better.numpy(),
        stopped=state.progress.stopped.numpy() > 0,
        seconds=time.monotonic() - begin,
    )


def _drop_stopped_models(job: TrainingJob, state: _State, learning: Tensor) -> None:
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
    state.train, state.valid = state.train.select_models(rows), state.valid.select_models(rows)


def _step(job: TrainingJob, state: _State, index: Tensor, factor: list[float]) -> tuple[Tensor, Tensor]:
    """One optimiser step: ``(A,)`` losses and ``(A,)`` gradient norms."""
    labels, inputs = state.train.labels[index], state.train.batch(index)
    with autocast(labels.device, job.precision):
        if job.auxiliary:
            assert isinstance(job.module, Multimodal)
            predicted, branches = job.module.with_branches(inputs, state.rng)
        else:
            predicted, branches = job.module(inputs, state.rng), {}
    value = loss(predicted.float(), labels, state.moments, ramped(job.settings.loss, state.epoch))
    if branches:
        present = {name: steps.mask.any(-1) for name, steps in inputs.items()}
        branch_losses = branch_loss({name: branch.float() for name, branch in branches.items()}, present, labels)
        value = value + job.auxiliary * branch_losses
    state.matrix.differentiate(value)
    norm = state.matrix.clip(job.settings.clip_norm)
    state.optimiser.step(factor)
    state.step += 1
    if state.average is not None:
        decay = min(job.settings.ema, (1 + state.step) / (10 + state.step))
        state.average.lerp_(state.matrix.values, 1 - decay)
    return value.detach(), norm


def _validation_r(job: TrainingJob, state: _State) -> npt.NDArray[np.float64]:
    """Validation r ``(A, E)`` of the weights, or of their moving average if there is one."""
    if state.average is None:
        return pearson(predict_all(job.module, state.valid, job.precision), job.valid.labels.cpu().numpy())
    kept = state.matrix.values.clone()
    state.matrix.values.copy_(state.average)
    r = pearson(predict_all(job.module, state.valid, job.precision), job.valid.labels.cpu().numpy())
    state.matrix.values.copy_(kept)
    return r


def _save_if_due(job: TrainingJob, state: _State) -> None:
    if job.checkpoint is None or time.monotonic() - state.saved < job.checkpoint_seconds:
        return
    _write_checkpoint(job.checkpoint, state)
    state.saved = time.monotonic()


def _write_checkpoint(path: Path, state: _State) -> None:
    tensors = {
        "learning": state.learning,
        "values": state.matrix.values,
        "best": state.best,
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


def _read_checkpoint(job: TrainingJob, state: _State) -> None:
    assert job.checkpoint is not None
    device = state.matrix.values.device
    try:
        tensors = {name: torch.from_numpy(values) for name, values in read_tensors(job.checkpoint)[0].items()}
    except Damaged as error:
        raise ModelError(f"{error}; delete it and train again: this stage starts over") from error
    if len(tensors["learning"]) < len(state.learning):
        _drop_stopped_models(job, state, tensors["learning"])
    state.matrix.values.copy_(tensors["values"])
    state.best = tensors["best"].to(device)
    state.rng.restore(tensors["chance"])
    state.order.set_state(tensors["order"])
    state.moments.values = tensors["moments"].to(device)
    state.moments.weight = tensors["moments.weight"].to(device)
    state.progress = Progress(**{name: tensors[f"progress.{name}"] for name in vars(state.progress)})
    state.epoch, state.step = tensors["clock"].tolist()
    optimiser = {n.removeprefix("optimiser."): v.to(device) for n, v in tensors.items() if n.startswith("optimiser.")}
    state.optimiser.restore(optimiser)
    if state.average is not None:
        state.average = tensors["average"].to(device)
