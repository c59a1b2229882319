"""A study in words and tables: what was run, what its intervals allow to say, and what they do not."""

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mien.spreadsheet import escaped_row
from mien.storage.files import atomic_file, write_json
from mien.study.pictures import draw, one_step
from mien.study.results import Difference, Results, results_table
from mien.study.reviewer_questions import Answer
from mien.study.wording import changed, ends, instead_of, spread

Row = Sequence[str]

FORMAT, VERSION = "mien-study", 1
"""Of ``study.json``, the report as data."""

LIMITS = (
    "The r of a trained cell is that of its best epoch on the validation clips, for every cell alike; it is a little "
    "too high for all of them. Nothing else was chosen on these clips.",
    "A difference that is open is not shown to be zero: its interval says how large it may be.",
    "A difference holds for these features and these data. On a stand-in corpus it checks the training and the method, "
    "and says nothing about people.",
)


@dataclass(frozen=True)
class Table:
    """A table of text; ``name`` is that of its files."""

    name: str
    title: str
    header: Row
    rows: list[Row]


@dataclass(frozen=True)
class Picture:
    """An SVG file in the study's folder, what it shows, and the numbers that it was drawn from."""

    file: str
    caption: str
    numbers: dict[str, Any]


@dataclass(frozen=True)
class Report:
    """Everything that a study has to say, ready to be set as Markdown, HTML or JSON.

    Attributes:
        title, question: of the study.
        about: what was run on what, a paragraph each.
        said: what the intervals allow to say, a line each.
        open: what they do not.
        limits: what always has to be kept in mind.
        referee: the questions of a referee with their answers.
        tables: all cells first.
        pictures: in the order in which they are shown.
    """

    title: str
    question: str
    about: list[str]
    said: list[str]
    open: list[str]
    limits: list[str]
    referee: list[Answer]
    tables: list[Table]
    pictures: list[Picture]


def write_report(results: Results, answers: list[Answer], folder: Path) -> Path:
    """Write ``results.parquet``, tables (CSV, LaTeX), pictures, ``study.json`` and ``report.md``; returns the last."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / "results.parquet") as part:
        pq.write_table(results_table(results), part, compression="zstd")
    report = compose(results, answers, [Picture(*drawn) for drawn in draw(results, folder)])
    for table in report.tables:
        _write_csv(folder / f"{table.name}.csv", table.header, table.rows)
        _write_text(folder / f"{table.name}.tex", latex(table.header, table.rows))
    write_json(folder / "study.json", {"format": FORMAT, "version": VERSION, **asdict(report)})
    _write_text(folder / "report.md", as_markdown(report))
    return folder / "report.md"


def compose(results: Results, answers: list[Answer], pictures: list[Picture]) -> Report:
    """Put together what a study has to say."""
    tables = [Table("cells", "All cells", *cells_table(results))]
    for axis in results.steps:
        header, rows = steps_table(results, axis)
        label = dict(results.plan.reference.labels)[axis]
        name = re.sub(r"\W+", "_", f"steps_{axis}")
        tables += [Table(name, f"{axis}: against {label}, all else equal", header, rows)] if rows else []
    title = results.plan.question or results.plan.title
    return Report(
        title, results.plan.question, _about(results), statements(results), openings(results), list(LIMITS), answers,
        tables, pictures,
    )  # fmt: skip


def _about(results: Results) -> list[str]:
    plan, (train, valid) = results.plan, results.clips
    seconds = sum(outcome.seconds for outcome in results.outcomes if not outcome.failed)
    paragraphs = [
        f"{len(plan.cells)} cells ({', '.join(plan.axes)}), {len(plan.reference.settings.seeds)} seeds each, trained "
        f"on {train} clips and judged on {valid}; {seconds / 60:.0f} minutes of computing. r is Pearson's over "
        f"the whole split, averaged over {len(results.targets)} emotions. ± is the standard deviation over seeds; "
        f"intervals are 95 %, over clips by resampling {results.people} 10,000 times."
    ]
    failed = [f"{outcome.cell.name}: {outcome.failed}" for outcome in results.outcomes if outcome.failed]
    return [*paragraphs, *([f"Not computed: {'; '.join(failed)}."] if failed else [])]


def as_markdown(report: Report) -> str:
    """The report as Markdown, its pictures beside it."""
    parts = [f"# {report.title}", "", *(line for text in report.about for line in (text, ""))]
    parts += ["## What can be said", "", *(f"- {line}" for line in report.said), ""]
    parts += ["## What a referee asks", "", *(f"- **{a.question}** {a.answer}" for a in report.referee), ""]
    for picture in report.pictures:
        parts += [f"![{picture.caption}]({picture.file})", "", f"*{picture.caption}.*", ""]
    parts += ["## What cannot be said", "", *(f"- {line}" for line in (*report.open, *report.limits)), ""]
    for table in report.tables:
        parts += [f"## {table.title}", "", *markdown(table.header, table.rows), ""]
    return "\n".join(parts)


def statements(results: Results) -> list[str]:
    """A line per thing that the intervals allow to say."""
    home = results.outcome(results.plan.reference)
    if home.failed:
        return [f"The reference ({home.cell.name}) failed: {home.failed}. Nothing can be compared with it."]
    lines = [f"Reference, {home.cell.name}: {spread(home)}; the mean over seeds {ends(home.ensemble)}."]
    for axis, row in results.steps.items():
        known = [d for d in row if d.verdict != "open"]
        for label in dict.fromkeys(dict(d.cell.labels)[axis] for d in row):
            mine = [d for d in row if dict(d.cell.labels)[axis] == label]
            told = [d for d in known if dict(d.cell.labels)[axis] == label]
            if not told:
                continue
            at_home = [d for d in told if d.other.labels == results.plan.reference.labels]
            if len(mine) == 1:
                lines.append(_sentence(told[0], results))
                continue
            better = sum(d.verdict == "better" for d in told)
            line = f"{axis} {label}: better in {better}, worse in {len(told) - better}, open in {len(mine) - len(told)}"
            lines.append(line + f" of {len(mine)} pairs" + (f"; {_sentence(at_home[0], results)}" if at_home else "."))
    return lines


def openings(results: Results) -> list[str]:
    """What differs from the reference in one thing, without the intervals allowing to say in which direction."""
    rows = [d for d in one_step(results) if d.verdict == "open"]
    if not rows:
        return []
    named = (f"{changed(d)} ({d.clips.value:+.4f} {ends(d.clips)})" for d in rows)
    return [f"Open, as far as seeds and clips go: {'; '.join(named)}."]


def _sentence(d: Difference, results: Results) -> str:
    most = int(np.nanargmax(np.abs(d.emotions)))
    return (
        f"{instead_of(d)}: {d.seeds.value:+.4f} {ends(d.seeds)} over seeds, "
        f"{d.clips.value:+.4f} {ends(d.clips)} over clips (q = {max(d.q_seeds, d.q_clips):.2g}), {d.verdict}; most on "
        f"{results.targets[most]} ({d.emotions[most]:+.3f})."
    )


def cells_table(results: Results) -> tuple[Row, list[Row]]:
    """A row per cell: r over seeds, of the ensemble, against the reference, and by emotion."""
    against = {d.cell.labels: d for d in results.against_reference}
    header = (
        *results.plan.axes, "r ± seeds", "mean over seeds", "− reference, seeds", "− reference, clips", "q", "verdict",
        *results.targets, "seconds",
    )  # fmt: skip
    rows: list[Row] = []
    for outcome in results.outcomes:
        labels = [label for _, label in outcome.cell.labels]
        if outcome.failed:
            rows.append((*labels, "failed", outcome.failed, *[""] * (len(header) - len(labels) - 2)))
            continue
        d = against.get(outcome.cell.labels)
        compared = _compared(d) if d else ("", "", "", "reference")
        ensemble = f"{outcome.ensemble.value:.4f} {ends(outcome.ensemble)}"
        by_emotion = [f"{value:.3f}" for value in outcome.r.mean(0)]
        rows.append((*labels, spread(outcome), ensemble, *compared, *by_emotion, f"{outcome.seconds:.0f}"))
    return header, rows


def steps_table(results: Results, axis: str) -> tuple[Row, list[Row]]:
    """A row per cell that is off the reference's label on an axis, against its twin that is not."""
    header = (*results.plan.axes, "difference, seeds", "difference, clips", "q", "verdict", *results.targets)
    rows: list[Row] = [
        (*(label for _, label in d.cell.labels), *_compared(d), *(f"{value:+.3f}" for value in d.emotions))
        for d in results.steps[axis]
    ]
    return header, rows


def _compared(d: Difference) -> tuple[str, str, str, str]:
    return (
        f"{d.seeds.value:+.4f} {ends(d.seeds)}", f"{d.clips.value:+.4f} {ends(d.clips)}",
        f"{max(d.q_seeds, d.q_clips):.2g}", d.verdict,
    )  # fmt: skip


def markdown(header: Row, rows: Iterable[Row]) -> list[str]:
    """A Markdown table, line by line."""
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]


def latex(header: Row, rows: Iterable[Row]) -> str:
    """A LaTeX table (needs ``booktabs``)."""
    body = [" & ".join(map(_escaped, row)) + r" \\" for row in (header, *rows)]
    columns = "l" * len(header)
    lines = [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        body[0],
        r"\midrule",
        *body[1:],
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    marks = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "±": r"$\pm$", "−": "$-$", "·": r"$\cdot$", "–": "--"}
    return "".join(marks.get(mark, mark) for mark in text)


def _write_csv(path: Path, header: Row, rows: Iterable[Row]) -> None:
    with atomic_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(map(escaped_row, [header, *rows]))


def _write_text(path: Path, text: str) -> None:
    with atomic_file(path) as part:
        part.write_text(text, encoding="utf-8")
