"""Tuning within a study: the same trials for every cell, on an inner split of the training clips.

    tune:
      trials: 4                                        # of every cell that is trained; the first is the cell as it is
      space: {adapt.lr: {low: 3.0e-5, high: 3.0e-4, log: true}}

A comparison of methods at their defaults may be one of their defaults. So every cell has as many trials as any other,
with the same proposals, drawn at random; that with the highest r on the inner split, of other participants where they
are known, is trained on all training clips and reported. Validation clips of the cell's own split are not used.

The trade-off: a setting that a method does not read is tried in vain, and random draws find less than ``mien tune``
does; but no method is searched longer or better than another.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mien.config import Settings, SplitSettings, with_changes
from mien.spreadsheet import escaped_row
from mien.storage.files import atomic_file
from mien.study.cells import StudyContext, training_clips
from mien.study.keys import with_every_clip
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
        context: the training clips of the cell alone, in the same folder: keys of trials differ by their data.
    """

    of: Cell
    number: int
    changes: Mapping[str, Choice]
    cell: Cell
    context: StudyContext

    @property
    def r(self) -> float:
        """The mean r over its models; ``nan`` if it failed."""
        return self.context.mean_r(self.cell)


def trials_of(plan: Plan, context: StudyContext) -> list[CellTrial]:
    """The trials of every cell that is trained.

    Raises:
        DataError: the split of a cell has no training clips.
    """
    tuning = plan.tuning
    if tuning is None:
        return []
    cells = [cell for cell in plan.cells if cell.method == "train"]
    splits = dict.fromkeys(with_every_clip(cell.settings.split) for cell in cells)
    inner = {split: replace(context, manifest=training_clips(context.manifest, split)) for split in splits}
    return [
        CellTrial(
            cell, number, changes, replace(cell, settings=_on_inner_split(cell.settings, changes, tuning)),
            inner[with_every_clip(cell.settings.split)],
        )
        for cell in cells
        for number, changes in enumerate(tuning.proposals())
    ]  # fmt: skip


def cells_by_context(trials: Sequence[CellTrial]) -> list[tuple[StudyContext, list[Cell]]]:
    """What is trained, by the clips that it may use: cells of the same split together."""
    groups: dict[SplitSettings, tuple[StudyContext, list[Cell]]] = {}
    for trial in trials:
        groups.setdefault(with_every_clip(trial.of.settings.split), (trial.context, []))[1].append(trial.cell)
    return list(groups.values())


def with_best_trials(plan: Plan, trials: Sequence[CellTrial]) -> Plan:
    """The plan with the settings of the best trial of each cell; one of which every trial failed keeps its own."""
    best = {trials[place].of.labels: trials[place] for place in _best(trials, [trial.r for trial in trials])}
    cells = {
        cell.labels: _changed(cell, best[cell.labels].changes) if cell.labels in best else cell for cell in plan.cells
    }
    return replace(plan, cells=tuple(cells.values()), reference=cells[plan.reference.labels])


def write_trials(file: Path, trials: Sequence[CellTrial]) -> None:
    """A row for each trial: the configuration, what was changed, r on the inner split, and whether it was chosen."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.changes))
    r = [trial.r for trial in trials]
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


def _best(trials: Sequence[CellTrial], r: Sequence[float]) -> set[int]:
    """The place of the best trial of each cell; the first wins a tie."""
    best: dict[tuple[tuple[str, str], ...], int] = {}
    for place, trial in enumerate(trials):
        labels = trial.of.labels
        if not np.isnan(r[place]) and (labels not in best or r[place] > r[best[labels]]):
            best[labels] = place
    return set(best.values())
