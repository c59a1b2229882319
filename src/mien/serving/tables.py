"""Tables to files: CSV, TSV, Parquet or JSON by the file's ending, written whole or not at all."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from mien.artifacts import atomic_file
from mien.errors import SettingsError

SUFFIXES = (".csv", ".tsv", ".parquet", ".json")


def check_suffix(file: Path) -> None:
    """See that a table can be written to ``file``, before hours of work go into it.

    Raises:
        SettingsError: the ending is none of ``SUFFIXES``.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"{file}: cannot write {file.suffix or 'a file without ending'}; use {', '.join(SUFFIXES)}")


def write_table(table: pa.Table, file: Path) -> None:
    """Write a table; ``nan`` is an empty cell in text and null in JSON.

    Raises:
        SettingsError: the ending is none of ``SUFFIXES``.
    """
    check_suffix(file)
    with atomic_file(file) as part:
        match file.suffix.lower():
            case ".parquet":
                pq.write_table(table, part)
            case ".json":
                rows = [{key: _plain(value) for key, value in row.items()} for row in table.to_pylist()]
                part.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            case suffix:
                options = csv.WriteOptions(delimiter="," if suffix == ".csv" else "\t", quoting_style="needed")
                csv.write_csv(_without_nan(table), part, options)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _without_nan(table: pa.Table) -> pa.Table:
    columns = [
        pa.array([_plain(value) for value in column.to_pylist()], column.type)
        if pa.types.is_floating(column.type) else column
        for column in table.columns
    ]  # fmt: skip
    return pa.table(columns, names=table.column_names)
