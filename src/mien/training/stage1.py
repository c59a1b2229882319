"""Stage 1: one encoder with a head of its own, trained alone on the features of one modality, K seeds at once.

It is trained on the clips that have the modality and validated on all validation clips; the score of a clip without it
is the bias of the head. The result is a usable unimodal model, and the encoder that stage 2 starts from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from mien.config import Settings
from mien.modalities import find_modality
from mien.model.inputs import ClipDataset
from mien.model.network import ModelSpec, Unimodal, variants
from mien.training.fit import Epoch, fit
from mien.training.schedule import EpochPlan, History
from mien.training.state import TrainingJob

EpochCallback = Callable[[str, Epoch], None]
"""Called after every epoch with the name of the training and its record."""


@dataclass(frozen=True)
class TrainContext:
    """Checkpoint file, precision and batch seed of a stage."""

    checkpoint: Path | None
    precision: torch.dtype
    batch_seed: int


def train_encoder(
    modality: str,
    train: ClipDataset,
    valid: ClipDataset | None,
    settings: Settings,
    context: TrainContext,
    on_epoch: EpochCallback,
    models: tuple[ModelSpec, ...] | None = None,
    plan: EpochPlan | None = None,
) -> tuple[Unimodal, History]:
    """Train the encoder of one modality.

    Args:
        modality: its name.
        train, valid: clips with at least that modality.
        settings: of which ``stage1`` is used.
        context: checkpoint file, precision, batch seed.
        on_epoch: called after every epoch.
        models: hyper-parameters in which the K models differ; by default only the seed.
        plan: epochs to train for when there are no validation clips (``valid`` is ``None``).

    Returns:
        The model, and the course of its training.
    """
    stage = settings.stage1
    models = models or variants(settings, stage)
    steps = train.modalities[modality]
    module = Unimodal(modality, steps.values.shape[1], train.labels.shape[1], stage, models, steps.layers)
    module.to(train.labels.device)
    with_modality = train.only(torch.nonzero(train.present(modality)).flatten())
    job = TrainingJob(
        name=f"stage1 {modality}",
        module=module,
        groups=module.groups(),
        models=models,
        train=with_modality,
        valid=valid,
        settings=stage,
        epochs=find_modality(modality).epochs(stage),
        batch_seed=context.batch_seed,
        precision=context.precision,
        checkpoint=context.checkpoint,
        plan=plan,
    )
    for epoch in fit(job):
        on_epoch(job.name, epoch)
    assert job.history is not None
    return module, job.history
