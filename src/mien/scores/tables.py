"""Write tables as CSV, TSV, Parquet or JSON, by the file's ending, atomically."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from mien.errors import SettingsError
from mien.spreadsheet import escaped
from mien.storage.documents import plain
from mien.storage.files import atomic_file

SUFFIXES = (".csv", ".tsv", ".parquet", ".json")


def check_suffix(file: Path) -> None:
    """Check that a table can be written to ``file``, before hours of work.

    Raises:
        SettingsError: the ending is not in ``SUFFIXES``, or a folder has that name.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"{file}: cannot write {file.suffix or 'a file without ending'}; use {', '.join(SUFFIXES)}")
    check_no_folder(file)


def check_no_folder(file: Path) -> None:
    """Check that no folder is in the place of a file that is to be written.

    Raises:
        SettingsError: there is one.
    """
    if file.is_dir():
        raise SettingsError(f"{file}: a folder; move it away, or name another file")


def write_table(table: pa.Table, file: Path, *, raw_cells: bool = False) -> None:
    """Write a table; ``nan`` is an empty cell in text and null in JSON.

    Args:
        table: the table.
        file: the file to write.
        raw_cells: in CSV and TSV, leave text and column names as they are, even if a spreadsheet would read them as
            formulas; by default an apostrophe is put before these (``spreadsheet.py``).

    Raises:
        SettingsError: as in ``check_suffix``.
    """
    check_suffix(file)
    with atomic_file(file) as part:
        match file.suffix.lower():
            case ".parquet":
                with part.open("wb") as out:  # pyarrow refuses a path that is not UTF-8
                    pq.write_table(table, out)
            case ".json":
                rows = plain(table.to_pylist())
                part.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            case suffix:
                options = csv.WriteOptions(delimiter="," if suffix == ".csv" else "\t", quoting_style="needed")
                cells = _without_nan(table)
                with part.open("wb") as out:
                    csv.write_csv(cells if raw_cells else _escaped(cells), out, options)


def _escaped(table: pa.Table) -> pa.Table:
    columns = [
        pa.array([text if text is None else escaped(text) for text in column.to_pylist()], column.type)
        if pa.types.is_string(column.type) else column
        for column in table.columns
    ]  # fmt: skip
    return pa.table(columns, names=[escaped(name) for name in table.column_names])


def _without_nan(table: pa.Table) -> pa.Table:
    columns = [
        pa.array(plain(column.to_pylist()), column.type)
        if pa.types.is_floating(column.type) else column
        for column in table.columns
    ]  # fmt: skip
    return pa.table(columns, names=table.column_names)
