"""Hyperparameter search, evaluated on an inner split of the training clips; validation clips are never used.

    read_space(FILE) → Space → Search: Optuna proposes, a cell is trained, Optuna gets its r on the inner split
        → recipe.yaml (the best settings, for --config), trials.csv, tuning.json, trials.log (Optuna's log, resumable)

A trial is a cell of a study (``cells.py``), so it is trained by the same code, stored under the key of its settings,
and shares stage-1 models with other trials. The training clips are those of the base's split, official or drawn. The
result is a recipe with that split; it has to be evaluated on the validation clips, once.
"""

import csv
from bisect import insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mien.config import Settings, SplitSettings, read_settings, read_yaml, with_changes
from mien.data.splits import Split
from mien.errors import SettingsError
from mien.features.source_files import check_unchanged
from mien.features.store import Store
from mien.scale import Failed, Pool, run
from mien.schema import Manifest
from mien.spreadsheet import escaped_row
from mien.storage.exclusive import exclusive_writer
from mien.storage.files import as_written, atomic_file, key_of, read_json, write_json
from mien.study.cells import CellBatch, StudyContext, check_out, plan_work, training_clips
from mien.study.plan import Cell
from mien.study.proposals import Proposals, Trial
from mien.study.space import Choice, Range, ends
from mien.study.worker import Workers
from mien.wording import plural

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

    def ends(self) -> list[dict[str, Choice]]:
        """All settings at their lowest (or first) values, and all at their highest (or last) ones."""
        return [{name: ends(values)[end] for name, values in self.file.space.items()} for end in (0, -1)]


@dataclass(frozen=True)
class _Batch(CellBatch):
    """A trial as work: its only cell, and its number."""

    number: int


def _batch(space: Space, number: int, chosen: dict[str, Choice]) -> _Batch:
    return _Batch((Cell((("trial", str(number)),), space.settings(chosen)),), number)


@dataclass
class Search:
    """A running search: iterate over it for trials as they complete, then call ``finish``.

    Attributes:
        space: what is searched.
        manifest, features: the data and the store of their features.
        out: folder of the search; the same search there is continued.
        workers: processes, or a cluster: so many trials at once; 0 has one at a time, in this process. With several,
            proposals depend on the order in which trials end.
        done: finished trials, by number.
    """

    space: Space
    manifest: Manifest
    features: Path
    out: Path
    workers: Pool = 0
    done: list[Trial] = field(default_factory=list)

    def __iter__(self) -> Iterator[Trial]:
        """Trials, those of an earlier call first, until the file's number is reached."""
        check_unchanged(Store(self.features), self.manifest.clips, self.space.base.modalities)
        check_out(self.out)
        with exclusive_writer(self.out):
            yield from self._trials()

    def _trials(self) -> Iterator[Trial]:
        proposals = Proposals(self.out, self._name(), self.space.file.space, self.space.file.search_seed)
        self.done = proposals.done()
        yield from self.done
        missing = self.space.file.trials - len(self.done)
        if missing > 0:
            make_worker = Workers.of_pool(self._context, self.space.base.compute, self.workers)
            _train_shared(self._context, make_worker, self.space, self.workers)
            batches = (_batch(self.space, *proposals.ask()) for _ in range(missing))
            for batch, failed in run(make_worker, batches, workers=self.workers, ahead=0):
                trial = proposals.tell(batch.number, *_result(self._context, batch, failed))
                insort(self.done, trial, key=lambda trial: trial.number)
                yield trial

    @cached_property
    def _context(self) -> StudyContext:
        """The training clips alone."""
        return StudyContext(training_clips(self.manifest, self.space.split), self.features, self.out)

    def _name(self) -> str:
        """Equal for the same settings, training clips and features; the number of trials may be raised later."""
        contents = self.space.file.model_dump(mode="json", exclude={"trials"})
        return key_of(contents, self.space.base.model_dump(mode="json"), *self._context.fingerprints)

    @property
    def best(self) -> Trial | None:
        """The trial with the highest r; ``None`` if all failed."""
        tried = (trial for trial in self.done if trial.r is not None)
        return max(tried, key=lambda trial: -1.0 if trial.r is None else trial.r, default=None)

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
            "clips": [clip.id for clip in self._context.manifest.clips],
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
    for chosen in space.ends():
        space.settings(chosen)
    return space


def how_chosen(recipe: Path | None, split: Split) -> str:
    """How the settings of a recipe were chosen, as text: tuned, if the record of a search lies beside it.

    Args:
        recipe: the base of a study; ``None`` for the defaults.
        split: of the study, which need not be that of the search.
    """
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
            f"folds of the training clips{_used(made, split)}."
        )


def _used(made: Mapping[str, Any], split: Split) -> str:
    """How many validation clips a search used, as text; nothing if its record does not have its clips."""
    if "clips" not in made:
        return ""
    used = {str(clip) for clip in made["clips"]} & {clip.id for clip in split.valid}
    if not used:
        return "; the validation clips were not used"
    valid = plural(len(split.valid), "validation clip")
    return f", among them {len(used)} of the {valid} of this study; r may be too high"


def _train_shared(context: StudyContext, make_worker: Workers, space: Space, workers: Pool) -> None:
    """Train stage-1 models that all trials use, which trials at the same time would each train: those of both ends."""
    needed = [plan_work(context, _batch(space, 0, chosen).cells)[0] for chosen in space.ends()]
    by_folder = [{context.encoder_folder(job): job for job in jobs} for jobs in needed if jobs]
    shared = [job for folder, job in (by_folder or [{}])[0].items() if all(folder in one for one in by_folder)]
    for _ in run(make_worker, shared, workers=workers if shared else 0):
        pass  # one that fails is tried again, and its reason given, by the trials that need it


def _result(context: StudyContext, batch: _Batch, failed: tuple[str, ...] | Failed) -> tuple[float | None, str]:
    """The mean r of a trial, or ``None`` and why it failed."""
    r = context.mean_r(batch.cells[0])
    if np.isfinite(r):
        return r, ""
    reasons = failed.reason if isinstance(failed, Failed) else "; ".join(failed)
    return None, reasons or "r is not defined: its predictions are constant or not finite"


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as part:
        part.write_text(text, encoding="utf-8")
