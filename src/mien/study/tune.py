"""Hyperparameter search, evaluated on an inner split of the training clips; validation clips are never used.

    read_space(FILE) → Space → Search: Optuna proposes, a cell is trained, Optuna gets its r on the inner split
        → recipe.yaml (the best settings, for --config), trials.csv, tuning.json, trials.log (Optuna's log, resumable)

A trial is a cell of a study (``cells.py``), so it is trained by the same code, stored under the key of its settings,
and shares stage-1 models with other trials. The result is a recipe; it has to be evaluated on the validation clips,
once.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mien.config import Settings, SplitSettings, read_settings, read_yaml, with_changes
from mien.errors import Damaged, DataError, DependencyMissing, SettingsError
from mien.features.source_files import check_unchanged
from mien.features.store import Store
from mien.schema import Manifest
from mien.spreadsheet import escaped_row
from mien.storage.exclusive import exclusive_writer
from mien.storage.files import MALFORMED, as_written, atomic_file, key_of, open_regular, read_json, write_json
from mien.study.cells import CellBatch, StudyContext, check_out, training_clips
from mien.study.plan import Cell
from mien.study.space import Choice, Range, ends
from mien.study.worker import Worker
from mien.wording import plural

_LOG = "trials.log"

LARGEST_LOG = 100_000_000
"""In bytes."""

TUNING = "tuning.json"
"""Record of the search, beside the tuned recipe."""


class SpaceFile(BaseModel):
    """Contents of the file of a search."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    base: str | None = None
    """A recipe, relative to this file."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Changes of the base, by dotted name, for all trials."""
    seeds: int = Field(3, ge=1)
    """Models per trial, trained together; a trial is scored by their mean r."""
    trials: int = Field(30, ge=1)
    """Number of trials."""
    folds: int = Field(5, ge=2)
    """Number of folds of the training clips, by participant where known; trials are evaluated on the first."""
    search_seed: int = 0
    """Seed of the sampler."""
    space: dict[str, Range | list[Choice]] = Field(min_length=1)
    """By dotted name of a setting: a range of numbers, or a list of values."""


@dataclass(frozen=True)
class Space:
    """A search space: the file's contents, the base settings of trials, the path, and the split of the recipe."""

    file: SpaceFile
    base: Settings
    path: Path
    split: SplitSettings

    def settings(self, chosen: dict[str, Choice]) -> Settings:
        """The settings of a trial."""
        return with_changes(self.base, chosen, str(self.path))


@dataclass(frozen=True)
class Trial:
    """One proposal and its result: ``r`` is the mean over seeds on the inner split, ``None`` if it failed."""

    number: int
    chosen: dict[str, Choice]
    r: float | None
    reason: str = ""


@dataclass
class Search:
    """A running search: iterate over it for trials as they complete, then call ``finish``."""

    space: Space
    manifest: Manifest
    features: Path
    out: Path
    done: list[Trial] = field(default_factory=list)

    def __iter__(self) -> Iterator[Trial]:
        """Trials, those of an earlier call first, until the file's number is reached."""
        check_unchanged(Store(self.features), self.manifest.clips, self.space.base.modalities)
        check_out(self.out)
        with exclusive_writer(self.out):
            yield from self._trials()

    def _trials(self) -> Iterator[Trial]:
        study = _open_study(self.space, self.manifest, self.out)
        self.done = [_as_trial(trial) for trial in study.trials if trial.state.is_finished()]
        yield from self.done
        context = StudyContext(training_clips(self.manifest), self.features, self.out)
        work = Worker(context).do
        while len(self.done) < self.space.file.trials:
            proposed = study.ask()
            chosen = {name: _suggest(proposed, name, values) for name, values in self.space.file.space.items()}
            cell = Cell((("trial", str(proposed.number)),), self.space.settings(chosen))
            reasons = work(CellBatch((cell,)))
            result = context.result(cell)
            with as_written(context.folder(cell), "delete it and search again"):
                r = None if reasons or result is None else float(np.mean(result["mean_r"]))
            study.tell(proposed, r, state=None if r is not None else _failed())
            self.done.append(Trial(proposed.number, chosen, r, "; ".join(reasons)))
            yield self.done[-1]

    @property
    def best(self) -> Trial | None:
        """The trial with the highest r; ``None`` if all failed."""
        return max((trial for trial in self.done if trial.r is not None), key=lambda t: t.r or -1.0, default=None)

    def finish(self) -> Path:
        """Write the recipe of the best trial and the record of all; returns the recipe's file.

        Raises:
            SettingsError: every trial failed.
        """
        if self.best is None:
            reason = self.done[0].reason if self.done else "there were none"
            raise SettingsError(f"{self.space.path}: all trials failed ({reason})")
        recipe = self.out / "recipe.yaml"
        _write(recipe, self._recipe(self.space.settings(self.best.chosen)))
        with atomic_file(self.out / "trials.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(escaped_row(["trial", *self.space.file.space, "r", "failed"]))
            writer.writerows(
                escaped_row([t.number, *t.chosen.values(), "" if t.r is None else f"{t.r:.6f}", t.reason])
                for t in self.done
            )
        failed = sum(trial.r is None for trial in self.done)
        record = {
            "trials": len(self.done),
            "failed": failed,
            "seeds": self.space.file.seeds,
            "folds": self.space.file.folds,
            "space": self.space.file.model_dump(mode="json")["space"],
            "best": {"trial": self.best.number, "r": self.best.r, "settings": self.best.chosen},
        }
        write_json(self.out / TUNING, record)
        return recipe

    def _recipe(self, settings: Settings) -> str:
        """The settings of a trial as YAML, with the split of the base: the inner one is of the training clips only."""
        split = self.space.split.model_dump(mode="json", exclude_defaults=True)
        values = settings.model_dump(mode="json", exclude={"split"}) | ({"split": split} if split else {})
        kept = "the split of the search's base" if split else "no split: that of the data is used"
        note = (
            f"# The best of {plural(len(self.done), 'trial')} on an inner split of the training clips. It has {kept}.\n"
        )
        return note + yaml.safe_dump(values, sort_keys=False)


def read_space(file: Path) -> Space:
    """Read the file of a search.

    Raises:
        SettingsError: it cannot be read, or names a setting that does not exist or a value that is not allowed.
    """
    try:
        read = SpaceFile.model_validate(read_yaml(file))
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    base = with_changes(read_settings(file.parent / read.base if read.base else None), read.settings, str(file))
    inner = {"split.kind": "kfold", "split.folds": read.folds, "split.fold": 0, "seeds": list(range(read.seeds))}
    space = Space(read, with_changes(base, inner, str(file)), file, base.split)
    for end in (0, -1):  # both ends of every range must be valid
        space.settings({name: ends(values)[end] for name, values in read.space.items()})
    return space


def how_chosen(recipe: Path | None) -> str:
    """How the settings of a recipe were chosen, as text: tuned, if the record of a search lies beside it."""
    if recipe is None:
        return "They are the defaults of this version."
    record = recipe.parent / TUNING
    if not record.exists():
        return f"They are those of {recipe.name}, written before this study."
    with as_written(record, "the same mien tune command writes it again"):
        made = read_json(record)
        return (
            f"They are those of {recipe.name}, the best of {made['trials']} trials ({made['failed']} failed, "
            f"{made['seeds']} seeds each) over {', '.join(made['space'])}, by r on one of {made['folds']} "
            "folds of the training clips; the validation clips were not used."
        )


def _open_study(space: Space, manifest: Manifest, out: Path) -> Any:
    """Optuna's study, resumed; a trial that was interrupted is proposed again."""
    optuna = _optuna()
    _check_log(out / _LOG)
    (out / f"{_LOG}.lock").unlink(missing_ok=True)  # of a killed search: this process holds the folder's lock
    contents = space.file.model_dump(mode="json", exclude={"trials"})
    name = key_of(contents, space.base.model_dump(mode="json"), [clip.id for clip in manifest.clips])
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(out / _LOG)))
    try:
        known = [summary.study_name for summary in optuna.get_all_study_summaries(storage)]
    except MALFORMED as error:
        raise Damaged(f"{out / _LOG}: damaged ({error}); delete it: finished trials are not trained again") from error
    if known and name not in known:
        raise SettingsError(f"{out}: holds a search of another space or other data; choose another folder with --out")
    with as_written(out / _LOG, "delete it: finished trials are not trained again"):
        return _continued(optuna, space, storage, name, bool(known))


def _continued(optuna: Any, space: Space, storage: Any, name: str, known: bool) -> Any:
    before = len(optuna.load_study(study_name=name, storage=storage).trials) if known else 0
    sampler = optuna.samplers.TPESampler(seed=space.file.search_seed + before)
    study = optuna.create_study(
        study_name=name, storage=storage, sampler=sampler, direction="maximize", load_if_exists=True
    )
    for trial in study.trials:
        if not trial.state.is_finished():
            study.tell(trial.number, state=_failed())
            study.enqueue_trial(trial.params)
    return study


def _check_log(file: Path) -> None:
    """Check that the log, which Optuna opens itself, is a regular file of limited size, or does not exist."""
    try:
        open_regular(file, LARGEST_LOG, follow=False).close()
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error


def _as_trial(trial: Any) -> Trial:
    value = trial.value if trial.values else None
    return Trial(trial.number, dict(trial.params), value, "" if value is not None else "interrupted or failed")


def _suggest(trial: Any, name: str, values: Range | list[Choice]) -> Choice:
    if isinstance(values, list):
        return trial.suggest_categorical(name, values)
    if values.whole:
        return trial.suggest_int(name, int(values.low), int(values.high), log=values.log)
    return trial.suggest_float(name, values.low, values.high, log=values.log)


def _failed() -> Any:
    return _optuna().trial.TrialState.FAIL


def _optuna() -> Any:
    try:
        import optuna  # noqa: PLC0415 - optional, and slow to load
    except ImportError as error:
        raise DependencyMissing("optuna is not installed; pip install 'mien[study]' brings it") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as part:
        part.write_text(text, encoding="utf-8")
