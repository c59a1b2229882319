"""A study's report as data: what was run, which differences are established, and which are inconclusive.

``mien.reporting`` makes the page, the tables and the charts from ``study.json``.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from mien.metrics import FEWEST
from mien.storage.files import atomic_file, write_json
from mien.study.chart_data import Chart, charts, one_step
from mien.study.learning_curve import Point, learning_curve
from mien.study.results import DRAWS, SIZES, CellResult, Difference, Results, results_table
from mien.study.reviewer_questions import Answer
from mien.study.wording import changed, ends, favours_trained, instead_of, spread
from mien.wording import plural

Row = Sequence[str]

FORMAT, VERSION = "mien-study", 1
"""Of ``study.json``, the report as data."""

OPTIMISTIC = (
    "The r of a trained cell is that of its best epoch on the validation clips, and so slightly optimistic. Nothing "
    "else was chosen on these clips."
)
HONEST = "An inner split of the training clips chose the epochs. Nothing was chosen on the validation clips."
LIMITS = (
    "An inconclusive difference need not be zero: its interval says how large it may be.",
    "A difference holds for these features and data. On synthetic data it validates the training and the method, and "
    "says nothing about people.",
)


@dataclass(frozen=True)
class Table:
    """A table of text; ``name`` is the stem of its files."""

    name: str
    title: str
    header: Row
    rows: list[Row]


@dataclass(frozen=True)
class Report:
    """The report of a study, as ``study.json`` stores it.

    Attributes:
        title, question: of the study.
        about: the cells and the data, a paragraph each.
        said: established differences, a line each.
        open: inconclusive differences.
        limits: limits of every study.
        referee: reviewer questions with their answers.
        tables: all cells first.
        pictures: charts, in the order of the report.
    """

    title: str
    question: str
    about: list[str]
    said: list[str]
    open: list[str]
    limits: list[str]
    referee: list[Answer]
    tables: list[Table]
    pictures: list[Chart]


def write_report(results: Results, answers: list[Answer], folder: Path) -> Path:
    """Write ``results.parquet`` and ``study.json``; returns the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / "results.parquet") as part, part.open("wb") as file:
        pq.write_table(results_table(results), file, compression="zstd")
    file = folder / "study.json"
    write_json(file, {"format": FORMAT, "version": VERSION, **asdict(compose(results, answers))})
    return file


def limits(results: Results) -> list[str]:
    """What the results do not show."""
    inner = results.plan.reference.settings.train.select == "inner"
    return [HONEST if inner else OPTIMISTIC + favours_trained(results), *LIMITS]


def compose(results: Results, answers: list[Answer]) -> Report:
    """Put the report together."""
    tables = [Table("cells", "All cells", *cells_table(results))]
    if points := learning_curve(results):
        tables.append(Table("curve", "r against the number of training clips", *curve_table(points, results)))
    for axis in results.steps:
        header, rows = steps_table(results, axis)
        label = dict(results.plan.reference.labels)[axis]
        name = re.sub(r"\W+", "_", f"steps_{axis}")
        tables += [Table(name, f"{axis}: against {label}, all else equal", header, rows)] if rows else []
    return Report(
        title=results.plan.question or results.plan.title, question=results.plan.question, about=_about(results),
        said=statements(results), open=openings(results), limits=limits(results), referee=answers, tables=tables,
        pictures=charts(results),
    )  # fmt: skip


def _about(results: Results) -> list[str]:
    plan, (train, valid) = results.plan, results.clips
    seeds = plural(len(plan.reference.settings.seeds), "seed")
    seconds = sum(outcome.seconds for outcome in results.outcomes if not outcome.failed)
    paragraphs = [
        f"{plural(len(plan.cells), 'cell')} ({', '.join(plan.axes)}), {seeds} each, trained on {plural(train, 'clip')}"
        f"{_of(results.participants, 0)} and evaluated on {valid:,}{_of(results.participants, 1)}; "
        f"{seconds / 60:.0f} minutes of computing. r is Pearson's over the whole split, averaged over "
        f"{len(results.targets)} emotions. ± is the standard deviation over seeds; intervals are 95 %, over clips by "
        f"resampling {results.people} 10,000 times. q is p corrected for all differences on the same axis."
    ]
    if (few := results.outcome(results.plan.reference)).clips and math.isnan(few.ensemble.low):
        paragraphs.append(f"No interval and no p over clips: they need {FEWEST} {results.people} with rated clips.")
    if results.notes:
        paragraphs.append(f"Notes on the data: {'; '.join(results.notes)}.")
    if notes := list(dict.fromkeys(note for outcome in results.outcomes for note in outcome.notes)):
        paragraphs.append(f"Encoders and backbones that were trained elsewhere: {'; '.join(notes)}.")
    failed = [f"{outcome.cell.name}: {outcome.failed}" for outcome in results.outcomes if outcome.failed]
    return [*paragraphs, *([f"Not computed: {'; '.join(failed)}."] if failed else [])]


def _of(participants: tuple[int, int] | None, part: int) -> str:
    return f" of {plural(participants[part], 'participant')}" if participants else ""


def statements(results: Results) -> list[str]:
    """The reference and the conclusive differences, a line each."""
    home = results.outcome(results.plan.reference)
    if home.failed:
        return [f"The reference ({home.cell.name}) failed: {home.failed}. Nothing can be compared with it."]
    lines = [f"Reference, {home.cell.name}: {spread(home)}; the mean over seeds {ends(home.ensemble)}."]
    for axis, row in results.steps.items():
        known = [d for d in row if d.verdict != "open"]
        for label in dict.fromkeys(dict(d.cell.labels)[axis] for d in row):
            mine = [d for d in row if dict(d.cell.labels)[axis] == label]
            conclusive = [d for d in known if dict(d.cell.labels)[axis] == label]
            if not conclusive:
                continue
            if len(mine) == 1:
                lines.append(_sentence(conclusive[0], results))
                continue
            at_home = [d for d in conclusive if d.other.labels == results.plan.reference.labels]
            better = sum(d.verdict == "better" for d in conclusive)
            line = f"{axis} {label}: better in {better}, worse in {len(conclusive) - better}, "
            line += f"inconclusive in {len(mine) - len(conclusive)} of {len(mine)} pairs"
            lines.append(line + (f"; {_sentence(at_home[0], results)}" if at_home else "."))
    return lines


def openings(results: Results) -> list[str]:
    """Inconclusive differences from the reference along one axis, in one line."""
    rows = [d for d in one_step(results) if d.verdict == "open"]
    if not rows:
        return []
    named = (f"{changed(d)} ({d.clips.value:+z.4f} {ends(d.clips)})" for d in rows)
    return [f"Inconclusive, with these seeds and clips: {'; '.join(named)}."]


def _sentence(d: Difference, results: Results) -> str:
    most = int(np.nanargmax(np.abs(d.emotions)))
    return (
        f"{instead_of(d)}: {d.seeds.value:+z.4f} {ends(d.seeds)} over seeds, "
        f"{d.clips.value:+z.4f} {ends(d.clips)} over clips (q = {d.q:.2g}), {d.verdict}; most on "
        f"{results.targets[most]} ({d.emotions[most]:+z.3f})."
    )


def cells_table(results: Results) -> tuple[Row, list[Row]]:
    """A row per cell: r over seeds, of the ensemble, against the reference, and by emotion."""
    against = {d.cell.labels: d for d in results.against_reference}
    header = (
        *results.plan.axes, "r ± seeds", "mean over seeds", "− reference, seeds", "− reference, clips", "q", "verdict",
        "clips", "participants", *results.targets, "seconds",
    )  # fmt: skip
    rows: list[Row] = []
    for outcome in results.outcomes:
        labels = [label for _, label in outcome.cell.labels]
        if outcome.failed:
            rows.append((*labels, "failed", outcome.failed, *[""] * (len(header) - len(labels) - 2)))
            continue
        d = against.get(outcome.cell.labels)
        compared = _compared(d) if d else ("", "", "", "reference")
        ensemble = f"{outcome.ensemble.value:z.4f} {ends(outcome.ensemble)}"
        by_emotion = [f"{value:z.3f}" for value in outcome.r.mean(0)]
        rows.append(
            (*labels, spread(outcome), ensemble, *compared, *_counts(outcome), *by_emotion, f"{outcome.seconds:.0f}")
        )
    return header, rows


def curve_table(points: Sequence[Point], results: Results) -> tuple[Row, list[Row]]:
    """A row per curve and number of training clips: r over draws, difference from the reference's curve, emotions."""
    home = " · ".join(label for axis, label in results.plan.reference.labels if axis not in (SIZES, DRAWS))
    header = ("curve", "training clips", "participants", "draws", "r, draws", f"− {home}, draws", *results.targets)
    rows: list[Row] = [
        (
            p.series, str(p.clips), "unknown" if math.isnan(p.people) else f"{p.people:.0f}", str(p.draws),
            f"{p.r.value:.4f} {ends(p.r)}",
            "" if p.difference is None else f"{p.difference.value:+.4f} {ends(p.difference)}",
            *(f"{value:.3f}" for value in p.emotions),
        )
        for p in points
    ]  # fmt: skip
    return header, rows


def steps_table(results: Results, axis: str) -> tuple[Row, list[Row]]:
    """A row per cell with another label than the reference on an axis, against its twin with the reference's label."""
    header = (*results.plan.axes, "difference, seeds", "difference, clips", "q", "verdict", "clips",
              "participants", *results.targets)  # fmt: skip
    rows: list[Row] = [
        (*(label for _, label in d.cell.labels), *_compared(d), *_counts(results.outcome(d.cell)),
         *(f"{value:+z.3f}" for value in d.emotions))
        for d in results.steps[axis]
    ]  # fmt: skip
    return header, rows


def _counts(outcome: CellResult) -> tuple[str, str]:
    """Validation clips and their participants."""
    return str(outcome.clips), "unknown" if outcome.participants is None else str(outcome.participants)


def _compared(d: Difference) -> tuple[str, str, str, str]:
    return (
        f"{d.seeds.value:+z.4f} {ends(d.seeds)}", f"{d.clips.value:+z.4f} {ends(d.clips)}",
        "" if math.isnan(d.q) else f"{d.q:.2g}", d.verdict,
    )  # fmt: skip
