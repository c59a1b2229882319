"""Stage 2: train the fusion head; adaptation keeps the encoders frozen, fine-tunes them, or trains them from scratch.

The trade-off: with frozen encoders the steps of every clip are read once, and an epoch runs only the encoders' dropout
and the fusion, which is many times faster; any adaptation needs all steps of all clips in every epoch.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from mien.config import Settings, Stage2Settings
from mien.errors import SettingsError
from mien.modalities import anchor_of
from mien.modalities.encoder import Encoder
from mien.model.embeddings import hidden_all
from mien.model.heads import HEADS
from mien.model.inputs import ClipDataset
from mien.model.network import FrozenEncoders, ModelSpec, Multimodal, Unimodal, variants
from mien.training.encoder_start import start_encoders
from mien.training.fit import fit
from mien.training.schedule import EpochPlan, History
from mien.training.stage1 import EpochCallback, TrainContext, read_by_encoder, start_from
from mien.training.state import TrainingJob

NO_SOURCES: Mapping[str, Encoder] = MappingProxyType({})
"""No encoder comes from another run."""


def train_fusion(
    train: ClipDataset,
    valid: ClipDataset | None,
    encoders: Mapping[str, Unimodal],
    settings: Settings,
    context: TrainContext,
    on_epoch: EpochCallback,
    models: tuple[ModelSpec, ...] | None = None,
    plan: EpochPlan | None = None,
    sources: Mapping[str, Encoder] = NO_SOURCES,
) -> tuple[Multimodal, History]:
    """Train the fused model.

    Args:
        train, valid: clips with all modalities of the model.
        encoders: the stage-1 models to start from, by modality; ignored for ``joint``.
        settings: of which ``stage1`` (widths) and ``stage2`` are used.
        context: checkpoint file, precision, batch seed.
        on_epoch: called after every epoch.
        models: hyper-parameters in which the K models differ; by default only the seed.
        plan: epochs to train for when there are no validation clips (``valid`` is ``None``).
        sources: the encoders of other runs, by modality; for ``joint``, where there is no stage 1 to start from them.

    Returns:
        The model, and the course of its training.

    Raises:
        SettingsError: the head reads steps, but the adaptation needs encoders; or a term has nothing to align.
    """
    stage = settings.stage2
    check_head(settings)
    check_terms(settings, tuple(train.modalities))
    models = models or variants(settings, stage)
    widths = {name: steps.values.shape[1] for name, steps in train.modalities.items()}
    layers = {name: steps.layers for name, steps in train.modalities.items() if steps.layers}
    module = Multimodal(widths, train.labels.shape[1], settings, models, layers).to(train.labels.device)
    if stage.adaptation != "joint":
        for name in widths:
            module.encoders[name].load_state_dict(encoders[name].encoder.state_dict())
        module.fusion.start_from({name: encoders[name].head for name in widths})
    else:
        start_encoders(module, train, sources)
        for name, source in sources.items():
            start_from(module.encoder(name), source)
    frozen = stage.adaptation == "frozen"
    job = TrainingJob(
        name="stage2",
        module=FrozenEncoders(module) if frozen else module,
        groups=module.groups(stage),
        models=models,
        train=hidden_all(module, train, context.precision) if frozen else train,
        valid=hidden_all(module, valid, context.precision) if frozen and valid is not None else valid,
        settings=stage,
        epochs=stage.epochs,
        batch_seed=context.batch_seed,
        precision=context.precision,
        terms=_terms(module, stage),
        checkpoint=context.checkpoint,
        plan=plan,
    )
    for epoch in fit(job):
        on_epoch(job.name, epoch)
    assert job.history is not None
    return module, job.history


def _terms(module: Multimodal, stage: Stage2Settings) -> dict[str, float]:
    """The weights of further terms of the loss; they act on the encoders, so none while these are frozen."""
    weights = {"auxiliary": stage.auxiliary if module.fusion.has_auxiliary else 0.0, "triplet": stage.triplet}
    return {name: weight for name, weight in weights.items() if weight and stage.adaptation != "frozen"}


def check_head(settings: Settings) -> None:
    """Check that the head and the adaptation are compatible.

    Raises:
        SettingsError: the head reads steps, so there are no encoders to adapt, freeze, center or take from another run.
    """
    stage = settings.stage2
    if not HEADS[stage.head].reads_steps:
        return
    if stage.adaptation != "joint":
        raise SettingsError(f"stage2.head {stage.head} has no encoders below it: set stage2.adaptation to joint")
    if settings.stage1.centered:
        raise SettingsError(f"stage2.head {stage.head} has no encoders below it to center: remove stage1.centered")
    if given := [name for name in settings.modalities if settings.stage1.source(name).run]:
        raise SettingsError(
            f"stage2.head {stage.head} has no encoders below it, so none can come from another run: "
            f"remove stage1.{given[0]}.from"
        )


def check_terms(settings: Settings, modalities: Sequence[str]) -> None:
    """Check that the terms of the loss have something to align.

    Args:
        settings: of a run.
        modalities: those of its model.

    Raises:
        SettingsError: a term lacks text, other modalities, or encoders that learn.
    """
    stage = settings.stage2
    if settings.stage1.contrastive and stage.adaptation == "joint":
        raise SettingsError("stage1.contrastive: joint has no stage 1; set stage2.adaptation to encoder or frozen")
    for name in modalities:
        read = read_by_encoder(name, settings.stage1, modalities)
        if len(read) > 1 and settings.stage1.source(name).highest_rate == 0:
            raise SettingsError(
                f"stage1.contrastive: the {name} encoder comes from another run and is kept, so it does not learn to "
                f"align; set stage1.{name}.use to adapted or start"
            )
    if not stage.triplet:
        return
    if HEADS[stage.head].reads_steps:
        raise SettingsError(f"stage2.triplet: head {stage.head} has no encoders below it to align; set it to 0")
    if stage.adaptation == "frozen":
        raise SettingsError("stage2.triplet: frozen encoders do not learn; set stage2.adaptation to encoder or joint")
    if anchor_of(modalities) is None or len(modalities) == 1:
        raise SettingsError(
            f"stage2.triplet compares other modalities of clips with similar words, but the model reads "
            f"{', '.join(modalities)}; add modalities, or set it to 0"
        )
