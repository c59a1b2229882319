"""A study in words and tables: what was run, what its intervals allow to say, and what they do not."""

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from mien.artifacts import atomic_file
from mien.metrics import Interval
from mien.study.pictures import changed, draw, one_step
from mien.study.results import Difference, Outcome, Results, results_table

Row = Sequence[str]

LIMITS = """\
- The r of a trained cell is that of its best epoch on the validation clips, for every cell alike; it is a little too
  high for all of them. Nothing else was chosen on these clips.
- A difference that is *open* is not shown to be zero: its interval says how large it may be.
- A difference holds for these features and these data. On a stand-in corpus it checks the training and the method, and
  says nothing about people.
"""


def write_report(results: Results, folder: Path) -> Path:
    """Write ``results.parquet``, the tables (CSV, LaTeX), the pictures and ``report.md``; returns the last."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / "results.parquet") as part:
        pq.write_table(results_table(results), part, compression="zstd")
    tables = {"cells": cells_table(results), **{f"steps_{axis}": steps_table(results, axis) for axis in results.steps}}
    for name, (header, rows) in tables.items():
        if rows:
            safe = name.replace(".", "_")
            _write_csv(folder / f"{safe}.csv", header, rows)
            with atomic_file(folder / f"{safe}.tex") as part:
                part.write_text(latex(header, rows), encoding="utf-8")
    pictures = draw(results, folder)
    with atomic_file(folder / "report.md") as part:
        part.write_text(_text(results, tables, pictures), encoding="utf-8")
    return folder / "report.md"


def _text(results: Results, tables: dict[str, tuple[Row, list[Row]]], pictures: Iterable[tuple[str, str]]) -> str:
    plan, (train, valid) = results.plan, results.clips
    parts = [f"# {plan.question or plan.title}", ""]
    failed = [outcome for outcome in results.outcomes if outcome.failed]
    seconds = sum(outcome.seconds for outcome in results.outcomes if not outcome.failed)
    parts += [
        f"{len(plan.cells)} cells ({', '.join(plan.axes)}), {len(plan.reference.settings.seeds)} seeds each, trained "
        f"on {train} clips and judged on {valid}; {seconds / 60:.0f} minutes of computing. r is Pearson's over "
        f"the whole split, averaged over {len(results.targets)} emotions. ± is the standard deviation over seeds; "
        f"intervals are 95 %, over clips by resampling {results.people} 10,000 times.",
        "",
    ]
    if failed:
        parts += ["Not computed:", "", *(f"- {outcome.cell.name}: {outcome.failed}" for outcome in failed), ""]
    parts += ["## What can be said", "", *statements(results), ""]
    for name, what in pictures:
        parts += [f"![{what}]({name})", "", f"*{what}.*", ""]
    parts += ["## What cannot be said", "", *openings(results), LIMITS]
    parts += ["## All cells", "", *markdown(*tables["cells"]), ""]
    for axis in results.steps:
        if rows := tables[f"steps_{axis}"][1]:
            label = dict(plan.reference.labels)[axis]
            parts += [
                f"## {axis}: against {label}, all else equal",
                "",
                *markdown(tables[f"steps_{axis}"][0], rows),
                "",
            ]
    return "\n".join(parts)


def statements(results: Results) -> list[str]:
    """A line per thing that the intervals allow to say."""
    home = results.outcome(results.plan.reference)
    if home.failed:
        return [f"- The reference ({home.cell.name}) failed: {home.failed}. Nothing can be compared with it."]
    lines = [f"- Reference, {home.cell.name}: {_spread(home)}; the mean over seeds {_ends(home.ensemble)}."]
    for axis, row in results.steps.items():
        known = [d for d in row if d.verdict != "open"]
        for label in dict.fromkeys(dict(d.cell.labels)[axis] for d in row):
            mine = [d for d in row if dict(d.cell.labels)[axis] == label]
            told = [d for d in known if dict(d.cell.labels)[axis] == label]
            if not told:
                continue
            at_home = [d for d in told if d.other.labels == results.plan.reference.labels]
            if len(mine) == 1:
                lines.append(f"- {_sentence(told[0], results)}")
                continue
            better = sum(d.verdict == "better" for d in told)
            line = (
                f"- {axis} {label}: better in {better}, worse in {len(told) - better}, open in {len(mine) - len(told)}"
            )
            lines.append(line + f" of {len(mine)} pairs" + (f"; {_sentence(at_home[0], results)}" if at_home else "."))
    return lines


def openings(results: Results) -> list[str]:
    """What differs from the reference in one thing, without the intervals allowing to say in which direction."""
    rows = [d for d in one_step(results) if d.verdict == "open"]
    if not rows:
        return []
    named = (f"{changed(d)} ({d.clips.value:+.4f} {_ends(d.clips)})" for d in rows)
    return [f"- Open, as far as seeds and clips go: {'; '.join(named)}."]


def _sentence(d: Difference, results: Results) -> str:
    most = int(np.nanargmax(np.abs(d.emotions)))
    return (
        f"{changed(d)} instead of {_instead(d)}: {d.seeds.value:+.4f} {_ends(d.seeds)} over seeds, "
        f"{d.clips.value:+.4f} {_ends(d.clips)} over clips (q = {max(d.q_seeds, d.q_clips):.2g}), {d.verdict}; most on "
        f"{results.targets[most]} ({d.emotions[most]:+.3f})."
    )


def _instead(d: Difference) -> str:
    mine = dict(d.cell.labels)
    return " · ".join(label for axis, label in d.other.labels if mine[axis] != label)


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
        ensemble = f"{outcome.ensemble.value:.4f} {_ends(outcome.ensemble)}"
        by_emotion = [f"{value:.3f}" for value in outcome.r.mean(0)]
        rows.append((*labels, _spread(outcome), ensemble, *compared, *by_emotion, f"{outcome.seconds:.0f}"))
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
        f"{d.seeds.value:+.4f} {_ends(d.seeds)}", f"{d.clips.value:+.4f} {_ends(d.clips)}",
        f"{max(d.q_seeds, d.q_clips):.2g}", d.verdict,
    )  # fmt: skip


def _spread(outcome: Outcome) -> str:
    mean = float(np.nanmean(outcome.mean_r))
    deviation = f"{np.nanstd(outcome.mean_r, ddof=1):.4f}" if len(outcome.r) > 1 else "–"
    return f"{mean:.4f} ± {deviation}"


def _ends(interval: Interval) -> str:
    return "" if math.isnan(interval.low) else f"[{interval.low:.4f}, {interval.high:.4f}]"


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
        csv.writer(file).writerows([header, *rows])
