"""The refit: both stages again on all rated clips, training and validation, for the epochs and rates chosen before.

The trade-off: no clip is left to measure the refitted model. Its reported r, its intervals and the maps of its scores
to ratings are those of the model before, which was trained on fewer clips
(``docs/decisions/0026-epochs-are-chosen-apart-from-the-report.md``).
"""

from pathlib import Path

from mien.errors import ModelError
from mien.model.bundle import Bundle
from mien.model.model_folder import load_bundle, save_bundle
from mien.model.network import Multimodal, Unimodal
from mien.training.run_folder import EpochLog, refitted
from mien.training.run_state import RunState, bundle_of, log_and_call, read_encoders, remove
from mien.training.schedule import EpochPlan
from mien.training.stage1 import EpochCallback, TrainContext, read_by_encoder, train_encoder
from mien.training.stage2 import train_fusion


def refit(run: RunState) -> None:
    """Train both stages again on all rated clips, for the epochs and rates chosen; the result is the run's model.

    Its intervals and its maps of scores to ratings are those of the model before, which was trained on fewer clips.
    """
    if (run.folder / "model" / "config.json").exists():
        return
    run.log(f"refit on all {len(run.data.side('all'))} rated clips, for the epochs chosen on the inner split")
    if run.settings.stage2.adaptation != "joint":
        for modality in run.modalities:
            _refit_encoder(run, modality)
    clips = run.data.clips("all", run.modalities)
    selected = load_bundle(run.folder / "stage2", device=clips.labels.device)
    context, on_epoch = _refit_context(run, "stage2")
    encoders = read_encoders(run, "refit", clips.labels.device)
    module, _ = train_fusion(
        clips, None, encoders, run.settings, context, on_epoch, plan=_plan(selected), sources=run.source_encoders
    )
    _save_refitted(run, module, selected, run.folder / "model")
    remove(context.checkpoint)


def _refit_encoder(run: RunState, modality: str) -> None:
    folder = run.folder / "refit" / modality / "model"
    if (folder / "config.json").exists():
        return
    clips = run.data.clips("all", read_by_encoder(modality, run.settings.stage1, run.modalities))
    selected = load_bundle(run.folder / "stage1" / modality, device=clips.labels.device)
    context, on_epoch = _refit_context(run, modality)
    source = run.source_encoders.get(modality)
    module, _ = train_encoder(
        modality, clips, None, run.settings, context, on_epoch, plan=_plan(selected), source=source
    )
    _save_refitted(run, module, selected, folder)
    remove(context.checkpoint)


def _refit_context(run: RunState, part: str) -> tuple[TrainContext, EpochCallback]:
    folder = run.folder / "refit" / part
    epoch_log = EpochLog(folder, run.folder / "tensorboard", f"refit {part}")
    report = log_and_call(epoch_log, run.on_epoch)
    return run.context(folder), lambda name, epoch: report(f"refit {name}", epoch)


def _plan(selected: Bundle) -> EpochPlan:
    """The epochs and rates of a model."""
    try:
        return EpochPlan.read(selected.provenance["training"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelError(f"{selected.folder}: damaged (no epochs: {error}); delete it and train again") from error


def _save_refitted(run: RunState, module: Unimodal | Multimodal, selected: Bundle, folder: Path) -> None:
    bundle = bundle_of(run, module, selected.modalities)
    bundle.half_widths, bundle.calibration = selected.half_widths, selected.calibration
    bundle.provenance = {**refitted(selected.provenance, run.split), **bundle.layers_record()}
    save_bundle(bundle, folder)
