"""Rows of CSV, TSV and Parquet tables, as people and programs save them, as text with line numbers.

Every error names file and line (``clips.csv:418``). The trade-off: tables are read row by row with Python's ``csv``,
slower than a columnar reader, because it gives the line of an error. Labels are in ``labels.py``.
"""

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from mien.errors import DataError
from mien.spreadsheet import is_formula, restored
from mien.storage.bounded import read_parquet
from mien.storage.files import read_bytes_checked
from mien.wording import plural

LARGEST_TABLE = 200_000_000
"""Bytes of a table, unpacked."""

MISSING = frozenset("NA N/A n/a #N/A <NA> NaN nan NULL null".split())
"""How R, pandas, spreadsheets and databases write a missing value; it is one in every kind of column."""

_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?')
_QUOTED = re.compile(r'"[^"]*"')


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes:
        file: where it is.
        columns: names in order; ``""`` stands for all columns without a name.
        rows: line (or row) number, and cells by column; missing values are ``""``.
        missing: line and column of each cell with a word such as ``NA``.
    """

    file: Path
    columns: tuple[str, ...]
    rows: list[tuple[int, dict[str, str]]]
    missing: list[tuple[int, str]] = field(default_factory=list)

    def missing_note(self, columns: Iterable[str]) -> list[str]:
        """A note on the words such as ``NA`` in some columns, if there are any."""
        wanted = set(columns)
        found = [(line, column) for line, column in self.missing if column in wanted]
        if not found:
            return []
        line, column = found[0]
        return [f"{self.file}: {plural(len(found), 'cell')} such as NA read as missing (first: {column}, line {line})"]


def read_table(file: Path) -> Table:
    """Read a table; the first line names the columns, after a line such as ``sep=;`` if there is one.

    Raises:
        DataError: it cannot be read, a column name is not unique, or a row has another number of cells.
    """
    if not file.is_file():
        raise DataError(f"{file}: {'not a regular file' if file.exists() else 'no such file'}, expected a table")
    if file.suffix.lower() == ".parquet":
        return _from_parquet(file)
    try:
        lines = io.StringIO(read_bytes_checked(file, LARGEST_TABLE).decode("utf-8-sig"), newline="")
        head = lines.readline()
        stated = _SEPARATOR_LINE.fullmatch(head.strip("\r\n"))
        skipped = 1 if stated else lines.seek(0)
        delimiter = stated[1] if stated else max("\t;,", key=_QUOTED.sub("", head).count)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        return _checked(file, [(reader.line_num + skipped, cells) for cells in reader], delimiter)
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not in UTF-8; in Excel, save it as 'CSV UTF-8'") from error
    except csv.Error as error:
        raise DataError(f"{file}: not a text table ({error}); save it as CSV in UTF-8") from error


def _from_parquet(file: Path) -> Table:
    """A Parquet table; a small file may contain any number of rows and bytes."""
    read = read_parquet(file, largest=LARGEST_TABLE)
    try:
        records = read.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError) as error:  # text that is no UTF-8, dates beyond year 9999
        raise DataError(f"{file}: cannot be read as Parquet ({' '.join(str(error).split())[:120]})") from error
    texts = [(n, {k: "" if v is None else str(v) for k, v in row.items()}) for n, row in enumerate(records, 1)]
    return _without_missing(Table(file, tuple(read.column_names), texts))


def _checked(file: Path, lines: list[tuple[int, list[str]]], delimiter: str) -> Table:
    lines = [(line, [cell.strip() for cell in cells]) for line, cells in lines]
    if not lines:
        return Table(file, (), [])
    # in a table that was escaped for spreadsheets no cell is a formula: only then an apostrophe is an escape
    escaped = not any(is_formula(cell) for _, cells in lines for cell in cells)
    (first, header), body = lines[0], lines[1:]
    names = [unicodedata.normalize("NFC", restored(name) if escaped else name) for name in header]
    repeated = [name for name, count in Counter(names).items() if name and count > 1]
    if repeated:
        raise DataError(f"{file}:{first}: column {repeated[0]!r} occurs twice in the header")
    rows = []
    for line, cells in body:
        if not any(cells):
            continue
        if len(cells) < len(names) or any(cells[len(names) :]):
            raise DataError(
                f"{file}:{line}: {plural(len(cells), 'cell')}, but the header names {len(names)}"
                + _cause(len(cells), len(names), delimiter)
            )
        row = dict.fromkeys(names, "")
        for name, cell in zip(names, cells, strict=False):
            row[name] = row[name] or (restored(cell) if escaped else cell)
        rows.append((line, row))
    return _without_missing(Table(file, tuple(dict.fromkeys(names)), rows))


def _cause(cells: int, names: int, delimiter: str) -> str:
    """The likely cause of a row that is too long."""
    if cells <= names:
        return ""
    comma = "a decimal comma (then separate by semicolons)" if delimiter == "," else f"{delimiter!r} in a text"
    return f"; {comma}, or a column without a header?"


def _without_missing(table: Table) -> Table:
    for line, row in table.rows:
        for column, cell in row.items():
            if cell in MISSING:
                row[column] = ""
                table.missing.append((line, column))
            elif "\0" in cell:
                raise DataError(f"{table.file}:{line}: {column} = {cell!r} contains a NUL character; remove it")
    return table


def check_unique(named: Iterable[tuple[str, str]]) -> None:
    """Check that ids are unique.

    Args:
        named: file and line of each id (``clips.csv:3``), and the id.

    Raises:
        DataError: one is not; the message names both lines.
    """
    first: dict[str, str] = {}
    for where, name in named:
        if name in first:
            raise DataError(f"{where}: id {name!r} occurs twice (first in {first[name]}); ids must be unique")
        first[name] = where
