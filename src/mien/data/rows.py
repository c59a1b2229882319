"""Rows of CSV, TSV and Parquet tables as text with line numbers; numbers and labels in them.

Every error names file and line (``clips.csv:418``). The trade-off: tables are read row by row with Python's ``csv``,
slower than a columnar reader, because it gives the line of an error.
"""

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mien.errors import DataError
from mien.spreadsheet import restored
from mien.storage.files import open_regular, read_bytes_checked

MOST_CELLS = 10_000_000
LARGEST_TABLE = 200_000_000
"""Bytes of a table."""
LARGEST_TEXT = 1_000_000
"""Bytes of a transcript."""

_MISSING = frozenset(("", "nan", "na", "n/a", "null", "none", "-"))
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")

Rows = list[tuple[int, dict[str, str]]]


def read_rows(file: Path) -> Rows:
    """The rows of a table as text, each with its line (or row) number; empty cells are ``""``."""
    if not file.is_file():
        raise DataError(f"{file}: {'not a regular file' if file.exists() else 'no such file'}, expected a table")
    if file.suffix.lower() == ".parquet":
        return _parquet_rows(file)
    try:
        handle = io.StringIO(read_bytes_checked(file, LARGEST_TABLE).decode("utf-8-sig"), newline="")
        head = handle.readline()
        handle.seek(0)
        delimiter = max("\t;,", key=head.count)
        return _check_rows(file, csv.reader(handle, delimiter=delimiter, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: not a text table ({error}); save it as CSV in UTF-8") from error


def _parquet_rows(file: Path) -> Rows:
    """The rows of a Parquet table; a small file may contain any number of them, so the header is checked first."""
    try:
        with open_regular(file, LARGEST_TABLE) as opened, pq.ParquetFile(opened) as table:
            cells = table.metadata.num_rows * max(1, table.metadata.num_columns)
            if cells > MOST_CELLS:
                found = f"{table.metadata.num_rows:,} rows of {table.metadata.num_columns:,} columns"
                raise DataError(f"{file}: {found}, but a table of clips has at most {MOST_CELLS:,} cells")
            records = table.read().to_pylist()
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
        raise DataError(f"{file}: cannot be read as Parquet ({' '.join(str(error).split())[:120]})") from error
    return [(n, {k: "" if v is None else str(v) for k, v in row.items()}) for n, row in enumerate(records, 1)]


def _check_rows(file: Path, reader: Any) -> Rows:
    header: list[str] | None = None
    rows: Rows = []
    for cells in reader:
        if header is None:
            header = [restored(cell.strip()) for cell in cells]
            repeated = [name for name, count in Counter(header).items() if name and count > 1]
            if repeated:
                raise DataError(f"{file}:{reader.line_num}: column {repeated[0]!r} occurs twice in the header")
        elif any(cell.strip() for cell in cells):
            if len(cells) != len(header):
                raise DataError(f"{file}:{reader.line_num}: {len(cells)} cells, but the header names {len(header)}")
            rows.append((reader.line_num, {k: restored(v.strip()) for k, v in zip(header, cells, strict=True)}))
    return rows


def read_labels(
    file: Path, rows: Rows, columns: list[str], targets: Sequence[str] | None, scale: float, notes: list[str]
) -> tuple[tuple[str, ...], list[tuple[float, ...] | None]]:
    """The label columns and, per row, the labels (``None`` where the row has none).

    Args:
        file: the table, for messages.
        rows: its rows.
        columns: candidates; a column without a name is never one (R writes row numbers there, Excel empty cells).
        targets: the label columns, if given; by default all columns of numbers.
        scale: the highest possible rating.
        notes: ignored columns, conversions and missing labels are appended here.

    Raises:
        DataError: a given column does not exist, or a label is not a number in [0, 1] after scaling.
    """
    if targets is not None:
        for name in targets:
            if rows and name not in rows[0][1]:
                raise DataError(f"{file}:1: no column {name!r} (found: {', '.join(rows[0][1])})")
        names = tuple(targets)
    else:
        names = tuple(name for name in columns if name and _mostly_numbers(row[name] for _, row in rows))
        ignored = [name for name in columns if name and name not in names]
        if "" in columns and any(row[""] for _, row in rows):
            notes.append(f"{file}: a column without a name ignored")
        if ignored:
            notes.append(f"{file}: {len(ignored)} columns without numbers ignored (first: {ignored[0]})")
    labels = [tuple(_label(file, line, name, row[name], scale) for name in names) for line, row in rows]
    commas = [row[name] for _, row in rows for name in names if _DECIMAL_COMMA.fullmatch(row[name])]
    if commas:
        notes.append(f"{file}: {len(commas)} labels with a decimal comma (first: {commas[0]})")
    gaps = sum(math.isnan(value) for row in labels for value in row)
    if gaps:
        notes.append(f"{file}: {gaps} labels are missing; those clips are not used for those targets")
    return names, [row if names and not all(math.isnan(value) for value in row) else None for row in labels]


def _mostly_numbers(cells: Iterable[str]) -> bool:
    """Whether at least half of the non-empty cells are numbers; the others are then errors, not text."""
    filled = [cell for cell in cells if cell.lower() not in _MISSING]
    return bool(filled) and 2 * sum(_is_number(cell) for cell in filled) >= len(filled)


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(_parsed(cell))
    except ValueError:
        return False


def _parsed(cell: str) -> float:
    """A number, with a decimal point or a decimal comma."""
    return float(cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell)


def read_number(file: Path, line: int, column: str, cell: str) -> float | None:
    """The number in a cell; ``None`` if the cell is empty.

    Raises:
        DataError: it is not a number.
    """
    if cell.lower() in _MISSING:
        return None
    if not _is_number(cell):
        raise DataError(f"{file}:{line}: {column} = {cell!r} is not a number")
    return _parsed(cell)


def _label(file: Path, line: int, column: str, cell: str, scale: float) -> float:
    value = read_number(file, line, column, cell)
    if value is None:
        return math.nan
    if not 0 <= value / scale <= 1:
        hint = (
            "if the ratings run 0-100, pass --label-scale 100"
            if scale == 1
            else "if it is not a label, name the labels with --targets"
        )
        raise DataError(f"{file}:{line}: {column} = {cell}, but intensities lie in [0, {scale:g}]; {hint}")
    return value / scale


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


def read_text(file: Path) -> str | None:
    """The words in a text file, separated by one space; ``None`` if the file does not exist.

    Raises:
        DataError: it is not UTF-8.
    """
    try:
        return " ".join(read_bytes_checked(file, LARGEST_TEXT).decode("utf-8-sig").split()) if file.exists() else None
    except OSError:  # not a possible file name
        return None
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: cannot be read as UTF-8 text ({error})") from error
