"""Results of a study: every cell with its intervals, and paired differences between cells.

Every difference is tested twice. *Over seeds*: the same seeds with another setting; does it recur when training is
repeated? *Over clips*: the means over seeds, resampled by participant; would it recur with other people? A verdict
needs both, with the false discovery rate controlled at ``ALPHA`` in each (Benjamini and Hochberg 1995). An axis is a
question, and each question is corrected by itself: obvious differences between modalities, say, do not make those
between regimes easier to pass. Pairs that differ on several axes at once are families of their own.

Shapes: ``K`` seeds, ``N`` validation clips, ``E`` emotions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import stats

from mien.metrics import (
    Interval,
    bootstrap_p,
    bootstrap_pearson,
    count_clusters,
    interval,
    mean_defined,
    mean_over,
    over_emotions,
    pearson,
)
from mien.storage.files import as_written
from mien.study.cells import StudyContext
from mien.study.data_notes import data_notes
from mien.study.keys import with_every_clip
from mien.study.plan import Cell, Plan

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

ALPHA = 0.05

SIZES, DRAWS = "split.train_clips", "split.train_clips_seed"
"""Axes of a learning curve: the number of training clips, and draws of them, which are repetitions and no question."""

NOWHERE = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class CellResult:
    """The result of one cell.

    Attributes:
        cell: the cell.
        failed: the reason if it failed, else empty.
        r: ``(K, E)``; empty if it failed.
        ensemble: r of the mean over seeds, with its interval over participants (or clips).
        seconds: training time, its share of the batch.
        trained_on: training clips.
        people: of these, participants; ``None`` unless all are known.
        clips: validation clips.
        participants: of these; ``None`` unless all are known.
        missing: by modality, mean r when ``shares`` of the clips lack it.
        shares: in [0, 1].
        notes: on its encoders from other runs.
    """

    cell: Cell
    failed: str
    r: Array
    ensemble: Interval = NOWHERE
    seconds: float = math.nan
    trained_on: int = 0
    clips: int = 0
    participants: int | None = None
    people: int | None = None
    missing: dict[str, list[float]] = field(default_factory=dict)
    shares: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def mean_r(self) -> Array:
        """``(K,)`` mean over emotions."""
        return mean_defined(self.r)


@dataclass(frozen=True)
class Difference:
    """The paired difference of a cell and another.

    Attributes:
        cell, other: the cell and the one it is compared with.
        seeds: mean difference of r over seeds, with its 95 % interval (Student's t).
        clips: difference of the ensembles, with its 95 % interval over participants (or clips).
        p_seeds, p_clips: two-sided; ``nan`` without a spread, over clips also with too few people.
        q_seeds, q_clips: the same, corrected for all differences of the same question.
        emotions: ``(E,)`` mean difference over seeds.
    """

    cell: Cell
    other: Cell
    seeds: Interval
    clips: Interval
    p_seeds: float
    p_clips: float
    emotions: Array
    q_seeds: float = math.nan
    q_clips: float = math.nan

    @property
    def question(self) -> tuple[str, ...]:
        """The axes on which the two differ."""
        return tuple(
            axis for (axis, mine), (_, other) in zip(self.cell.labels, self.other.labels, strict=True) if mine != other
        )

    @property
    def q(self) -> float:
        """The larger of both q; ``nan`` if one is unknown."""
        return float(np.maximum(self.q_seeds, self.q_clips))

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, or ``open`` (inconclusive)."""
        if not self.q < ALPHA or self.seeds.value * self.clips.value <= 0:
            return "open"
        return "better" if self.clips.value > 0 else "worse"


@dataclass(frozen=True)
class Results:
    """The results of a study.

    Attributes:
        plan: the study.
        targets: the emotions.
        outcomes: by cell, in the order of the plan.
        against_reference: every other cell against the reference.
        steps: by axis, every label against the reference's label, all else equal.
        people: unit that intervals over clips resample: ``participants`` or ``clips``.
        clips: ``(training, validation)`` of the reference.
        participants: likewise; ``None`` unless all are known.
        notes: on the data: clips that are left out, possible leaks, modalities that training clips lack.
    """

    plan: Plan
    targets: tuple[str, ...]
    outcomes: tuple[CellResult, ...]
    against_reference: tuple[Difference, ...]
    steps: dict[str, tuple[Difference, ...]]
    people: str
    clips: tuple[int, int]
    participants: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()

    def outcome(self, cell: Cell) -> CellResult:
        """The result of a cell."""
        return next(outcome for outcome in self.outcomes if outcome.cell.labels == cell.labels)


class Comparator:
    """Compares cells; resamples the correlations of each cell once for all pairs."""

    def __init__(self, context: StudyContext, resamples: int) -> None:
        self.context, self.resamples = context, resamples
        self._drawn: dict[tuple[tuple[str, str], ...], tuple[Array, Array, Counts]] = {}

    def outcome(self, cell: Cell) -> CellResult:
        """The result of a cell."""
        result: dict[str, Any] = self.context.result(cell) or {"failed": "not computed"}
        targets = len(self.context.manifest.targets)
        if result["failed"]:
            return CellResult(cell, result["failed"], np.empty((0, targets)))
        with as_written(self.context.folder(cell), "delete it and run the study again"):
            r, drawn, clusters = self._resampled(cell)
            people, split = self.people(cell), self.context.split(cell.settings)
            return CellResult(
                cell,
                "",
                np.array(result["r"], float),
                interval(*over_emotions(r, drawn, clusters)),
                float(result["seconds"]),
                len(split.train),
                len(split.valid),
                len(set(people)) if people else None,
                None if split.participants is None else split.participants[0],
                {str(name): [float(r) for r in curve] for name, curve in result.get("missing", {}).items()},
                tuple(map(float, result.get("shares", ()))),
                tuple(map(str, result.get("notes", ()))),
            )

    def difference(self, one: CellResult, other: CellResult) -> Difference | None:
        """``one`` minus ``other``; ``None`` when one failed."""
        if one.failed or other.failed:
            return None
        by_seed = one.r - other.r  # (K, E); a deterministic method has one row for all seeds
        seeds, p_seeds = student(mean_over(by_seed, np.isfinite(by_seed).any(0)))
        clips, p_clips = NOWHERE, math.nan
        if _same_valid(one.cell, other.cell):
            (r, drawn, clusters), (other_r, other_drawn, _) = self._resampled(one.cell), self._resampled(other.cell)
            value, apart, count = over_emotions(r - other_r, drawn - other_drawn, clusters)
            clips, p_clips = interval(value, apart, count), bootstrap_p(apart, count)
        return Difference(one.cell, other.cell, seeds, clips, p_seeds, p_clips, by_seed.mean(0))

    def people(self, cell: Cell) -> list[str] | None:
        """Participants of the validation clips; ``None`` unless all are known."""
        names = [clip.participant for clip in self.context.split(cell.settings).valid]
        return [str(name) for name in names] if all(names) else None

    def _resampled(self, cell: Cell) -> tuple[Array, Array, Counts]:
        """r ``(E,)`` of the mean over seeds, r of every resample ``(resamples, E)``, and the number of clusters."""
        if cell.labels not in self._drawn:
            valid = self.context.split(cell.settings).valid
            labels = np.array([clip.labels for clip in valid], np.float32)
            mean = self.context.scores(cell).mean(0)
            drawn = bootstrap_pearson(mean, labels, self.people(cell), self.resamples)
            self._drawn[cell.labels] = (pearson(mean, labels), drawn, count_clusters(labels, self.people(cell)))
        return self._drawn[cell.labels]


def _same_valid(one: Cell, other: Cell) -> bool:
    """Whether two cells have the same validation clips: their splits may differ in the draw of training clips."""
    return with_every_clip(one.settings.split) == with_every_clip(other.settings.split)


def compare_cells(plan: Plan, context: StudyContext, resamples: int = 10_000) -> Results:
    """Compare all cells that have been computed."""
    comparator = Comparator(context, resamples)
    outcomes = tuple(comparator.outcome(cell) for cell in plan.cells)
    by_labels = {outcome.cell.labels: outcome for outcome in outcomes}
    reference = by_labels[plan.reference.labels]
    against = [comparator.difference(one, reference) for one in outcomes if one is not reference]
    questions = [axis for axis in plan.axes if axis != DRAWS]
    steps = {axis: _steps(axis, plan, by_labels, comparator) for axis in questions}
    every = [*(d for d in against if d), *(d for row in steps.values() for d in row)]
    corrected = iter(_corrected(every))
    against = tuple(next(corrected) for d in against if d)
    steps = {axis: tuple(next(corrected) for _ in row) for axis, row in steps.items()}
    split = context.split(plan.reference.settings)
    return Results(
        plan, context.manifest.targets, outcomes, against, steps,
        "participants" if comparator.people(plan.reference) else "clips", (len(split.train), len(split.valid)),
        split.participants, data_notes(plan, context),
    )  # fmt: skip


def _steps(
    axis: str, plan: Plan, outcomes: dict[tuple[tuple[str, str], ...], CellResult], comparator: Comparator
) -> list[Difference]:
    """Every cell against the one that has the reference's label on this axis and the same labels on all others."""
    label = dict(plan.reference.labels)[axis]
    found = []
    for outcome in outcomes.values():
        match = outcomes.get(tuple((a, label if a == axis else other) for a, other in outcome.cell.labels))
        if match is not None and match is not outcome and (difference := comparator.difference(outcome, match)):
            found.append(difference)
    return found


def student(values: Array) -> tuple[Interval, float]:
    """Mean of independent values with its 95 % interval, and p of a mean of 0; ``nan`` without a spread."""
    known = values[np.isfinite(values)]
    mean = float(known.mean()) if len(known) else math.nan
    if len(known) < 2 or known.std() == 0:
        return Interval(mean, math.nan, math.nan), math.nan
    error = float(known.std(ddof=1)) / math.sqrt(len(known))
    half = float(stats.t.ppf(0.975, len(known) - 1)) * error
    return Interval(mean, mean - half, mean + half), float(2 * stats.t.sf(abs(mean) / error, len(known) - 1))


def _corrected(differences: Sequence[Difference]) -> list[Difference]:
    """The differences with q, by Benjamini and Hochberg over those of the same question, each pair once."""
    pairs = {(d.cell.labels, d.other.labels): d for d in differences}
    families: dict[tuple[str, ...], list[Difference]] = {}
    for d in pairs.values():
        families.setdefault(d.question, []).append(d)
    for family in families.values():
        over_seeds, over_clips = (
            _false_discoveries(p) for p in ([d.p_seeds for d in family], [d.p_clips for d in family])
        )
        for d, seeds, clips in zip(family, over_seeds, over_clips, strict=True):
            pairs[d.cell.labels, d.other.labels] = replace(d, q_seeds=seeds, q_clips=clips)
    return [pairs[d.cell.labels, d.other.labels] for d in differences]


def _false_discoveries(p: Sequence[float]) -> list[float]:
    values = np.array(p, float)
    known = np.isfinite(values)
    if known.any():
        values[known] = stats.false_discovery_control(values[known])
    return values.tolist()


def results_table(results: Results) -> pa.Table:
    """A row per cell, seed and emotion (and their mean): the axes, ``method``, ``r``, and ``failed``, the reason."""
    names, rows = (*results.targets, "mean"), []
    for outcome in results.outcomes:
        common = {**dict(outcome.cell.labels), "method": outcome.cell.method}
        if outcome.failed:
            rows.append({**common, "seed": None, "emotion": None, "r": None, "failed": outcome.failed})
            continue
        seeds = outcome.cell.settings.seeds if len(outcome.r) > 1 else (None,)
        for seed, values, mean in zip(seeds, outcome.r, outcome.mean_r, strict=True):
            rows += [
                {**common, "seed": seed, "emotion": name, "r": float(value), "failed": ""}
                for name, value in zip(names, (*values, mean), strict=True)
            ]
    strings = {name: pa.string() for name in (*results.plan.axes, "method", "emotion", "failed")}
    schema = {**{axis: strings[axis] for axis in results.plan.axes}, "method": pa.string(), "seed": pa.int64(),
              "emotion": pa.string(), "r": pa.float64(), "failed": pa.string()}  # fmt: skip
    return pa.Table.from_pylist(rows, schema=pa.schema(schema))
