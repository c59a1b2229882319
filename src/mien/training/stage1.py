"""Stage 1: one encoder with a head of its own, trained alone on the features of one modality, K seeds at once.

It is trained on the clips that have the modality and validated on all validation clips; the score of a clip without it
is the bias of the head. The result is a usable unimodal model, and the encoder that stage 2 starts from.

The encoder may come from another run (``encoder_sources.py``). The head is new even then: what others rated under the
same name is another target, the fused model does not use the head, and a few clips are enough to fit it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from mien.config import Settings, Stage1Settings
from mien.errors import SettingsError
from mien.modalities import anchor_of, find_modality
from mien.modalities.encoder import Encoder
from mien.model.alignment import Aligned
from mien.model.embeddings import hidden_all
from mien.model.inputs import ClipDataset
from mien.model.network import FrozenEncoders, ModelSpec, Unimodal, variants
from mien.training.encoder_start import start_encoders
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
    source: Encoder | None = None,
) -> tuple[Unimodal, History]:
    """Train the encoder of one modality, or only its head if the encoder comes from another run and is kept.

    Args:
        modality: its name.
        train, valid: clips with at least that modality, and for training those of ``read_by_encoder``.
        settings: of which ``stage1`` is used.
        context: checkpoint file, precision, batch seed.
        on_epoch: called after every epoch.
        models: hyper-parameters in which the K models differ; by default only the seed.
        plan: epochs to train for when there are no validation clips (``valid`` is ``None``).
        source: the encoders of another run, if ``stage1`` names one for this modality.

    Returns:
        The model, and the course of its training.
    """
    stage = settings.stage1
    models = models or variants(settings, stage)
    steps = train.modalities[modality]
    module = Unimodal(modality, steps.values.shape[1], train.labels.shape[1], stage, models, steps.layers)
    module.to(train.labels.device)
    if source is not None:
        start_from(module.encoder, source)
    else:
        start_encoders(module, train)
    kept = module.encoder_rate == 0
    with_modality = train.only(torch.nonzero(train.present(modality)).flatten())
    trained = module if kept else _aligned(module, train, stage, models)
    job = TrainingJob(
        name=f"stage1 {modality}",
        module=FrozenEncoders(module) if kept else trained,
        groups=trained.groups(),
        models=models,
        train=hidden_all(module, with_modality, context.precision) if kept else with_modality,
        valid=hidden_all(module, valid, context.precision) if kept and valid is not None else valid,
        settings=stage,
        epochs=find_modality(modality).epochs(stage),
        batch_seed=context.batch_seed,
        precision=context.precision,
        terms={"contrastive": stage.contrastive} if isinstance(trained, Aligned) else {},
        checkpoint=context.checkpoint,
        plan=plan,
    )
    for epoch in fit(job):
        on_epoch(job.name, epoch)
    assert job.history is not None
    return module, job.history


def read_by_encoder(modality: str, stage: Stage1Settings, available: Iterable[str]) -> tuple[str, ...]:
    """The modalities that the training of an encoder reads: its own, and the one that it is aligned with.

    Args:
        modality: its name.
        stage: of which ``contrastive`` is used.
        available: the modalities that there are features of.

    Raises:
        SettingsError: there is no text to align with.
    """
    anchor = anchor_of(available)
    if not stage.contrastive or modality == anchor:
        return (modality,)
    if anchor is None:
        raise SettingsError(
            f"stage1.contrastive aligns {modality} with text, which is not among the modalities: add it, or set "
            f"stage1.contrastive to 0"
        )
    return modality, anchor


def _aligned(
    module: Unimodal, train: ClipDataset, stage: Stage1Settings, models: tuple[ModelSpec, ...]
) -> Unimodal | Aligned:
    """The module, with a text encoder beside it if it is to be aligned with one."""
    _, *anchors = read_by_encoder(module.modality, stage, train.modalities)
    for anchor in anchors:
        text = train.modalities[anchor]
        return Aligned(module, anchor, text.values.shape[1], stage, models, text.layers).to(train.labels.device)
    return module


def start_from(encoder: Encoder, source: Encoder) -> None:
    """Copy the weights of another run's encoders: model k gets those of its model k modulo their number."""
    known = source.state_dict()
    for name, values in encoder.state_dict().items():
        values.copy_(known[name][torch.arange(len(values)) % len(known[name])])
