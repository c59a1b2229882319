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
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit
from torch import Tensor

from mien.compute.processes import share, sum_over_processes, whole_batch
from mien.errors import MienError
from mien.metrics import mean_defined, pearson
from mien.model.alignment import Aligned
from mien.model.inputs import autocast, predict_all
from mien.model.losses import cross_entropy, loss, ramped
from mien.model.network import Multimodal
from mien.model.terms import TERMS
from mien.storage.documents import plain
from mien.training.batches import batch_order
from mien.training.parameters import ParameterMatrix
from mien.training.schedule import step_factor
from mien.training.state import State, TrainingJob, drop_stopped_models, read_checkpoint, save_if_due, start


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


def fit(job: TrainingJob) -> Iterator[Epoch]:
    """Train until every model has stopped or ``job.epochs`` is reached; then put the best weights into the module.

    With ``job.plan`` there are no validation clips: every model is trained for the epochs of the plan, and its last
    weights are the best.

    Yields:
        One record per epoch; after resuming, numbers continue from the checkpoint.

    Raises:
        MienError: the validation r of every model was undefined (no labels, or the loss is not finite).
        ModelError: the checkpoint is damaged.
    """
    matrix = ParameterMatrix(job.groups)
    tensors_before = [(part, part.data) for part in (*job.module.parameters(), *job.module.buffers())]
    state = start(job, matrix)
    if job.plan is not None and not job.plan.epochs.all():
        drop_stopped_models(job, state, torch.from_numpy(np.flatnonzero(job.plan.epochs)))
    if job.checkpoint and job.checkpoint.exists():
        read_checkpoint(job, state)
    try:
        while state.epoch < job.epochs and len(state.learning):
            epoch = _run_epoch(job, state)
            save_if_due(job, state)
            yield epoch
    finally:
        for part, data in tensors_before:
            part.data = data
        matrix.values.copy_(state.best)
        job.history = state.so_far()
    if job.plan is None and not bool(torch.isfinite(state.progress.best).any()):
        raise MienError(
            f"{job.name}: no validation r is defined; are the clips rated, and is the loss finite (lower lr)?"
        )


def _run_epoch(job: TrainingJob, state: State) -> Epoch:
    begin = time.monotonic()
    batches = batch_order(job.train.sizes.cpu(), job.settings.batch_size, state.order)
    losses, norms, factor = [], [], np.ones(len(state.learning))
    still_learning = state.learning.numpy()
    factors = state.progress.factor.numpy() if job.plan is None else job.plan.factors[state.epoch]
    plateau = factors[still_learning]
    for index in batches:
        factor = plateau * step_factor(state.step, len(batches), job.epochs, job.settings)
        value, norm = _step(job, state, index.to(job.train.labels.device), factor.tolist())
        losses.append(value)
        norms.append(norm)
    state.epoch += 1

    def all_models(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Values of the models still training, ``nan`` for the others."""
        filled = np.full((len(job.models), *values.shape[1:]), np.nan)
        filled[still_learning] = values
        return filled

    r = all_models(_validation_r(job, state))
    mean_r = mean_defined(r)
    if job.plan is None:
        better = state.progress.update(torch.from_numpy(mean_r), job.settings)
    else:
        better = state.progress.follow(job.plan, state.epoch)
    course = torch.from_numpy(np.stack([mean_r, all_models(plateau)], -1))
    state.history = torch.cat([state.history, course[None]])
    current = state.matrix.values if state.average is None else state.average
    improved = better[state.learning]
    state.best[state.learning[improved].to(current.device)] = current[improved.to(current.device)]
    if bool(state.progress.stopped[state.learning].any()):
        drop_stopped_models(job, state, state.learning[state.progress.stopped[state.learning] == 0])
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


def _step(job: TrainingJob, state: State, index: Tensor, factor: list[float]) -> tuple[Tensor, Tensor]:
    """One optimiser step: ``(A,)`` losses and ``(A,)`` gradient norms."""
    labels = state.train.labels[index]
    places = share(len(index), labels.device) if job.shares else slice(None)
    inputs = state.train.batch(index[places])
    with autocast(labels.device, job.precision):
        if job.terms:
            assert isinstance(job.module, Multimodal | Aligned)
            predicted, parts = job.module.with_parts(inputs, state.rng)
        else:
            predicted, parts = job.module(inputs, state.rng), None
    predicted = predicted.float()
    if isinstance(places, Tensor):
        predicted = whole_batch(predicted, places, len(index))
    if job.log_odds:
        value = cross_entropy(predicted, labels)
    else:
        value = loss(predicted, labels, state.moments, ramped(job.settings.loss, state.epoch))
    if parts is not None:
        for name, weight in job.terms.items():
            value = value + weight * TERMS[name](parts, labels)
    state.matrix.differentiate(value)
    if job.shares:
        sum_over_processes(state.matrix.gradients)
    norm = state.matrix.clip(job.settings.clip_norm)
    state.optimiser.step(factor)
    state.step += 1
    if state.average is not None:
        decay = min(job.settings.ema, (1 + state.step) / (10 + state.step))
        state.average.lerp_(state.matrix.values, 1 - decay)
    return value.detach(), norm


def _validation_r(job: TrainingJob, state: State) -> npt.NDArray[np.float64]:
    """Validation r ``(A, E)`` of the weights, or of their moving average if there is one; ``nan`` without clips."""
    if state.valid is None:
        return np.full((len(state.learning), job.train.labels.shape[1]), np.nan)
    kept = None if state.average is None else state.matrix.values.clone()
    if state.average is not None:
        state.matrix.values.copy_(state.average)
    predicted = predict_all(job.module, state.valid, job.precision)
    r = pearson(expit(predicted) if job.log_odds else predicted, state.valid.labels.cpu().numpy())
    if kept is not None:
        state.matrix.values.copy_(kept)
    return r
