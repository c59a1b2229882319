"""Stage 1: one encoder with a head of its own, trained alone on the features of one modality, K seeds at once.

It learns from the clips that have the modality and is judged on all validation clips: one without it gets the head's
offset. What comes out is a usable unimodal model, and the encoder that stage 2 starts from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from mien.config import Settings
from mien.modalities import find_modality
from mien.model.inputs import ClipDataset
from mien.model.network import ModelSpec, Unimodal, variants
from mien.training.fit import Epoch, TrainingJob, fit

Report = Callable[[str, Epoch], None]
"""Called after every epoch with the name of the training and its record."""


@dataclass(frozen=True)
class TrainContext:
    """Where a stage writes, and what it trains in: checkpoint file, precision, seed of the batches."""

    checkpoint: Path | None
    precision: torch.dtype
    batch_seed: int


def train_encoder(
    modality: str,
    train: ClipDataset,
    valid: ClipDataset,
    settings: Settings,
    rooms: TrainContext,
    report: Report,
    models: tuple[ModelSpec, ...] | None = None,
) -> Unimodal:
    """Train the encoder of one modality.

    Args:
        modality: which.
        train, valid: clips with at least that modality.
        settings: ``stage1`` says how.
        rooms: where and in what precision.
        report: told of every epoch.
        models: how the K models differ; by default only in the seeds of the settings.
    """
    stage = settings.stage1
    models = models or variants(settings, stage)
    steps = train.modalities[modality]
    module = Unimodal(modality, steps.values.shape[1], train.labels.shape[1], stage, models)
    module.to(train.labels.device)
    heard = train.only(torch.nonzero(train.present(modality)).flatten())
    job = TrainingJob(
        name=f"stage1 {modality}",
        module=module,
        groups=module.groups(),
        models=models,
        train=heard,
        valid=valid,
        settings=stage,
        epochs=find_modality(modality).epochs(stage),
        batch_seed=rooms.batch_seed,
        precision=rooms.precision,
        checkpoint=rooms.checkpoint,
    )
    for epoch in fit(job):
        report(job.name, epoch)
    return module
