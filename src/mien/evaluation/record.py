"""Evaluations in the run folder, so that a report needs neither the data nor the features.

evaluation/SPLIT.json      ``Evaluation`` without its table; nan is null
evaluation/SPLIT.parquet   its table: a row per rated clip, with labels, predictions, and missing modalities
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mien.errors import Damaged, DataError
from mien.evaluation.results import Coverage, Evaluation, LevelCoverage, TargetResult
from mien.evaluation.subgroups import GroupResult
from mien.metrics import Interval
from mien.storage.bounded import read_parquet
from mien.storage.documents import check_document, or_nan, plain
from mien.storage.exclusive import refuse_link
from mien.storage.files import atomic_file, read_json, write_json

FORMAT, VERSION = "mien-evaluation", 1


def write_evaluation(result: Evaluation, run: Path, data: str) -> Path:
    """Write an evaluation into a run folder.

    Args:
        result: of ``evaluate``.
        run: the run folder.
        data: name of the data.

    Returns:
        The JSON file.
    """
    file = _file(run, result.split)
    for place in (file.parent, file, file.with_suffix(".parquet")):
        refuse_link(place)
    with atomic_file(file.with_suffix(".parquet")) as part, part.open("wb") as opened:
        pq.write_table(result.table, opened, compression="zstd")
    record = asdict(replace(result, table=pa.table({})))
    del record["table"]
    number = 1 + max((place for place, _ in _numbered(run)), default=0)
    write_json(file, {"format": FORMAT, "version": VERSION, "number": number, "data": data, **plain(record)})
    return file


def splits_of(run: Path) -> list[str]:
    """The splits that a run was evaluated on, the most recent first.

    Ordered by their numbers, which do not depend on a clock; old evaluations without a number come last, ``valid``
    before the others.
    """
    found = sorted(_numbered(run), key=lambda entry: (-entry[0], entry[1] != "valid", entry[1]))
    return [split for _, split in found]


def _numbered(run: Path) -> list[tuple[int, str]]:
    """The evaluations in a run: number, in the order they were made, and split."""
    return [_numbered_split(file) for file in (run / "evaluation").glob("*.json")]


def _numbered_split(file: Path) -> tuple[int, str]:
    record = read_json(file)
    number, split = (record.get("number", 0), record.get("split")) if isinstance(record, dict) else (0, None)
    if not isinstance(split, str) or not isinstance(number, int):
        raise DataError(f"{file}: damaged (no split); delete it and run mien evaluate again")
    return number, split


def read_evaluation(run: Path, split: str) -> tuple[Evaluation, str]:
    """The evaluation of a run on a split, and the name of its data.

    Raises:
        DataError: there is none, or it is damaged or of a different version.
    """
    file = _file(run, split)
    remedy = f"make it again with: mien evaluate {run} DATA -f STORE"
    record = check_document(file, read_json(file), FORMAT, VERSION, noun="evaluation", remedy=remedy)
    try:
        return _evaluation(record, read_parquet(file.with_suffix(".parquet"))), str(record["data"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, Damaged) as error:
        raise DataError(f"{file}: damaged ({error}); {remedy}") from error


def _file(run: Path, split: str) -> Path:
    return run / "evaluation" / f"{re.sub(r'[^A-Za-z0-9_-]+', '_', split)}.json"


def _evaluation(record: Mapping[str, Any], table: pa.Table) -> Evaluation:
    coverage = record["coverage"]
    return Evaluation(
        split=record["split"],
        clips=record["clips"],
        resampled=record["resampled"],
        targets=tuple(
            TargetResult(**{**row, "r": _interval(row["r"]), **{k: or_nan(row[k]) for k in ("ccc", "mae", "rmse")}})
            for row in record["targets"]
        ),
        mean_r=_interval(record["mean_r"]),
        defined=record["defined"],
        mean_ccc=or_nan(record["mean_ccc"]),
        seeds=_array(record["seeds"]),
        subsets={name: or_nan(r) for name, r in record["subsets"].items()},
        missing={name: _array(curve) for name, curve in record["missing"].items()},
        shares=tuple(record["shares"]),
        coverage=coverage
        and Coverage(
            coverage["level"],
            _numbers(coverage["found"]),
            _numbers(coverage["width"]),
            coverage.get("calibration_clips", 0),
            tuple(LevelCoverage(**row) for row in coverage.get("levels", ())),
        ),
        table=table,
        notes=tuple(record["notes"]),
        modalities=tuple(record.get("modalities", ())),
        trained_on=record.get("trained_on", 0),
        validated_on=record.get("validated_on", 0),
        groups=tuple(
            GroupResult(**{**row, "r": _interval(row["r"]), "error": _interval(row["error"])})
            for row in record["groups"]
        ),
    )


def _numbers(values: list[float | None]) -> tuple[float, ...]:
    return tuple(map(or_nan, values))


def _array(values: list[float | None]) -> np.ndarray:
    return np.array(_numbers(values), np.float64)


def _interval(values: Mapping[str, float | None]) -> Interval:
    return Interval(*(or_nan(values[name]) for name in ("value", "low", "high")))
