"""The library's functions: extract, train, evaluate and cross_validate, each like its command.

Long work shows its progress unless ``progress=False``.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mien.config import Settings, read_settings
from mien.data.manifest import read_manifest
from mien.errors import SettingsError
from mien.evaluation.evaluate import evaluate as evaluate_bundle
from mien.evaluation.results import Evaluation
from mien.features.extract import extract as extract_outcomes
from mien.features.extraction_summary import ExtractionSummary
from mien.features.parts import part_of
from mien.features.store import Store
from mien.features.writer import SHARD_CLIPS
from mien.inference.predict import Model, load
from mien.progress import counted
from mien.scale import Pool
from mien.schema import Manifest
from mien.storage.mirror import local_folder, mirror_of
from mien.storage.parts import Part
from mien.training.cross_validation import cross_validate as run_folds
from mien.training.fit import Epoch
from mien.training.pooled import CrossValidation
from mien.training.progress import EpochBar
from mien.training.train import RunSummary
from mien.training.train import train as train_run

Source = str | Path | Manifest

PUSH_SECONDS = 60.0
"""How often a run is stored that is written to object storage, at the end of an epoch."""


def as_manifest(data: Source) -> Manifest:
    """The clips of a data set: a folder, a table, or a manifest."""
    return data if isinstance(data, Manifest) else read_manifest(data)


def as_settings(settings: Settings | str | Path | None, overrides: Sequence[str] = ()) -> Settings:
    """Settings, from a YAML file or the defaults if needed; overrides are written ``section.key=value``."""
    if isinstance(settings, Settings):
        return settings
    return read_settings(Path(settings) if settings else None, overrides)


def extract(
    data: Source,
    out: str | Path,
    settings: Settings | str | Path | None = None,
    *,
    workers: Pool = 0,
    progress: bool = True,
    keep_inputs: bool = False,
    inputs: str | Path | None = None,
    shard: str | None = None,
) -> ExtractionSummary:
    """Compute the features of every clip into a feature store; the same call continues an interrupted one.

    Args:
        data: the challenge folder, a folder of videos, a CSV or Parquet table, or a ``Manifest``; a folder or a table
            may be in object storage (text such as ``s3://bucket/clips.csv``).
        out: folder of the feature store; also in object storage, to which a shard is added when it is complete.
        settings: ``Settings``, a YAML file, or ``None`` for the defaults.
        workers: worker processes, or a ``mien.scale.Cluster``; 0 runs in this process. Files are always decoded in a
            separate process.
        progress: show a progress bar.
        keep_inputs: keep what is decoded of each clip (transcript, waveform, face crops, motion) in the store, so that
            other backbones decode nothing; ``mien.features.input_size.estimate`` says how much that is.
        inputs: another store whose kept inputs are used; by default those of ``out``, if it has any.
        shard: only one part of the clips, e.g. ``3/16``, into ``out.parts/``; ``mien merge`` joins the parts.

    Returns:
        Numbers of computed and reused clips, missing modalities with reasons, and failed clips.

    Raises:
        DataError: the data cannot be read as a manifest.
        WeightsMissing: the weights are not in the cache; the message names the command that downloads them.
        InUse: another process writes to the store.
        OutputError: the store cannot be written.
        SettingsError: ``keep_inputs`` with ``inputs``, or a part that differs from the others.
        StoreError: the folder is not a feature store, or one of another version, or ``inputs`` has no kept inputs.
    """
    if keep_inputs and mirror_of(out):
        raise SettingsError("--keep-inputs writes to this disk, and --out is an address in object storage")
    manifest, settings, summary = as_manifest(data), as_settings(settings), ExtractionSummary()
    if shard is not None:
        manifest, out = part_of(manifest, out, settings, Part.parse(shard), keep_inputs)
    mirror, store = mirror_of(out), Path(out)
    if mirror:
        store = mirror.pull()
        mirror.push()  # what an interrupted command has left: later its shards must keep their numbers
    outcomes = extract_outcomes(
        manifest, store, settings, workers=workers, keep_inputs=keep_inputs,
        inputs=None if inputs is None else Path(inputs),
    )  # fmt: skip
    for done, outcome in enumerate(counted(outcomes, "extracting", len(manifest.clips), progress), 1):
        summary.count(outcome)
        if mirror and done % SHARD_CLIPS == 0:
            mirror.push()
    if mirror:
        mirror.push()
    return summary


def train(
    data: Source,
    features: str | Path | Store,
    out: str | Path,
    settings: Settings | str | Path | None = None,
    *,
    progress: bool = True,
) -> RunSummary:
    """Train encoders one by one (stage 1), then jointly (stage 2); the same call continues an interrupted run.

    Args:
        data: rated clips with a split; as for ``extract``.
        features: their feature store.
        out: the run folder; the model is written to ``out/model``. Store and run may also be in object storage.
        settings: ``Settings``, a YAML file, or ``None`` for the defaults.
        progress: print the stages and the validation r of every epoch.

    Returns:
        Validation r of each modality alone and of the fused model, per seed and emotion.

    Raises:
        DataError: no clip is rated, a split is empty, or the store lacks these clips.
        InUse: another process is writing to the run.
        ModelError: the folder holds a run of other settings, data or features, or a damaged one.
        OutputError: the folder cannot be written.
        StoreError: features are damaged.
    """
    with EpochBar(progress) as bar, _run_folder(out) as (folder, save):

        def on_epoch(name: str, epoch: Epoch) -> None:
            bar.on_epoch(name, epoch)
            save()

        return train_run(as_manifest(data), _open(features), as_settings(settings), folder, bar.log, on_epoch)


@contextmanager
def _run_folder(out: str | Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """The folder of a run, and a function that stores it, at most every ``PUSH_SECONDS``; at the end it is stored too.

    Both do nothing for a folder on this disk.
    """
    mirror = mirror_of(out)
    if mirror is None:
        yield Path(out), lambda: None
        return
    pushed = time.monotonic()

    def save() -> None:
        nonlocal pushed
        if time.monotonic() - pushed > PUSH_SECONDS:
            mirror.push()
            pushed = time.monotonic()

    folder = mirror.pull()
    try:
        yield folder, save
    finally:
        mirror.push()


def _open(features: str | Path | Store) -> Store:
    return features if isinstance(features, Store) else Store(local_folder(features))


def evaluate(
    model: str | Path | Model, data: Source, features: str | Path | Store, split: str | None = None
) -> Evaluation:
    """Evaluate a model on one split: r per emotion over all its clips, with intervals.

    Raises:
        ModelError: the folder holds no model, or one trained on other features.
        DataError: the split has no rated clips.
    """
    loaded = model if isinstance(model, Model) else load(model)
    return evaluate_bundle(loaded.bundle, as_manifest(data), _open(features), split)


def cross_validate(
    data: Source,
    features: str | Path | Store,
    out: str | Path,
    settings: Settings | str | Path | None = None,
    *,
    folds: int = 5,
    workers: int = 0,
    progress: bool = True,
) -> CrossValidation:
    """Nested cross-validation: r of out-of-fold scores, pooled over all clips; the same call continues.

    Args:
        data: rated clips; as for ``extract``. Their split is ignored, but clips of split ``test`` are left out.
        features: their feature store.
        out: folder of the cross-validation, with a run per fold.
        settings: ``Settings``, a YAML file, or ``None`` for the defaults; epochs are always chosen on an inner split.
        folds: number of folds, at most one per participant.
        workers: worker processes; 0 runs in this process.
        progress: print the folds, and without workers the validation r of every epoch.

    Returns:
        Pooled r per emotion and their mean with intervals, r per fold, and the table of out-of-fold scores.

    Raises:
        ValueError: ``folds`` is below 2.
        DataError: no clip is rated, or there are too few participants for the folds.
        InUse: another process is writing to the folder.
        MienError: a worker process died; the same call continues.
        ModelError: a fold's folder holds a run of other settings, data or features, or a damaged one.
        OutputError: the folder holds something else, or cannot be written.
        StoreError: features are damaged.
    """
    if folds < 2:
        raise ValueError(f"folds = {folds}, but at least 2 are needed")
    manifest, store = as_manifest(data), _open(features)
    with EpochBar(progress) as bar:
        return run_folds(manifest, store.root, as_settings(settings), Path(out), folds, workers, bar.log, bar.on_epoch)
