"""The library in five verbs, each as short as its command: extract, train, evaluate, load to predict, and synth.

Long work shows its progress unless ``progress=False``. Everything here is a few lines over the rooms that do the work.
"""

from collections.abc import Sequence
from pathlib import Path

from mien.config import Settings, read_settings
from mien.data.manifest import read_manifest
from mien.evaluation.evaluate import evaluate as evaluate_bundle
from mien.evaluation.results import Evaluation
from mien.features.extract import extract as extract_outcomes
from mien.features.extraction_summary import ExtractionSummary
from mien.features.store import Store
from mien.inference.predict import Model, load
from mien.progress import counted
from mien.schema import Manifest
from mien.training.progress import EpochBar
from mien.training.train import RunSummary
from mien.training.train import train as train_run

Source = str | Path | Manifest


def manifest_of(data: Source) -> Manifest:
    """The clips of a data set: a folder, a table, or a manifest that was read already."""
    return data if isinstance(data, Manifest) else read_manifest(Path(data))


def settings_of(settings: Settings | str | Path | None, overrides: Sequence[str] = ()) -> Settings:
    """Settings as they are, from a YAML file, or the defaults; overrides are written ``section.key=value``."""
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
) -> ExtractionSummary:
    """Compute the features of every clip, once, into a feature store; the same call continues an interrupted one.

    Args:
        data: the challenge folder, a folder of videos, a CSV or Parquet table, or a ``Manifest``.
        out: folder of the feature store.
        settings: ``Settings``, a YAML file, or ``None`` for the defaults.
        workers: processes; 0 works in this one. Files are decoded in other processes in any case.
        progress: show a bar.

    Returns:
        How many clips were made and reused, what was absent and why, and which failed.

    Raises:
        DataError: the data cannot be read as a manifest.
        WeightsMissing: the weights are not in the cache; the message names the command that brings them.
        InUse: another process writes to the store.
        OutputError: the store cannot be written.
        StoreError: it is foreign, or of another version.
    """
    manifest, tally = manifest_of(data), ExtractionSummary()
    outcomes = extract_outcomes(manifest, Path(out), settings_of(settings), workers=workers)
    for outcome in counted(outcomes, "extracting", len(manifest.clips), progress):
        tally.count(outcome)
    return tally


def train(
    data: Source,
    features: str | Path | Store,
    out: str | Path,
    settings: Settings | str | Path | None = None,
    *,
    progress: bool = True,
) -> RunSummary:
    """Train encoders one by one (stage 1), then together (stage 2); the same call continues an interrupted run.

    Args:
        data: rated clips with a split; as for ``extract``.
        features: their feature store.
        out: the run folder; the model is in it.
        settings: ``Settings``, a YAML file, or ``None`` for the defaults.
        progress: print what is going on and the validation r of every epoch.

    Returns:
        Validation Pearson of each modality alone and of all together, per model and emotion.

    Raises:
        DataError: nothing is rated, a side of the split is empty, or the store lacks these clips.
        InUse: another process is writing to the run.
        ModelError: the folder holds a run of other settings, data or features, or a damaged one.
        OutputError: the folder cannot be written.
        StoreError: features are damaged.
    """
    with EpochBar(progress) as bar:
        return train_run(manifest_of(data), _open(features), settings_of(settings), Path(out), bar.say, bar.watch)


def _open(features: str | Path | Store) -> Store:
    return features if isinstance(features, Store) else Store(Path(features))


def evaluate(model: str | Path | Model, data: Source, features: str | Path | Store, split: str = "valid") -> Evaluation:
    """Judge a model on one split: Pearson per emotion over all its clips, with intervals.

    Raises:
        ModelError: the folder holds no model, or the features are not the kind it was trained on.
        DataError: the split has no rated clips.
    """
    loaded = model if isinstance(model, Model) else load(model)
    return evaluate_bundle(loaded.bundle, manifest_of(data), _open(features), split)
