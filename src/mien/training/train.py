"""A whole run: stage 1 for every modality, then stage 2, in a run folder; finished parts are not repeated.

The stages communicate through files: stage 2 reads the unimodal model folders that stage 1 wrote.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mien.config import Settings
from mien.data.splits import Split, split_clips
from mien.evaluation.validation import results_record
from mien.features.extract import with_extraction_settings
from mien.features.source_files import check_unchanged
from mien.features.store import Store
from mien.metrics import mean_defined, pearson
from mien.model.bundle import Bundle, load_bundle, save_bundle
from mien.model.conformal import calibrate
from mien.model.inputs import ClipDataset
from mien.model.network import Multimodal, ParamGroup, Unimodal, variants
from mien.schema import RATING_SCALE, Manifest
from mien.storage.files import atomic_file, write_json
from mien.training.fit import Epoch
from mien.training.run_folder import EpochLog, has_tensorboard, open_run, provenance, write_split
from mien.training.split_data import SplitData
from mien.training.stage1 import EpochCallback, TrainContext, train_encoder
from mien.training.stage2 import check_head, train_fusion

Log = Callable[[str], None]


@dataclass(frozen=True)
class RunSummary:
    """The result of a run.

    Attributes:
        folder: the run folder; the model is in ``folder / "model"``.
        targets: the emotions.
        r: validation Pearson ``(K, E)`` by model: each modality alone, ``fused``, and ``ensemble`` ``(1, E)``.
        notes: omissions and possible leaks, one line each.
        seconds: of this call, without earlier calls.
    """

    folder: Path
    targets: tuple[str, ...]
    r: Mapping[str, npt.NDArray[np.float64]]
    notes: tuple[str, ...]
    seconds: float

    @property
    def mean_r(self) -> dict[str, float]:
        """Mean over emotions, then over seeds, by model."""
        return {name: float(np.nanmean(mean_defined(r))) for name, r in self.r.items()}


@dataclass
class _Run:
    """State shared by the parts of a run."""

    manifest: Manifest
    store: Store
    settings: Settings
    folder: Path
    split: Split
    data: SplitData
    log: Log
    on_epoch: EpochCallback
    scores: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities with features, in order."""
        return tuple(self.data.widths)

    @property
    def labels(self) -> npt.NDArray[np.float32]:
        """``(N, E)`` of the validation clips."""
        return self.data.labels("valid")

    def context(self, folder: Path) -> TrainContext:
        """The context of a stage in ``folder``."""
        return TrainContext(folder / "checkpoint.safetensors", self.data.precision, self.settings.batch_seed)


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
            were replaced since extraction.
        InUse: another process is writing to the run.
        ModelError: the folder contains another run, or a damaged one.
        OutputError: the folder cannot be written; finished parts are kept.
        StoreError: features are damaged.
        SettingsError: head and adaptation are incompatible.
        MienError: no validation r could be computed.
    """
    begin = time.monotonic()
    check_head(settings)
    settings = with_extraction_settings(settings, store.root)
    split = split_clips(manifest, settings.split)
    log = progress or (lambda _: None)
    data = SplitData(store, split, len(manifest.targets), settings)
    notes = data.notes
    if not has_tensorboard():
        notes += ("no TensorBoard curves (epochs.jsonl has the numbers); pip install 'mien[train]' brings them",)
    check_unchanged(store, (*split.train, *split.valid), data.widths)
    run = _Run(manifest, store, settings, out, split, data, log, on_epoch or (lambda _n, _e: None))
    for note in (*split.notes, *notes):
        log(note)
    with open_run(out, settings, manifest, store.fingerprint()):
        r = _stages(run)
    return RunSummary(out, manifest.targets, r, (*split.notes, *notes), time.monotonic() - begin)


def _stages(run: _Run) -> dict[str, npt.NDArray[np.float64]]:
    """Train the unfinished parts, and write the results: r by model."""
    write_split(run.folder, run.split, run.store)
    if run.settings.stage2.adaptation != "joint":
        for modality in run.modalities:
            _stage1(run, modality)
    r = {name: pearson(scores, run.labels) for name, scores in run.scores.items()}
    r |= _stage2(run, r)
    _write_predictions(run)
    record = {"targets": list(run.manifest.targets), "r": {name: values.tolist() for name, values in r.items()}}
    write_json(run.folder / "results.json", record)
    return r


def _stage1(run: _Run, modality: str) -> None:
    """Train one encoder, unless its model folder exists."""
    folder = run.folder / "stage1" / modality
    valid = run.data.clips("valid", (modality,))
    if not (folder / "model" / "config.json").exists():
        train_clips = run.data.clips("train", (modality,))
        epoch_log = EpochLog(folder, run.folder / "tensorboard", f"stage1 {modality}")
        models = variants(run.settings, run.settings.stage1)
        run.log(f"stage 1 {modality}: {int(train_clips.present(modality).sum())} clips, {len(models)} models at once")
        context = run.context(folder)
        module = train_encoder(
            modality, train_clips, valid, run.settings, context, _log_and_call(epoch_log, run.on_epoch)
        )
        bundle = _bundle(run, module, (modality,))
        r = pearson(bundle.score_each(valid), run.labels)
        _save(run, bundle, valid, folder / "model", {modality: r})
        _remove(context.checkpoint)
    bundle = load_bundle(folder, device=valid.labels.device)
    run.scores[modality] = bundle.score_each(valid)
    run.log(f"stage 1 {modality}: r = {_mean(pearson(run.scores[modality], run.labels)):.4f}")


def _stage2(run: _Run, r: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, npt.NDArray[np.float64]]:
    """Train the fused model, unless its model folder exists; r of its models and of their mean."""
    valid = run.data.clips("valid", run.modalities)
    if not (run.folder / "model" / "config.json").exists():
        train_clips = run.data.clips("train", run.modalities)
        encoders = _encoders(run, valid)
        epoch_log = EpochLog(run.folder / "stage2", run.folder / "tensorboard", "stage2")
        context = run.context(run.folder / "stage2")
        _log_groups(run, train_clips)
        module = train_fusion(
            train_clips, valid, encoders, run.settings, context, _log_and_call(epoch_log, run.on_epoch)
        )
        bundle = _bundle(run, module, run.modalities)
        scores = bundle.score_each(valid)
        _save(run, bundle, valid, run.folder / "model", {**r, **_fused_r(scores, run.labels)})
        _remove(context.checkpoint)
    scores = load_bundle(run.folder, device=valid.labels.device).score_each(valid)
    run.scores["fused"] = scores
    fused = _fused_r(scores, run.labels)
    run.log(f"stage 2: r = {_mean(fused['fused']):.4f}, of the mean of all models {_mean(fused['ensemble']):.4f}")
    return fused


def _fused_r(scores: npt.NDArray[np.float32], labels: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float64]]:
    """r of each model, ``fused``, and of what users get, ``ensemble``: their mean, clipped to the rating scale."""
    ensemble = np.clip(scores.mean(0, keepdims=True), *RATING_SCALE)
    return {"fused": pearson(scores, labels), "ensemble": pearson(ensemble, labels)}


def _encoders(run: _Run, valid: ClipDataset) -> dict[str, Unimodal]:
    """The stage-1 models, read from their folders."""
    if run.settings.stage2.adaptation == "joint":
        return {}
    encoders = {}
    for name in run.modalities:
        module = load_bundle(run.folder / "stage1" / name, device=valid.labels.device).module
        assert isinstance(module, Unimodal)
        encoders[name] = module
    return encoders


def _log_groups(run: _Run, clips: ClipDataset) -> None:
    """Log the parameter groups and their learning rates."""
    models = variants(run.settings, run.settings.stage2)
    module = Multimodal(run.data.widths, len(run.manifest.targets), run.settings, models[:1])
    run.log(f"stage 2: {len(clips)} clips, {len(models)} models at once, adaptation {run.settings.stage2.adaptation}")
    for line in describe_groups(module.groups(run.settings.stage2), run.settings.stage2.lr):
        run.log(line)


def describe_groups(groups: tuple[ParamGroup, ...], lr: float) -> list[str]:
    """One line per parameter group: name, parameters per model, learning rate or frozen."""
    return [
        f"  {group.name:16} {group.size:>10,} parameters  " + (f"lr {lr * group.rate:.1e}" if group.rate else "frozen")
        for group in groups
    ]


def _bundle(run: _Run, module: Unimodal | Multimodal, modalities: tuple[str, ...]) -> Bundle:
    stage = run.settings.stage2 if isinstance(module, Multimodal) else run.settings.stage1
    made = {name: run.store.provenance(name) for name in modalities}
    return Bundle(
        module=module,
        targets=run.manifest.targets,
        widths={name: run.data.widths[name] for name in modalities},
        settings=run.settings,
        models=variants(run.settings, stage),
        feature_provenance=made,
        random_weights=any("random" in maker for maker in made.values()),
    )


def _save(
    run: _Run, bundle: Bundle, valid: ClipDataset, folder: Path, r: Mapping[str, npt.NDArray[np.float64]]
) -> None:
    """Calibrate the prediction intervals on the validation clips, and write the model folder."""
    level = run.settings.interval_level
    bundle.quantiles = calibrate(bundle, valid, level)
    results = results_record(bundle.score_each(valid), run.labels, run.split.valid, run.manifest.targets, r)
    intervals = {"level": level, "clips": len(valid), "calibrated_on": "validation"}
    record = provenance(run.manifest, run.split, run.store.fingerprint(), results)
    bundle.provenance = record | {"intervals": intervals}
    save_bundle(bundle, folder)


def _write_predictions(run: _Run) -> None:
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


def _log_and_call(epoch_log: EpochLog, on_epoch: EpochCallback) -> EpochCallback:
    def report(name: str, epoch: Epoch) -> None:
        epoch_log.add(epoch)
        on_epoch(name, epoch)

    return report


def _remove(checkpoint: Path | None) -> None:
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)


def _mean(r: npt.NDArray[np.float64]) -> float:
    return float(np.nanmean(mean_defined(r)))
