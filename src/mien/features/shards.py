"""Shards of a feature store: their names, and their two tables, which are checked when they are read.

``store.py`` describes the layout. A damaged table is a ``StoreError``.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
from pydantic import TypeAdapter

from mien.errors import DataError, StoreError
from mien.schema import Transcript
from mien.storage.bounded import read_parquet
from mien.storage.checksums import check_sums
from mien.storage.documents import or_nan, plain

REMEDY = "run the command that made the store again: it computes damaged parts again"

SHARD_NAME = re.compile(r"[0-9]{5,9}-[0-9]{1,9}")

INDEX = pa.schema(
    [
        ("clip", pa.string()),
        ("modality", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("steps", pa.int64()),
        ("width", pa.int64()),
        ("offset", pa.int64()),
        ("key", pa.string()),
        ("provenance", pa.string()),
        ("origin", pa.string()),
        ("crc", pa.int64()),
        ("seconds_crc", pa.int64()),
    ]
)
CLIPS = pa.schema(
    [("clip", pa.string()), ("seconds", pa.float64()), ("transcript", pa.string()), ("notes", pa.string())]
)


_TRANSCRIPT, _NOTES = TypeAdapter(Transcript), TypeAdapter(list[str])


def shards_of(root: Path) -> list[Path]:
    """The shards in the order in which later rows replace earlier ones: by generation, then by number.

    Raises:
        StoreError: the folder contains something else.
    """
    try:
        names = [shard for shard in (root / "shards").iterdir() if not shard.name.startswith(".")]
    except OSError as error:
        raise StoreError(f"{root / 'shards'}: cannot be read ({error.strerror})") from error
    for shard in names:
        if not SHARD_NAME.fullmatch(shard.name) or not shard.is_dir():
            raise StoreError(f"{shard}: not a shard of a store; move it out of there")
    return sorted(names, key=lambda shard: (generation_of(shard.name), shard.name))


def generation_of(shard: str) -> int:
    """The generation in a shard's name.

    >>> generation_of("00003-2")
    2
    """
    return int(shard.partition("-")[2])


def read_table(shard: Path, name: str, columns: pa.Schema) -> pa.Table:
    """One of the two tables of a shard, checked.

    Raises:
        StoreError: it is damaged.
    """
    try:
        check_sums(shard, [name])
        table = read_parquet(shard / name, columns.names).cast(columns)
    except (DataError, OSError, pa.ArrowException) as error:
        raise StoreError(f"{shard / name}: damaged ({_short(error)}); {REMEDY}") from error
    for column in columns.names:
        if _is_invalid(table[column], nullable=column == "transcript"):
            raise StoreError(f"{shard / name}: damaged (a {column} is missing or below 0); {REMEDY}")
    return table


def _is_invalid(column: pa.ChunkedArray, nullable: bool) -> bool:
    if column.null_count:
        return not nullable
    return pa.types.is_integer(column.type) and len(column) > 0 and column.to_numpy().min() < 0


def known_clips(shard: Path) -> Iterator[tuple[str, float, Transcript | None, list[str]]]:
    """The rows of the second table of a shard: name, seconds, transcript, notes of each clip.

    Raises:
        StoreError: it is damaged.
    """
    for row in read_table(shard, "clips.parquet", CLIPS).to_pylist():
        try:
            transcript, notes = transcript_from_json(row["transcript"]), _NOTES.validate_json(row["notes"])
        except (ValueError, RecursionError) as error:
            raise StoreError(f"{shard / 'clips.parquet'}: damaged ({_short(error)}); {REMEDY}") from error
        yield row["clip"], row["seconds"], transcript, notes


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def transcript_to_json(transcript: Transcript | None) -> str | None:
    """A transcript as JSON text; ``nan`` becomes null."""
    if transcript is None:
        return None
    return json.dumps(plain(asdict(transcript)))


def transcript_from_json(text: str | None) -> Transcript | None:
    """The inverse of ``transcript_to_json``.

    Raises:
        ValueError: it is not the JSON of a transcript.
        RecursionError: it is nested too deeply.
    """
    if text is None:
        return None
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("a transcript is not a JSON object")
    for name in ("average_logprob", "no_speech_probability"):
        values[name] = or_nan(values.get(name))
    return _TRANSCRIPT.validate_python(values)
