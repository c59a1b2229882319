"""The library in five verbs, each as short as its command: extract, train, evaluate, synth, and load to predict.

Long work shows its progress unless ``progress=False``. Everything here is a few lines over the rooms that do the work.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.artifacts import read_json, write_json
from mien.config import Settings, read_settings
from mien.data.manifest import read_manifest
from mien.data.synth.media import ClipSpec, film_clip, plan_media, write_plan
from mien.errors import DataError
from mien.features.extract import extract as extract_outcomes
from mien.features.store import Store
from mien.features.tally import Tally
from mien.judging.evaluate import Evaluation
from mien.judging.evaluate import evaluate as evaluate_bundle
from mien.progress import EpochBar, counted
from mien.scale import Failed, run
from mien.schema import Manifest
from mien.serving.predict import Model, load
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
    seconds_each: float | None = 900.0,
    progress: bool = True,
) -> Tally:
    """Compute the features of every clip, once, into a feature store; the same call continues an interrupted one.

    Args:
        data: the challenge folder, a folder of videos, a CSV or Parquet table, or a ``Manifest``.
        out: folder of the feature store.
        settings: ``Settings``, a YAML file, or ``None`` for the defaults.
        workers: processes; 0 works in this one.
        seconds_each: a clip that takes longer is given up, with a reason (with workers only).
        progress: show a bar.

    Returns:
        How many clips were made and reused, what was absent and why, and which failed.

    Raises:
        DataError: the data cannot be read as a manifest.
        WeightsMissing: the weights are not in the cache; the message names the command that brings them.
        StoreError: the store is in use, foreign, or cannot be written.
    """
    manifest, tally = manifest_of(data), Tally()
    outcomes = extract_outcomes(manifest, Path(out), settings_of(settings), workers=workers, seconds_each=seconds_each)
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
        ModelError: the folder holds a run of other settings, data or features.
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


def synth(
    out: str | Path,
    *,
    clips: int = 400,
    test_clips: int = 0,
    seed: int = 0,
    workers: int = 0,
    progress: bool = True,
) -> int:
    """Make the stand-in corpus as real mp4 files in the challenge's layout; the same call continues an interrupted one.

    Args:
        out: folder to fill.
        clips: rated clips, shared out between training and validation.
        test_clips: unrated clips in ``test_data/``; their labels stand in ``test_answers.csv``.
        seed: of all random numbers; the same seed gives the same labels and signals.
        workers: processes; 0 works in this one.
        progress: show a bar.

    Returns:
        How many clips were filmed now; those that stood already are not filmed again.

    Raises:
        DataError: the folder holds another corpus.
    """
    folder = Path(out)
    plan = plan_media(folder, clips, seed, test_clips)
    begin_corpus(folder, {"mode": "media", "clips": clips, "test_clips": test_clips, "seed": seed})
    write_plan(plan, folder)
    missing = [spec for spec in plan.clips if not spec.path.exists()]
    for spec, done in counted(run(Filming(), missing, workers=workers), "filming", len(missing), progress):
        if isinstance(done, Failed):
            raise DataError(f"{spec.path}: not filmed, {done.reason}; run the same command again")
    return len(missing)


@dataclass(frozen=True)
class Filming:
    """Films a clip of the stand-in corpus, in whatever process it is called."""

    def __call__(self) -> Callable[[ClipSpec], str]:
        """The function that films."""
        return film_clip


def begin_corpus(folder: Path, recipe: dict[str, Any]) -> None:
    """Write down what a corpus is made of, or see that it is what stands there already.

    Raises:
        DataError: the folder holds another corpus, or something else.
    """
    record = folder / "synth.json"
    if record.exists():
        if read_json(record) != recipe:
            raise DataError(f"{folder}: holds another stand-in corpus, {read_json(record)}; name another folder")
    elif folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder}: a folder with other things in it; name an empty or a new one")
    else:
        write_json(record, recipe)
