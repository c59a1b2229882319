"""The page of a study, from its ``study.json``: findings, charts, reviewer questions, limits, tables."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.errors import DataError
from mien.reporting.blocks import Answers, Column, Facts, Figure, Key, Notice, Page, Prose, Section, Table, TableCell
from mien.reporting.charts import Bar, Effect, Line, best_first, forest, lines, memberships
from mien.reporting.drawing import series
from mien.reporting.wording import best_of, listed, number, slug, verdict
from mien.storage.documents import check_document, or_nan
from mien.storage.files import read_json
from mien.study.report import FORMAT, VERSION

DASHES = ("", "6 3", "2 2", "8 3 2 3")
NUMBER = re.compile(r"[+−-]?\d+(\.\d+)?(e[+-]?\d+)?")
VERDICTS = ("better", "worse", "open")
"""As stored in ``study.json``; also names of colours."""

Study = Mapping[str, Any]


def read_study(folder: Path) -> Study:
    """The ``study.json`` in the folder of a study.

    Raises:
        DataError: ``study.json`` is missing, foreign, damaged, or of another version.
    """
    file = folder / "study.json"
    remedy = f"make one with: mien study STUDY DATA -f STORE --out {folder}"
    study = check_document(file, read_json(file), FORMAT, VERSION, noun="study", remedy=remedy)
    parts = ("title", "about", "said", "open", "limits", "referee", "tables", "pictures")
    if lacking := [name for name in parts if name not in study]:
        raise DataError(f"{file}: damaged (no {', '.join(lacking)}); the same mien study writes it again")
    return study


def page(study: Study, title: str = "") -> Page:
    """The page of a study from ``read_study``; ``title`` instead of its question."""
    answers = [(one["question"], one["answer"]) for one in study["referee"]]
    sections = [
        Section(
            "findings", "Findings",
            "Differences that hold both over seeds and over people, corrected for the number of comparisons.",
            [Prose(points=study["said"], shown=6)],
        ),
        Section("pictures", "Charts", "", _charts(study)),
        Section("referee", "Reviewer questions", "", [Answers(answers)] if answers else []),
        Section("limits", "Limits", "", [Prose(points=[*study["open"], *study["limits"]])]),
        Section("tables", "Tables", "Every cell, and the effect of every single change.",
                [_table(table) for table in study["tables"]]),
    ]  # fmt: skip
    about = [study["question"], *study["about"]] if title else study["about"]
    kept = [section for section in sections if section.blocks]
    return Page(title or study["title"], "report of a study", [text for text in about if text], kept, _head(study))


def failed_cells(study: Study) -> list[tuple[str, str]]:
    """Cells without a result, each with the reason."""
    table = next(table for table in study["tables"] if table["name"] == "cells")
    place = table["header"].index("r ± seeds")
    return [(" · ".join(row[:place]), row[place + 1]) for row in table["rows"] if row[place] == "failed"]


def _head(study: Study) -> list[Any]:
    table = next(table for table in study["tables"] if table["name"] == "cells")
    verdicts = [row[table["header"].index("verdict")] for row in table["rows"]]
    spread, ensemble = (table["header"].index(name) for name in ("r ± seeds", "mean over seeds"))
    home = next((row for row in table["rows"] if row[table["header"].index("verdict")] == "reference"), None)
    best = max((row for row in table["rows"] if row[spread] != "failed"), key=lambda row: _leading(row[ensemble]),
               default=None)  # fmt: skip
    facts = [
        *(
            [(f"mean r of the reference ({home[spread].split(' ', 1)[1]} over seeds)", home[spread].split(" ")[0])]
            if home
            else []
        ),
        *([(f"best cell: {' · '.join(best[:spread])}", best[ensemble].split(" ")[0])] if best else []),
        ("cells compared", str(len(table["rows"]))),
        ("better, worse, inconclusive against the reference", " · ".join(str(verdicts.count(v)) for v in VERDICTS)),
    ]
    failed = [Notice(f"{name} failed: {reason}", "warning") for name, reason in failed_cells(study)]
    return [Facts(facts, big=True), *failed]


def figures(study: Study) -> list[tuple[str, Figure]]:
    """The charts of a study by the name of their file, where it has their numbers."""
    return [(c["file"], _DRAWN[c["file"]](c["caption"], c["numbers"])) for c in _known(study) if c.get("numbers")]


def _charts(study: Study) -> list[Any]:
    made: list[Any] = [figure for _, figure in figures(study)]
    if len(made) < len(_known(study)):
        made.append(Notice(
            "This study was reported by an earlier version that did not store the numbers of its charts. The same "
            "command stores them, without training again:",
            command="mien study STUDY DATA --features STORE --out DIR",
        ))  # fmt: skip
    return made


def _known(study: Study) -> list[Mapping[str, Any]]:
    return [chart for chart in study["pictures"] if chart["file"] in _DRAWN]


def _forest(caption: str, numbers: Mapping[str, Any]) -> Figure:
    rows = numbers["rows"]
    effects = [
        Effect(row["name"], or_nan(row["clips"][0]), _ends(row["clips"]), _ends(row["seeds"]), row["verdict"])
        for row in rows
    ]
    counted = {word: [row["name"] for row in rows if row["verdict"] == word] for word in VERDICTS}
    summary = "; ".join(f"{verdict(word)}: {listed(names)}" for word, names in counted.items() if names)
    columns = [Column("cell"), *(Column(f"{over}, {end}", "+.4f") for over in ("clips", "seeds")
               for end in ("difference", "low", "high")), Column("verdict")]  # fmt: skip
    table = Table("forest-numbers", caption, columns,
                  [(row["name"], *row["clips"], *row["seeds"], verdict(row["verdict"])) for row in rows])  # fmt: skip
    note = "Difference of mean r. Thick: 95 % interval over seeds. Thin line and dot: over clips, by resampling people."
    note += _basis(numbers)
    keys = [Key(verdict(word), word) for word, names in counted.items() if names]
    return Figure("forest", caption, note, f"{summary}.", [forest(effects, "difference of mean r")], table, keys)


def _curve(caption: str, numbers: Mapping[str, Any]) -> Figure:
    rows = numbers["rows"]
    sizes = sorted({row["clips"] for row in rows})
    names = list(dict.fromkeys(row["series"] for row in rows))
    style = {name: (series(n), DASHES[n % len(DASHES)]) for n, name in enumerate(names)}
    curves, ranges = [], []
    for name in names:
        by_size = {row["clips"]: [or_nan(value) for value in row["r"]] for row in rows if row["series"] == name}
        r, low, high = zip(*(by_size.get(size, [float("nan")] * 3) for size in sizes), strict=True)
        curves.append(Line(r, *style[name], low, high))
        ranges.append(f"{name}: {number(r[0])} with {sizes[0]:,} clips, {number(r[-1])} with {sizes[-1]:,}")
    columns = [Column("curve"), Column("training clips", ",d"), Column("draws", "d"),
               *(Column(name, ".4f") for name in ("mean r", "low", "high"))]  # fmt: skip
    table = Table("curve-numbers", caption, columns,
                  [(row["series"], row["clips"], row["draws"], *row["r"]) for row in rows])  # fmt: skip
    drawn = lines(sizes, curves, "", ("training clips", "mean r"), width=560, height=300, dots=True, log=True)
    keys = [Key(name, *style[name]) for name in names] if len(names) > 1 else []
    return Figure(
        "curve", "How many clips?", f"{caption}.{_basis(numbers)}", f"{'; '.join(ranges)}.", [drawn], table, keys
    )


def _subsets(caption: str, numbers: Mapping[str, Any]) -> Figure:
    rows = best_first(
        Bar(" + ".join(row["modalities"]), or_nan(row["r"][0]), *_ends(row["r"])) for row in numbers["rows"]
    )
    members = [frozenset(bar.name.split(" + ")) for bar in rows]
    singles = ", ".join(f"{bar.name} {number(bar.value)}" for bar in rows if " + " not in bar.name)
    columns = [Column("modalities"), *(Column(name, ".4f") for name in ("mean r", "low", "high"))]
    table = Table("subsets-numbers", "Mean r by modalities", columns, [(b.name, b.value, b.low, b.high) for b in rows])
    note = f"{caption}. Each bar is a model trained on these modalities.{_basis(numbers)}"
    return Figure(
        "subsets", "Mean r by modalities", note,
        f"{best_of(rows[0].name, rows[0].value)}. Alone: {singles or 'not trained'}.",
        [memberships(rows, members, numbers["names"], "mean r")], table,
    )  # fmt: skip


def _missing(caption: str, numbers: Mapping[str, Any]) -> Figure:
    shares, rows = numbers["shares"], numbers["rows"]
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    style = {cell: (series(n), DASHES[n % len(DASHES)]) for n, cell in enumerate(cells)}
    known = [value for row in rows for value in row["r"] if value is not None]
    span = (min([0.0, *known]), max(known, default=1.0) * 1.06)
    panels, falls = [], []
    for name in dict.fromkeys(row["modality"] for row in rows):
        curves = [Line([or_nan(v) for v in row["r"]], *style[row["cell"]]) for row in rows if row["modality"] == name]
        axes = ("share of clips", "mean r")
        panels.append(lines(shares, curves, f"without {name}", axes, span=span, dots=True, share=True))
        fall = [change for curve in curves if math.isfinite(change := curve.y[-1] - curve.y[0])]
        falls.append(
            f"{name} {number(min(fall), '+.3f')} to {number(max(fall), '+.3f')}" if fall else f"{name} undefined"
        )
    columns = [Column("cell"), Column("modality removed"), *(Column(f"from {share:.0%}", ".4f") for share in shares)]
    table = Table("missing-numbers", caption, columns, [(row["cell"], row["modality"], *row["r"]) for row in rows])
    return Figure(
        "missing", "When a modality is missing", f"{caption}.{_basis(numbers)}",
        f"Change of mean r when it is removed from every clip, over {len(cells)} cells: {'; '.join(falls)}.",
        panels, table,
        [Key(cell, *style[cell]) for cell in cells],
    )  # fmt: skip


_DRAWN: dict[str, Callable[[str, Mapping[str, Any]], Figure]] = {
    "forest.svg": _forest, "curve.svg": _curve, "subsets.svg": _subsets, "missing.svg": _missing,
}  # fmt: skip


def _table(table: Mapping[str, Any]) -> Table:
    """A table of text cells, sorted by the numbers that they begin with."""
    rows: Sequence[Sequence[str]] = table["rows"]
    columns, cells = [], []
    for place, name in enumerate(table["header"]):
        column = [row[place] for row in rows]
        numeric = any(map(NUMBER.match, column)) and all(
            NUMBER.match(text) for text in column if text and text != "failed"
        )
        columns.append(Column(name, "g" if numeric else ""))
        column = [verdict(text) for text in column] if name == "verdict" else column
        cells.append([TableCell(text or "–", _leading(text) if numeric else text) for text in column])
    strong = [n for n, row in enumerate(rows) if "reference" in row]
    return Table(slug(table["name"]), table["title"], columns, list(zip(*cells, strict=True)), strong=strong)


def _leading(text: str) -> float:
    """The number that a text begins with; ``nan`` without one.

    >>> _leading("+0.0019 [0.0012, 0.0027]"), _leading("failed")
    (0.0019, nan)
    """
    found = NUMBER.match(text)
    return float(found[0].replace("−", "-")) if found else float("nan")


def _basis(numbers: Mapping[str, Any]) -> str:
    """What a chart is based on; empty in a study of an earlier version."""
    return f" {numbers['n']}." if "n" in numbers else ""


def _ends(values: Sequence[float | None]) -> tuple[float, float]:
    return or_nan(values[1]), or_nan(values[2])
