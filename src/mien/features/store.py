"""The feature store: a folder with the features of every clip.

    store.json                       format and version
    shards/00003-0/                  256 clips of the manifest, generation 0; written atomically, by one rename
        index.parquet                a row per (clip, modality): shard rows, key, status, reason, origin, checksums
        clips.parquet                a row per clip: seconds, transcript, words, notes
        SHA256SUMS                   of these two tables
        audio.npy  audio.seconds.npy (sum of T, F) float16 and (sum of T,) float32: all clips, packed one after another
    pending/<clip>.safetensors       finished clips until their shard is complete
    inputs/                          what the backbones read, if it is kept (``kept_inputs.py``)

The trade-off: a finished clip is written at once to a small file of its own, and is moved into its shard when all the
clips of that shard are done. Killing the writer at any moment loses only the clips in progress, and because shards are
numbered by their clips' positions in the manifest, the result is the same however often it was interrupted.
A later row for the same clip and modality (a higher generation) replaces an earlier one.

Tables are checked when they are read, arrays clip by clip when a clip is read: opening a store reads no array, and a
damaged byte costs one clip, whose features the command that made the store computes again.

Shapes: ``N`` clips, ``T`` steps of one clip, ``S`` steps of many clips packed, ``F`` feature width.
Writing is in ``writer.py``.
"""

import json
import math
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mien.errors import DataError, StoreError
from mien.features.shards import (
    INDEX,
    REMEDY,
    known_clips,
    read_table,
    shards_of,
)
from mien.storage.bounded import read_npy
from mien.storage.documents import check_document
from mien.storage.files import key_of, read_json

FORMAT = "mien-features"
VERSION = 2
"""2: with checksums and origins; older stores have neither, and have to be made again."""

HEAD = {"format": FORMAT, "version": VERSION}

LARGEST_HEAD = 1_000_000
"""Bytes of ``store.json``."""


@dataclass(frozen=True)
class Packed:
    """One modality of many clips, one after another without padding.

    Attributes:
        values: ``(S, F)`` float16.
        offsets: ``(N + 1,)`` int64; clip ``i`` is ``values[offsets[i]:offsets[i + 1]]``, empty when it is absent.
    """

    values: npt.NDArray[np.float16]
    offsets: npt.NDArray[np.int64]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """``(N,)`` steps of each clip; 0 where the modality is absent."""
        return np.diff(self.offsets)

    @property
    def width(self) -> int:
        """Feature width ``F``; 0 when no clip has this modality."""
        return int(self.values.shape[1])


class Row(NamedTuple):
    """One row of the index: the position of the steps of one clip in one modality, or why there are none.

    ``origin`` is the source file (``source_files.py``); ``crc`` and ``seconds_crc`` are CRC-32 of the steps' bytes.
    """

    shard: str
    status: str
    reason: str
    steps: int
    width: int
    offset: int
    key: str
    provenance: str
    origin: str
    crc: int
    seconds_crc: int


class Store:
    """A feature store, opened for reading; arrays are memory-mapped and copied only by ``gather``."""

    def __init__(self, root: str | Path) -> None:
        """Open the store at ``root``.

        Raises:
            StoreError: it is not a store, is newer than this version of mien, or is damaged.
        """
        self.root = Path(root)
        check_format(self.root)
        self._arrays: dict[str, npt.NDArray[Any]] = {}

    @cached_property
    def rows(self) -> dict[tuple[str, str], Row]:
        """The newest row of each (clip, modality), in the order in which they were stored."""
        rows: dict[tuple[str, str], Row] = {}
        for shard in shards_of(self.root):
            columns = read_table(shard, "index.parquet", INDEX).to_pydict()
            fields = (columns[name] for name in Row._fields[1:])
            pairs = zip(columns["clip"], columns["modality"], strict=True)
            rows.update(
                (pair, Row(shard.name, *line)) for pair, line in zip(pairs, zip(*fields, strict=True), strict=True)
            )
        return rows

    @cached_property
    def clips(self) -> dict[str, dict[str, Any]]:
        """By clip: ``seconds``, ``transcript`` (a ``Transcript`` or ``None``), ``notes``."""
        clips: dict[str, dict[str, Any]] = {}
        for shard in shards_of(self.root):
            for clip, seconds, transcript, notes in known_clips(shard):
                old = clips.get(clip, {})
                clips[clip] = {
                    "seconds": old.get("seconds", math.nan) if math.isnan(seconds) else seconds,
                    "transcript": transcript or old.get("transcript"),
                    "notes": tuple(dict.fromkeys((*old.get("notes", ()), *notes))),
                }
        return clips

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities of which at least one clip has steps, in the order in which they were stored."""
        return tuple(dict.fromkeys(modality for (_, modality), row in self.rows.items() if row.steps))

    @property
    def random_weights(self) -> bool:
        """Whether any feature was made with random weights, so that scores from it mean nothing."""
        return any("random" in row.provenance for row in self.rows.values())

    def fingerprint(self) -> str:
        """A hash of all keys in the store; it does not depend on the shards."""
        return key_of(sorted((*pair, row.key, row.status, row.steps) for pair, row in self.rows.items()))

    def provenance(self, modality: str) -> str:
        """Weights and code version of a modality's features, as text; several are joined by `` + ``."""
        return " + ".join(sorted({row.provenance for (_, name), row in self.rows.items() if name == modality}))

    def row(self, clip: str, modality: str) -> Row | None:
        """The index row of one clip in one modality; ``None`` when it was never extracted."""
        return self.rows.get((clip, modality))

    def array(self, clip: str, modality: str) -> npt.NDArray[np.float16]:
        """The ``(T, F)`` steps of one clip, memory-mapped, read-only; ``T`` is 0 when the modality is absent.

        Raises:
            StoreError: they are damaged.
        """
        row = self.rows.get((clip, modality))
        if row is None or not row.steps:
            return np.empty((0, row.width if row else 0), np.float16)
        return self._checked(self._slice(row, modality, ""), row.crc, row, clip, modality)

    def seconds(self, clip: str, modality: str) -> npt.NDArray[np.float32]:
        """The ``(T,)`` presentation times of the steps of one clip.

        Raises:
            StoreError: they are damaged.
        """
        row = self.rows.get((clip, modality))
        if row is None or not row.steps:
            return np.empty((0,), np.float32)
        return self._checked(self._slice(row, modality, ".seconds"), row.seconds_crc, row, clip, modality)

    def gather(
        self,
        modality: str,
        clips: Sequence[str],
        columns: Callable[[int], npt.NDArray[np.int64] | None] = lambda _: None,
    ) -> Packed:
        """One modality of the given clips, in their order, packed in memory.

        A clip that is absent, or was never extracted, has no steps.

        Args:
            modality: or the name of another stored sequence.
            clips: their names.
            columns: stored width → the columns that are kept; ``None`` keeps all.

        Raises:
            StoreError: a clip's steps are damaged, or differ in width from the others.
        """
        rows = [self.rows.get((clip, modality)) for clip in clips]
        self._check_room(modality, rows)
        offsets = np.concatenate([[0], np.cumsum([row.steps if row else 0 for row in rows])]).astype(np.int64)
        width = max((row.width for row in rows if row), default=0)
        kept = columns(width) if width else None
        values = np.empty((int(offsets[-1]), width if kept is None else len(kept)), np.float16)
        for clip, row, begin in zip(clips, rows, offsets, strict=False):
            if row and row.steps:
                if row.width != width:
                    raise StoreError(f"{self.root}: {modality} is {row.width} wide in some clips and {width} in others")
                target = values[begin : begin + row.steps]
                if kept is None:
                    target[:] = self._slice(row, modality, "")
                    self._checked(target, row.crc, row, clip, modality)
                else:
                    target[:] = self.array(clip, modality)[:, kept]
        return Packed(values, offsets)

    def release(self) -> None:
        """Unmap all arrays; those that are read again are mapped again."""
        self._arrays.clear()

    def _check_room(self, modality: str, rows: Sequence[Row | None]) -> None:
        """Check that rows claim no more steps than their shards have, before memory is allocated for them."""
        claimed: Counter[str] = Counter()
        for row in rows:
            if row and row.steps:
                array = self._array(row, modality, "")
                claimed[row.shard] += row.steps
                if claimed[row.shard] > len(array):
                    index = self.root / "shards" / row.shard / "index.parquet"
                    raise StoreError(f"{index}: damaged (claims more steps of {modality} than the shard has); {REMEDY}")

    def _checked(self, steps: npt.NDArray[Any], crc: int, row: Row, clip: str, modality: str) -> npt.NDArray[Any]:
        if crc32(steps) != crc:
            raise StoreError(f"{self.root}: {modality} of {clip} is damaged (in shard {row.shard}); {REMEDY}")
        return steps

    def _slice(self, row: Row, modality: str, suffix: str) -> npt.NDArray[Any]:
        """The steps of a row, or their times, memory-mapped; not yet checked."""
        return self._array(row, modality, suffix)[row.offset : row.offset + row.steps]

    def _array(self, row: Row, modality: str, suffix: str) -> npt.NDArray[Any]:
        """The array that contains a row, after a check of its shape."""
        name = f"{row.shard}/{modality}{suffix}.npy"
        if name not in self._arrays:
            try:
                self._arrays[name] = read_npy(self.root / "shards" / name, np.float32 if suffix else np.float16)
            except DataError as error:
                raise StoreError(f"{error}; {REMEDY}") from error
        array, wanted = self._arrays[name], (row.offset + row.steps, *(() if suffix else (row.width,)))
        if array.ndim != len(wanted) or array.shape[1:] != wanted[1:] or len(array) < wanted[0]:
            raise StoreError(
                f"{self.root / 'shards' / name}: damaged (shape {array.shape}, expected {wanted}); {REMEDY}"
            )
        return array


def made_alike(expected: str, found: str) -> bool:
    """Whether features were made in the way that a model was trained on, by their provenance.

    A model that was trained for every machine says ``any`` in place of an arithmetic: then all but 8-bit will do.

    >>> made_alike("minilm any v3", "minilm openvino bfloat16 v3"), made_alike("minilm any v3", "minilm float32 v4")
    (True, False)
    >>> made_alike("minilm float32 v3", "minilm bfloat16 v3"), made_alike("minilm any v3", "minilm int8 float32 v3")
    (False, False)
    """
    wanted, words = expected.split(" "), found.split(" ")
    alike = wanted[1:-1] == ["any"] and (wanted[0], wanted[-1]) == (words[0], words[-1]) and "int8" not in words
    return expected == found or alike


def check_format(root: Path) -> None:
    """Check that ``root`` is a store that this version of mien reads.

    Raises:
        StoreError: it is not a store, or is of another version.
    """
    if not (root / "store.json").exists():
        raise StoreError(f"{root}: not a feature store (no store.json); make one with: mien extract DATA --out {root}")
    try:
        head = read_json(root / "store.json", LARGEST_HEAD)
    except DataError as error:
        raise StoreError(f"{error}; write a new one with: echo '{json.dumps(HEAD)}' > {root / 'store.json'}") from error
    check_document(
        root / "store.json", head, FORMAT, VERSION, noun="feature store",
        remedy="make it again in another folder, by the same command", error=StoreError,
    )  # fmt: skip


def crc32(steps: npt.NDArray[Any]) -> int:
    """CRC-32 of the bytes of an array."""
    return zlib.crc32(np.ascontiguousarray(steps).data.cast("B")) if steps.size else 0


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
