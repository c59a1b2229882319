"""The library's functions: extract, train, evaluate and cross_validate, each like its command.

Long work shows its progress unless ``progress=False``.
"""

from collections.abc import Sequence
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
from mien.inference.predict import Model, load
from mien.progress import counted
from mien.schema import Manifest
from mien.storage.parts import Part
from mien.training.cross_validation import cross_validate as run_folds
from mien.training.pooled import CrossValidation
from mien.training.progress import EpochBar
from mien.training.train import RunSummary
from mien.training.train import train as train_run

Source = str | Path | Manifest


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
    workers: int = 0,
    progress: bool = True,
    keep_inputs: bool = False,
    inputs: str | Path | None = None,
    shard: str | None = None,
) -> ExtractionSummary:
    """Compute the features of every clip into a feature store; the same call continues an interrupted one.

    Args:
        data: the challenge folder, a folder of videos, a CSV or Parquet table, or a ``Manifest``; a folder or a table
            may be in object storage (text such as ``s3://bucket/clips.csv``).
        out: folder of the feature store.
        settings: ``Settings``, a YAML file, or ``None`` for the defaults.
        workers: worker processes; 0 runs in this process. Files are always decoded in a separate process.
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
        SettingsError: ``keep_inputs`` with ``inputs`` or ``shard``, or a part that differs from the others.
        StoreError: the folder is not a feature store, or one of another version, or ``inputs`` has no kept inputs.
    """
    manifest, store, settings, summary = as_manifest(data), Path(out), as_settings(settings), ExtractionSummary()
    if shard is not None:
        if keep_inputs:
            raise SettingsError(
                "--keep-inputs does not go with --shard; keep them in one extraction, read them by --inputs"
            )
        manifest, store = part_of(manifest, store, settings, Part.parse(shard))
    outcomes = extract_outcomes(
        manifest, store, settings, workers=workers, keep_inputs=keep_inputs,
        inputs=None if inputs is None else Path(inputs),
    )  # fmt: skip
    for outcome in counted(outcomes, "extracting", len(manifest.clips), progress):
        summary.count(outcome)
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
        out: the run folder; the model is written to ``out/model``.
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
    with EpochBar(progress) as bar:
        return train_run(as_manifest(data), _open(features), as_settings(settings), Path(out), bar.log, bar.on_epoch)


def _open(features: str | Path | Store) -> Store:
    return features if isinstance(features, Store) else Store(Path(features))


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
