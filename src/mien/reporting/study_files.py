"""The files beside a ``study.json``: its tables (CSV, LaTeX), charts (SVG) and the report as Markdown."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.reporting.study import figures, read_study
from mien.reporting.svg_file import as_file
from mien.reporting.wording import verdict
from mien.spreadsheet import escaped_row
from mien.storage.files import as_written, atomic_file

Row = Sequence[str]


def write_study_files(folder: Path) -> Path:
    """Write tables, charts and ``report.md`` from the folder's ``study.json``; returns ``report.md``.

    Raises:
        DataError: ``study.json`` is missing, foreign, damaged, or of another version.
        OutputError: the folder cannot be written.
    """
    study = read_study(folder)
    with as_written(folder / "study.json", "the same mien study writes it again"):
        for table in study["tables"]:
            _write_csv(folder / f"{table['name']}.csv", table["header"], table["rows"])
            _write_text(folder / f"{table['name']}.tex", latex(table["header"], worded(table)))
        for file, figure in figures(study):
            _write_text(folder / file, as_file(figure))
        _write_text(folder / "report.md", as_markdown(study))
    return folder / "report.md"


def as_markdown(study: Mapping[str, Any]) -> str:
    """The report as Markdown, with links to the charts beside it."""
    parts = [f"# {study['title']}", "", *(line for text in study["about"] for line in (text, ""))]
    parts += ["## Findings", "", *(f"- {line}" for line in study["said"]), ""]
    parts += ["## Reviewer questions", "", *(f"- **{a['question']}** {a['answer']}" for a in study["referee"]), ""]
    for chart in study["pictures"]:
        parts += [f"![{chart['caption']}]({chart['file']})", "", f"*{chart['caption']}.*", ""]
    parts += ["## Limits", "", *(f"- {line}" for line in (*study["open"], *study["limits"])), ""]
    for table in study["tables"]:
        parts += [f"## {table['title']}", "", *markdown(table["header"], worded(table)), ""]
    return "\n".join(parts)


def markdown(header: Row, rows: Iterable[Row]) -> list[str]:
    """A Markdown table, line by line."""
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]


def latex(header: Row, rows: Iterable[Row]) -> str:
    """A LaTeX table (needs ``booktabs``)."""
    head, *body = [" & ".join(map(_escaped, row)) + r" \\" for row in (header, *rows)]
    begin = rf"\begin{{tabular}}{{{'l' * len(header)}}}"
    lines = [begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def worded(table: Mapping[str, Any]) -> list[Row]:
    """The rows of a table with its verdicts as they are shown."""
    columns = [name == "verdict" for name in table["header"]]
    return [[verdict(cell) if own else cell for own, cell in zip(columns, row, strict=True)] for row in table["rows"]]


def _escaped(text: str) -> str:
    marks = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "±": r"$\pm$", "−": "$-$", "·": r"$\cdot$", "–": "--"}
    return "".join(marks.get(mark, mark) for mark in text)


def _write_csv(path: Path, header: Row, rows: Iterable[Row]) -> None:
    with atomic_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(map(escaped_row, [header, *rows]))


def _write_text(path: Path, text: str) -> None:
    with atomic_file(path) as part:
        part.write_text(text, encoding="utf-8")
