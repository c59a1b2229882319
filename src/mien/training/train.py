"""A whole run: stage 1 for every modality, then stage 2, into a run folder; what is done already is not done again.

The stages speak through files: stage 2 reads the unimodal model folders that stage 1 wrote.
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
from mien.schema import Manifest
from mien.storage.files import atomic_file, write_json
from mien.training.fit import Epoch
from mien.training.run_folder import EpochLog, has_tensorboard, open_run, provenance, write_split
from mien.training.split_data import SplitData
from mien.training.stage1 import TrainContext, train_encoder
from mien.training.stage2 import check_head, train_fusion

Say = Callable[[str], None]
Watch = Callable[[str, Epoch], None]


@dataclass(frozen=True)
class RunSummary:
    """What a run came to.

    Attributes:
        folder: the run folder; the model is in ``folder / "model"``.
        targets: the emotions.
        r: validation Pearson ``(K, E)`` by model: each modality alone, ``fused``, and ``ensemble`` ``(1, E)``.
        notes: what was left out or may leak, one line each.
        seconds: of this call; what was done before is not counted.
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
    """What the parts of a run share."""

    manifest: Manifest
    store: Store
    settings: Settings
    folder: Path
    split: Split
    sides: SplitData
    say: Say
    watch: Watch
    scores: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What there are features of, in order."""
        return tuple(self.sides.widths)

    @property
    def rated(self) -> npt.NDArray[np.float32]:
        """``(N, E)`` of the validation clips."""
        return self.sides.rated("valid")

    def rooms(self, folder: Path) -> TrainContext:
        """Where a stage keeps its checkpoint."""
        return TrainContext(folder / "checkpoint.safetensors", self.sides.precision, self.settings.batch_seed)


def train(
    manifest: Manifest,
    store: Store,
    settings: Settings,
    out: Path,
    progress: Say | None = None,
    watch: Watch | None = None,
) -> RunSummary:
    """Train a model.

    Args:
        manifest: rated clips with splits.
        store: their features.
        settings: all of them; ``modalities`` that the store lacks are left out with a note, and how clips are
            prepared (weights, media, faces, speech) is taken from the store.
        out: the run folder; an unfinished run of the same settings, data and features is continued.
        progress: told in one line what is going on.
        watch: told of every epoch.

    Raises:
        DataError: nothing is rated, a side of the split is empty, the store has no features of these clips, or clips
            were replaced since theirs were made.
        InUse: another process is writing to the run.
        ModelError: the folder holds another run, or a damaged one.
        OutputError: the folder cannot be written; what was finished stays.
        StoreError: features are damaged.
        SettingsError: head and adaptation do not go together.
        MienError: no validation r could be computed.
    """
    begin = time.monotonic()
    check_head(settings)
    settings = with_extraction_settings(settings, store.root)
    split = split_clips(manifest, settings.split)
    say = progress or (lambda _: None)
    sides = SplitData(store, split, len(manifest.targets), settings)
    notes = sides.notes
    if not has_tensorboard():
        notes += ("no TensorBoard curves (epochs.jsonl has the numbers); pip install 'mien[train]' brings them",)
    check_unchanged(store, (*split.train, *split.valid), sides.widths)
    run = _Run(manifest, store, settings, out, split, sides, say, watch or (lambda _n, _e: None))
    for note in (*split.notes, *notes):
        say(note)
    with open_run(out, settings, manifest, store.fingerprint()):
        r = _stages(run)
    return RunSummary(out, manifest.targets, r, (*split.notes, *notes), time.monotonic() - begin)


def _stages(run: _Run) -> dict[str, npt.NDArray[np.float64]]:
    """Do what is not done yet, and write down what it came to: r by model."""
    write_split(run.folder, run.split)
    if run.settings.stage2.adaptation != "joint":
        for modality in run.modalities:
            _stage1(run, modality)
    r = {name: pearson(scores, run.rated) for name, scores in run.scores.items()}
    r |= _stage2(run, r)
    _write_predictions(run)
    record = {"targets": list(run.manifest.targets), "r": {name: values.tolist() for name, values in r.items()}}
    write_json(run.folder / "results.json", record)
    return r


def _stage1(run: _Run, modality: str) -> None:
    """Train one encoder, unless its model folder is there."""
    folder = run.folder / "stage1" / modality
    valid = run.sides.clips("valid", (modality,))
    if not (folder / "model" / "config.json").exists():
        train_clips = run.sides.clips("train", (modality,))
        log = EpochLog(folder, run.folder / "tensorboard", f"stage1 {modality}")
        models = variants(run.settings, run.settings.stage1)
        run.say(f"stage 1 {modality}: {int(train_clips.present(modality).sum())} clips, {len(models)} models at once")
        rooms = run.rooms(folder)
        module = train_encoder(modality, train_clips, valid, run.settings, rooms, _both(log, run.watch))
        bundle = _bundle(run, module, (modality,))
        r = pearson(bundle.score_each(valid), run.rated)
        _save(run, bundle, valid, folder / "model", {modality: r})
        _remove(rooms.checkpoint)
    bundle = load_bundle(folder, device=valid.labels.device)
    run.scores[modality] = bundle.score_each(valid)
    run.say(f"stage 1 {modality}: r = {_mean(pearson(run.scores[modality], run.rated)):.4f}")


def _stage2(run: _Run, r: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, npt.NDArray[np.float64]]:
    """Train the fused model, unless its model folder is there; r of its models and of their mean."""
    valid = run.sides.clips("valid", run.modalities)
    if not (run.folder / "model" / "config.json").exists():
        train_clips = run.sides.clips("train", run.modalities)
        encoders = _encoders(run, valid)
        log = EpochLog(run.folder / "stage2", run.folder / "tensorboard", "stage2")
        rooms = run.rooms(run.folder / "stage2")
        _announce(run, train_clips)
        module = train_fusion(train_clips, valid, encoders, run.settings, rooms, _both(log, run.watch))
        bundle = _bundle(run, module, run.modalities)
        scores = bundle.score_each(valid)
        fused = {"fused": pearson(scores, run.rated), "ensemble": pearson(scores.mean(0, keepdims=True), run.rated)}
        _save(run, bundle, valid, run.folder / "model", {**r, **fused})
        _remove(rooms.checkpoint)
    scores = load_bundle(run.folder, device=valid.labels.device).score_each(valid)
    run.scores["fused"] = scores
    fused = {"fused": pearson(scores, run.rated), "ensemble": pearson(scores.mean(0, keepdims=True), run.rated)}
    run.say(f"stage 2: r = {_mean(fused['fused']):.4f}, of the mean of all models {_mean(fused['ensemble']):.4f}")
    return fused


def _encoders(run: _Run, valid: ClipDataset) -> dict[str, Unimodal]:
    """The stage-1 models, read back from their folders."""
    if run.settings.stage2.adaptation == "joint":
        return {}
    encoders = {}
    for name in run.modalities:
        module = load_bundle(run.folder / "stage1" / name, device=valid.labels.device).module
        assert isinstance(module, Unimodal)
        encoders[name] = module
    return encoders


def _announce(run: _Run, clips: ClipDataset) -> None:
    """Say which parameters learn, and how fast."""
    models = variants(run.settings, run.settings.stage2)
    shape = Multimodal(run.sides.widths, len(run.manifest.targets), run.settings, models[:1])
    run.say(f"stage 2: {len(clips)} clips, {len(models)} models at once, adaptation {run.settings.stage2.adaptation}")
    for line in describe_groups(shape.groups(run.settings.stage2), run.settings.stage2.lr):
        run.say(line)


def describe_groups(groups: tuple[ParamGroup, ...], lr: float) -> list[str]:
    """One line per parameter group: name, numbers per model, learning rate or frozen."""
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
        widths={name: run.sides.widths[name] for name in modalities},
        settings=run.settings,
        models=variants(run.settings, stage),
        feature_provenance=made,
        random_weights=any("random" in way for way in made.values()),
    )


def _save(
    run: _Run, bundle: Bundle, valid: ClipDataset, folder: Path, r: Mapping[str, npt.NDArray[np.float64]]
) -> None:
    """Calibrate the intervals on the validation clips, and write the model folder."""
    level = run.settings.interval_level
    bundle.quantiles = calibrate(bundle, valid, level)
    results = results_record(bundle.score_each(valid), run.rated, run.split.valid, run.manifest.targets, r)
    intervals = {"level": level, "clips": len(valid), "calibrated_on": "validation"}
    record = provenance(run.manifest, run.split, run.store.fingerprint(), results)
    bundle.provenance = record | {"intervals": intervals}
    save_bundle(bundle, folder)


def _write_predictions(run: _Run) -> None:
    """A row per validation clip: what was rated, and what each model (mean over seeds) predicted."""
    columns: dict[str, Any] = {
        "clip": [clip.id for clip in run.split.valid],
        "participant": [clip.participant for clip in run.split.valid],
    }
    columns |= {f"rated {target}": run.rated[:, e] for e, target in enumerate(run.manifest.targets)}
    for name, scores in run.scores.items():
        columns |= {f"{name} {target}": scores.mean(0)[:, e] for e, target in enumerate(run.manifest.targets)}
    with atomic_file(run.folder / "predictions.parquet") as part:
        pq.write_table(pa.table(columns), part, compression="zstd")


def _both(log: EpochLog, watch: Watch) -> Watch:
    def report(name: str, epoch: Epoch) -> None:
        log.add(epoch)
        watch(name, epoch)

    return report


def _remove(checkpoint: Path | None) -> None:
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)


def _mean(r: npt.NDArray[np.float64]) -> float:
    return float(np.nanmean(mean_defined(r)))
