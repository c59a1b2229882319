"""A whole run: stage 1 for every modality, then stage 2, in a run folder; finished parts are not repeated.

The stages communicate through files: stage 2 reads the unimodal model folders that stage 1 wrote, and a refit reads the
epochs and learning rates that both chose (``docs/decisions/0026-epochs-are-chosen-apart-from-the-report.md``).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mien.compute.processes import take_device
from mien.config import Settings
from mien.data.splits import split_clips
from mien.errors import SettingsError
from mien.evaluation.validation import results_record
from mien.features.extract import with_extraction_settings
from mien.features.layers import with_read_layers
from mien.features.source_files import check_unchanged
from mien.features.store import Store
from mien.metrics import mean_defined, pearson
from mien.model.bundle import Bundle
from mien.model.calibration import fit
from mien.model.conformal import calibrate
from mien.model.encoder_origin import origin_text
from mien.model.inputs import ClipDataset
from mien.model.model_folder import load_bundle, save_bundle
from mien.model.network import Multimodal, variants
from mien.scale import follows, launched
from mien.schema import RATING_SCALE, Manifest
from mien.storage.files import atomic_file, write_json
from mien.subsets import all_subsets
from mien.training.adapt import adapt_all, adapted_modalities, read_jointly
from mien.training.dips import dip_notes
from mien.training.encoder_sources import find_sources, keep_sources, source_notes
from mien.training.leaks import backbone_notes
from mien.training.parameters import describe_groups
from mien.training.refit import refit
from mien.training.run_folder import EpochLog, has_tensorboard, open_run, provenance, write_split
from mien.training.run_state import Log, RunState, bundle_of, log_and_call, read_encoders, remove
from mien.training.schedule import History
from mien.training.split_data import SplitData
from mien.training.stage1 import EpochCallback, read_by_encoder, train_encoder
from mien.training.stage2 import check_head, check_terms, train_fusion
from mien.wording import plural


@dataclass(frozen=True)
class RunSummary:
    """The result of a run.

    Attributes:
        folder: the run folder; the model is in ``folder / "model"``.
        targets: the emotions.
        r: validation Pearson ``(K, E)`` by model: each modality alone, ``fused``, and ``ensemble`` ``(1, E)``; with a
            refit, of the models before it. Empty in all but the first process of a launch.
        notes: omissions, possible leaks and seeds that stopped too early, one line each.
        seconds: of this call, without earlier calls.
        refit: whether the model was then trained again on all rated clips.
        dips: those of the notes on seeds that stopped too early.
        leaks: those of the notes on encoders and backbones that were trained elsewhere.
    """

    folder: Path
    targets: tuple[str, ...]
    r: Mapping[str, npt.NDArray[np.float64]]
    notes: tuple[str, ...]
    seconds: float
    refit: bool = False
    dips: tuple[str, ...] = ()
    leaks: tuple[str, ...] = ()

    @property
    def mean_r(self) -> dict[str, float]:
        """Mean over emotions, then over seeds, by model."""
        return {name: float(mean_defined(mean_defined(r))) for name, r in self.r.items()}


def train(
    manifest: Manifest,
    store: Store,
    settings: Settings,
    out: Path,
    progress: Log | None = None,
    on_epoch: EpochCallback | None = None,
) -> RunSummary:
    """Train a model.

    Args:
        manifest: rated clips with splits.
        store: their features.
        settings: of the run; ``modalities`` that the store lacks are left out with a note, and the settings of
            extraction (weights, media, faces, speech) are those of the store.
        out: the run folder; an unfinished run of the same settings, data and features is continued.
        progress: called with log lines.
        on_epoch: called after every epoch.

    Raises:
        DataError: no clip is rated, a side of the split is empty, the store has no features of these clips, or files
            were replaced since extraction; or there are too few training clips to divide them.
        InUse: another process is writing to the run.
        ModelError: the folder contains another run, or a damaged one.
        OutputError: the folder cannot be written; finished parts are kept.
        StoreError: features are damaged.
        SettingsError: head and adaptation are incompatible, a term of the loss has nothing to align, or a refit lacks
            an inner split.
        SettingsError, ModelError: an encoder of another run is missing, or does not fit.
        DataError: such an encoder, or a backbone that made the features, was trained on validation clips.
        MienError: no validation r could be computed.
    """
    begin = time.monotonic()
    take_device()
    check_head(settings)
    _check_refit(settings)
    settings = with_extraction_settings(settings, store.root)
    split = split_clips(manifest, settings.split)
    log = (lambda _: None) if progress is None or follows() else progress
    data = SplitData(store, split, len(manifest.targets), settings)
    check_terms(settings, tuple(data.widths))
    settings = with_read_layers(settings, data.inputs)
    notes = (*(data.inner.notes if data.inner else ()), *data.notes)
    if not has_tensorboard():
        notes += ("no TensorBoard curves (epochs.jsonl has the numbers); pip install 'mien[train]' brings them",)
    check_unchanged(store, (*split.train, *split.valid), [read.feature for read in data.inputs.values()])
    leaks = backbone_notes(data, manifest, data.widths)
    sources = find_sources(settings, data, out)
    leaks += source_notes(sources, manifest, store, split, data.inner, len(settings.seeds))
    notes += leaks
    run = RunState(manifest, store, settings, out, split, data, log, on_epoch or (lambda _n, _e: None), sources)
    for note in (*split.notes, *notes):
        log(note)
    if launched() > 1 and not adapted_modalities(settings):
        log("only backbones are trained on several devices, and none is here: the first process does all")
    if follows():
        if adapted_modalities(settings):
            adapt_all(run)
        return RunSummary(out, manifest.targets, {}, (), time.monotonic() - begin)
    with open_run(out, settings, manifest, store.fingerprint()):
        keep_sources(out, sources)
        r = _stages(run)
    notes = (*split.notes, *notes, *run.dips)
    seconds = time.monotonic() - begin
    return RunSummary(out, manifest.targets, r, notes, seconds, settings.train.refit, tuple(run.dips), leaks)


def _check_refit(settings: Settings) -> None:
    """Check that a refit has epochs to follow that no validation clip chose."""
    if settings.train.refit and settings.train.select != "inner":
        raise SettingsError("train.refit trains on the validation clips too, so these must not choose the epochs: "
                            "set train.select=inner")  # fmt: skip


def _stages(run: RunState) -> dict[str, npt.NDArray[np.float64]]:
    """Train the unfinished parts, and write the results: r by model."""
    if adapted_modalities(run.settings):
        adapt_all(run)
    refits = run.settings.train.refit
    seen = {name: source.seen for name, source in run.sources.items() if source.seen is not None}
    write_split(run.folder, run.split, run.store, run.data.inner, refits, seen)
    if run.settings.stage2.adaptation != "joint":
        for modality in run.modalities:
            _stage1(run, modality)
    r = {name: pearson(scores, run.labels) for name, scores in run.scores.items()}
    r |= _stage2(run, r)
    _write_predictions(run)
    record = {
        "targets": list(run.manifest.targets),
        "r": {name: values.tolist() for name, values in r.items()},
        "selected_on": run.settings.train.select,
        "refit": refits,
        "epochs": run.epochs,
        "notes": run.dips,
    }
    write_json(run.folder / "results.json", record)
    if refits:
        refit(run)
    return r


def _stage1(run: RunState, modality: str) -> None:
    """Train one encoder, unless its model folder exists."""
    folder = run.folder / "stage1" / modality
    valid = run.data.clips("valid", (modality,))
    if not (folder / "model" / "config.json").exists():
        read = read_by_encoder(modality, run.settings.stage1, run.modalities)
        clips, chosen = run.data.clips("fit", read), run.data.clips("select", (modality,))
        epoch_log = EpochLog(folder, run.folder / "tensorboard", f"stage1 {modality}")
        models = variants(run.settings, run.settings.stage1)
        counts = f"{plural(int(clips.present(modality).sum()), 'clip')}, {plural(len(models), 'model')}"
        run.log(f"stage 1 {modality}: {counts} at once")
        context, source = run.context(folder), run.sources.get(modality)
        if source is not None:
            run.log(origin_text(modality, source.origin))
        module, history = train_encoder(
            modality, clips, chosen, run.settings, context, log_and_call(epoch_log, run.on_epoch),
            source=None if source is None else source.encoder,
        )  # fmt: skip
        bundle = bundle_of(run, module, (modality,))
        _calibrate(run, bundle, f"stage 1 {modality}")
        r = {modality: pearson(bundle.score_each(valid), run.labels)}
        _save(run, bundle, history, folder / "model", r, ("stage1", f"stage 1 {modality}"))
        remove(context.checkpoint)
    bundle = load_bundle(folder, device=valid.labels.device)
    run.add(modality, bundle, valid)
    run.log(f"stage 1 {modality}: r = {_mean(pearson(run.scores[modality], run.labels)):.4f}")
    _log_layers(run, "stage 1", bundle)


def _stage2(run: RunState, r: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, npt.NDArray[np.float64]]:
    """Train the fused model, unless its model folder exists; r of its models and of their mean."""
    valid = run.data.clips("valid", run.modalities)
    folder = run.folder / "stage2" if run.settings.train.refit else run.folder
    if not (folder / "model" / "config.json").exists():
        clips, chosen = (run.data.clips(side, run.modalities) for side in ("fit", "select"))
        encoders = read_encoders(run, "stage1", valid.labels.device)
        epoch_log = EpochLog(run.folder / "stage2", run.folder / "tensorboard", "stage2")
        context = run.context(run.folder / "stage2")
        if run.adapted and run.settings.stage2.adaptation == "joint":
            module, history = read_jointly(run)
        else:
            _log_groups(run, clips)
            module, history = train_fusion(
                clips, chosen, encoders, run.settings, context, log_and_call(epoch_log, run.on_epoch),
                sources=run.source_encoders,
            )  # fmt: skip
        bundle = bundle_of(run, module, run.modalities)
        _calibrate(run, bundle, "stage 2")
        fused = _fused_r(bundle.score_each(valid), run.labels)
        _save(run, bundle, history, folder / "model", {**r, **fused}, ("stage2", "stage 2"))
        remove(context.checkpoint)
    bundle = load_bundle(folder, device=valid.labels.device)
    run.add("fused", bundle, valid)
    fused = _fused_r(run.scores["fused"], run.labels)
    run.log(f"stage 2: r = {_mean(fused['fused']):.4f}, of the mean of all models {_mean(fused['ensemble']):.4f}")
    _log_layers(run, "stage 2", bundle)
    return fused


def _log_layers(run: RunState, stage: str, bundle: Bundle) -> None:
    """Log the learned weights of layers, the mean over the models."""
    for name, weights in bundle.layer_weights().items():
        run.log(f"{stage} {name}: weights of layers " + ", ".join(f"{n}: {w:.3f}" for n, w in weights.items()))


def _fused_r(scores: npt.NDArray[np.float32], labels: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float64]]:
    """r of each model, ``fused``, and of what users get, ``ensemble``: their mean, clipped to the rating scale."""
    ensemble = np.clip(scores.mean(0, keepdims=True), *RATING_SCALE)
    return {"fused": pearson(scores, labels), "ensemble": pearson(ensemble, labels)}


def _log_groups(run: RunState, clips: ClipDataset) -> None:
    """Log the parameter groups and their learning rates."""
    models = variants(run.settings, run.settings.stage2)
    module = Multimodal(run.data.widths, len(run.manifest.targets), run.settings, models[:1], run.data.layers)
    counts = f"{plural(len(clips), 'clip')}, {plural(len(models), 'model')}"
    run.log(f"stage 2: {counts} at once, adaptation {run.settings.stage2.adaptation}")
    for line in describe_groups(module.groups(run.settings.stage2), run.settings.stage2.lr):
        run.log(line)


def _calibrate(run: RunState, bundle: Bundle, name: str) -> None:
    """Fit the maps of scores to ratings, and then the intervals, on the clips that chose the epochs."""
    level, chosen = run.settings.interval_level, run.data.clips("select", bundle.modalities)
    scores = bundle.score_subsets(chosen, all_subsets(bundle.modalities))
    fitted = fit(scores, run.data.labels("select"), bundle.present(chosen), bundle.modalities)
    bundle.calibration = fitted.maps
    for note in fitted.notes(bundle.targets):
        run.log(f"{name}: {note}")
    bundle.half_widths = calibrate(bundle, chosen, level)
    on = {"clips": len(chosen), "calibrated_on": "inner split" if run.data.inner else "validation"}
    bundle.provenance = {
        "intervals": {"level": level, **on},
        "calibration": {**on, **fitted.record(bundle.targets)},
    }


def _save(
    run: RunState,
    bundle: Bundle,
    history: History,
    folder: Path,
    r: Mapping[str, npt.NDArray[np.float64]],
    stage: tuple[str, str],
) -> None:
    """Write the model folder of a stage (its folder in the run, its name)."""
    valid = run.data.clips("valid", bundle.modalities)
    results = results_record(bundle.score_each(valid), run.labels, run.split.valid, run.manifest.targets, r)
    seeds = [model.seed for model in bundle.models]
    bundle.provenance = {
        **provenance(run.manifest, run.split, run.store.fingerprint(), results, run.data.inner),
        **bundle.provenance,
        "training": {
            "selected_on": run.settings.train.select,
            **history.plan.record(),
            "notes": list(dip_notes(stage[1], stage[0], history, seeds)),
        },
        **bundle.layers_record(),
        **run.origins(bundle.modalities),
    }
    save_bundle(bundle, folder)


def _write_predictions(run: RunState) -> None:
    """A row per validation clip: its labels, and the mean scores of each model on the rating scale."""
    columns: dict[str, Any] = {
        "clip": [clip.id for clip in run.split.valid],
        "participant": [clip.participant for clip in run.split.valid],
    }
    columns |= {f"rated {target}": run.labels[:, e] for e, target in enumerate(run.manifest.targets)}
    for name, scores in run.scores.items():
        mean = np.clip(scores.mean(0), *RATING_SCALE)
        columns |= {f"{name} {target}": mean[:, e] for e, target in enumerate(run.manifest.targets)}
    with atomic_file(run.folder / "predictions.parquet") as part, part.open("wb") as file:
        pq.write_table(pa.table(columns), file, compression="zstd")


def _mean(r: npt.NDArray[np.float64]) -> float:
    return float(mean_defined(mean_defined(r)))
