"""Tuning within a study: the same trials for every cell, on an inner split of the training clips.

    tune:
      trials: 4                                        # of every cell that is trained; the first is the cell as it is
      space: {adapt.lr: {low: 3.0e-5, high: 3.0e-4, log: true}}

A comparison of methods at their defaults may be one of their defaults. So every cell has as many trials as any other,
with the same proposals, drawn at random; that with the highest r on the inner split, of other participants where they
are known, is trained on all training clips and reported. Validation clips are not used.

The trade-off: a setting that a method does not read is tried in vain, and random draws find less than ``mien tune``
does; but no method is searched longer or better than another.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mien.config import Settings, with_changes
from mien.spreadsheet import escaped_row
from mien.storage.files import atomic_file
from mien.study.cells import StudyContext, training_clips
from mien.study.plan import Cell, Plan
from mien.study.space import Choice, Tuning


@dataclass(frozen=True)
class CellTrial:
    """A trial of a cell.

    Attributes:
        of: the cell.
        number: of the proposal, from 0.
        changes: of the cell's settings.
        cell: what is trained, on the inner split.
    """

    of: Cell
    number: int
    changes: Mapping[str, Choice]
    cell: Cell


def inner_context(context: StudyContext) -> StudyContext:
    """The study of the training clips alone, in the same folder: keys of its cells differ by their data."""
    return replace(context, manifest=training_clips(context.manifest))


def trials_of(plan: Plan) -> list[CellTrial]:
    """The trials of every cell that is trained."""
    tuning = plan.tuning
    if tuning is None:
        return []
    return [
        CellTrial(cell, number, changes, replace(cell, settings=_on_inner_split(cell.settings, changes, tuning)))
        for cell in plan.cells
        if cell.method == "train"
        for number, changes in enumerate(tuning.proposals())
    ]


def with_best_trials(plan: Plan, trials: Sequence[CellTrial], inner: StudyContext) -> Plan:
    """The plan with the settings of the best trial of each cell; one of which every trial failed keeps its own."""
    best = {trials[place].of.labels: trials[place] for place in _best(trials, _results(trials, inner))}
    cells = {
        cell.labels: _changed(cell, best[cell.labels].changes) if cell.labels in best else cell for cell in plan.cells
    }
    return replace(plan, cells=tuple(cells.values()), reference=cells[plan.reference.labels])


def write_trials(file: Path, trials: Sequence[CellTrial], inner: StudyContext) -> None:
    """A row for each trial: the configuration, what was changed, r on the inner split, and whether it was chosen."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.changes))
    r = _results(trials, inner)
    chosen = _best(trials, r)
    with atomic_file(file) as part, part.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(escaped_row(["configuration", "trial", *names, "r", "chosen"]))
        for place, trial in enumerate(trials):
            values = [trial.changes.get(name, "") for name in names]
            found = "" if np.isnan(r[place]) else f"{r[place]:.6f}"
            writer.writerow(escaped_row([trial.of.name, trial.number, *values, found, int(place in chosen)]))


def how_tuned(plan: Plan) -> str:
    """How the settings of the cells were chosen, as text; empty without trials."""
    tuning = plan.tuning
    if tuning is None:
        return ""
    return (
        f" Each configuration had {tuning.trials} trials of {', '.join(tuning.space)}, the same for all "
        f"({tuning.seeds} seeds each), by r on one of {tuning.folds} folds of the training clips; trials.csv has them."
    )


def _changed(cell: Cell, changes: Mapping[str, Choice]) -> Cell:
    return replace(cell, settings=with_changes(cell.settings, changes, "tune"))


def _on_inner_split(settings: Settings, changes: Mapping[str, Choice], tuning: Tuning) -> Settings:
    inner = {"split.kind": "kfold", "split.folds": tuning.folds, "split.fold": 0, "seeds": list(range(tuning.seeds))}
    return with_changes(settings, {**changes, **inner}, "tune")


def _results(trials: Sequence[CellTrial], inner: StudyContext) -> list[float]:
    """The mean r of each trial over its models; ``nan`` if it failed."""
    return [inner.mean_r(trial.cell) for trial in trials]


def _best(trials: Sequence[CellTrial], r: Sequence[float]) -> set[int]:
    """The place of the best trial of each cell; the first wins a tie."""
    best: dict[tuple[tuple[str, str], ...], int] = {}
    for place, trial in enumerate(trials):
        labels = trial.of.labels
        if not np.isnan(r[place]) and (labels not in best or r[place] > r[best[labels]]):
            best[labels] = place
    return set(best.values())
