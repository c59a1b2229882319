"""Stage 2: the encoders together. Fusion learns; the encoders stay, follow slowly, or start anew, as adaptation says.

The trade-off: with frozen encoders every clip is embedded once and the fusion trains on the embeddings, which is many
times faster; any adaptation needs all steps of all clips in every epoch.
"""

from collections.abc import Mapping

from mien.config import Settings
from mien.errors import SettingsError
from mien.model.embeddings import embed_all
from mien.model.heads import HEADS
from mien.model.inputs import ClipDataset
from mien.model.network import ModelSpec, Multimodal, Unimodal, variants
from mien.training.fit import TrainingJob, fit
from mien.training.stage1 import Report, TrainContext


def train_fusion(
    train: ClipDataset,
    valid: ClipDataset,
    encoders: Mapping[str, Unimodal],
    settings: Settings,
    rooms: TrainContext,
    report: Report,
    models: tuple[ModelSpec, ...] | None = None,
) -> Multimodal:
    """Train the fused model.

    Args:
        train, valid: clips with all modalities that the model is to read.
        encoders: the stage-1 models to start from, by modality; not looked at for ``joint``.
        settings: ``stage2`` says how.
        rooms: where and in what precision.
        report: told of every epoch.
        models: how the K models differ; by default only in the seeds of the settings.

    Raises:
        SettingsError: the head reads steps, and the adaptation wants encoders.
    """
    stage = settings.stage2
    check_head(settings)
    models = models or variants(settings, stage)
    widths = {name: steps.values.shape[1] for name, steps in train.modalities.items()}
    module = Multimodal(widths, train.labels.shape[1], settings, models).to(train.labels.device)
    if stage.adaptation != "joint":
        for name in widths:
            module.encoders[name].load_state_dict(encoders[name].encoder.state_dict())
        module.fusion.start_from({name: encoders[name].head for name in widths})
    frozen = stage.adaptation == "frozen"
    job = TrainingJob(
        name="stage2",
        module=module.fusion if frozen else module,
        groups=module.groups(stage),
        models=models,
        train=embed_all(module, train) if frozen else train,
        valid=embed_all(module, valid) if frozen else valid,
        settings=stage,
        epochs=stage.epochs,
        batch_seed=rooms.batch_seed,
        precision=rooms.precision,
        auxiliary=0.0 if frozen else stage.auxiliary,
        checkpoint=rooms.checkpoint,
    )
    for epoch in fit(job):
        report(job.name, epoch)
    return module


def check_head(settings: Settings) -> None:
    """See that the head and the adaptation go together.

    Raises:
        SettingsError: the head reads steps, so there are no encoders to adapt or freeze.
    """
    stage = settings.stage2
    if HEADS[stage.head].reads_steps and stage.adaptation != "joint":
        raise SettingsError(f"stage2.head {stage.head} has no encoders below it: set stage2.adaptation to joint")
