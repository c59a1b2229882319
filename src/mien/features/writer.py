"""Writing the feature store (layout in ``store.py``): finished clips are never lost, and there is one writer at a time.

A finished clip is written to ``pending/`` at once. When all clips of a shard are done, its pending clips become a
shard folder by one rename, and only then are the pending files removed. After a kill in between, the next writer finds
the pending file or the shard, and removes pending files that are in both. Damaged files are removed too, so that their
features count as missing. Only files with names of the store's own are removed: the folder may contain other things.
"""

import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mien.errors import Damaged, MienError, StoreError
from mien.features.pending import pending_file, pending_of, read_pending, write_pending
from mien.features.shards import (
    CLIPS,
    INDEX,
    generation_of,
    read_table,
    shards_of,
    transcript_to_json,
)
from mien.features.store import HEAD, Row, Store, check_format, crc32
from mien.modalities import MODALITIES
from mien.schema import ClipFeatures, Feature
from mien.storage.checksums import SUMS, write_sums
from mien.storage.exclusive import LOCK, exclusive_writer
from mien.storage.files import atomic_folder, check_only, is_part, key_of, write_json, writing

SHARD_CLIPS = 256

TABLES = ("index.parquet", "clips.parquet", SUMS)


class StoreWriter:
    """A feature store, opened for writing by one process at a time.

    with StoreWriter(root, [clip.id for clip in manifest.clips]) as writer:
        writer.add(features)        # on the disk when this returns
    """

    def __init__(self, root: Path, order: Sequence[str], shard_clips: int = SHARD_CLIPS) -> None:
        """Open or create the store at ``root`` for the clips of a manifest, in its order.

        Raises:
            InUse: another process is writing to it.
            OutputError: its folder cannot be written.
            StoreError: it is not a store, is older or newer, or contains other files.
        """
        self.root = root
        self._shard_clips = shard_clips
        self._position = {clip: position for position, clip in enumerate(order)}
        self._order = order
        self._done = np.zeros(len(order), bool)
        self._damaged: set[str] = set()
        with ExitStack() as stack:
            _check_root(root)
            stack.enter_context(exclusive_writer(root))
            _make_folders(root)
            self._damaged |= self._drop_damaged_shards()
            self._stored = Store(root)
            self._pending = self._find_pending()
            self._owned = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Seal all shards and release the store; after an exception, clips that are not sealed stay pending."""
        with self._owned:
            if kind is None:
                self._seal(list(self._pending))
                _prune(self.root)

    def known(self, clip: str) -> dict[str, Feature]:
        """The undamaged features of a clip on the disk, sealed or pending, by modality; without the arrays."""
        known = {
            name: Feature(name, row.key, row.provenance, status=row.status, reason=row.reason, origin=row.origin)
            for name, row in self._sealed.get(clip, {}).items()
            if self._is_intact(clip, name)
        }
        if clip in self._pending:
            known |= {feature.modality: feature for feature in read_pending(self._pending[clip]).features}
        return known

    def is_damaged(self, clip: str) -> bool:
        """Whether stored features of a clip were damaged; call it after ``known``."""
        return clip in self._damaged

    def _is_intact(self, clip: str, modality: str) -> bool:
        try:
            self._stored.array(clip, modality)
            self._stored.seconds(clip, modality)
        except StoreError:
            self._damaged.add(clip)
            return False
        return True

    def _drop_damaged_shards(self) -> set[str]:
        """Remove the shards with damaged tables, and return the clips that were in them, as far as that is known."""
        dropped: set[str] = set()
        for shard in shards_of(self.root):
            try:
                read_table(shard, "index.parquet", INDEX)
                read_table(shard, "clips.parquet", CLIPS)
            except StoreError as error:
                if _is_unreadable(error):
                    raise
                with writing(shard):
                    check_only(shard, _shard_files().__contains__)
                first = int(shard.name.partition("-")[0]) * self._shard_clips
                dropped |= set(self._order[first : first + self._shard_clips])
                shutil.rmtree(shard)
        return dropped

    def add(self, features: ClipFeatures) -> None:
        """Write a finished clip; pending features of it that are not replaced stay.

        Raises:
            OutputError: the disk is full or cannot be written; finished clips stay.
        """
        if features.clip in self._pending:
            features = merged(read_pending(self._pending[features.clip]), features)
        path = pending_file(self.root, features.clip)
        write_pending(path, features)
        self._pending[features.clip] = path
        self.mark_done(features.clip)

    def take(self, clip: str) -> None:
        """Mark a clip as done whose features, if there are new ones, were written by a worker (``storing.py``)."""
        path = pending_file(self.root, clip)
        if path.exists():
            self._pending[clip] = path
        self.mark_done(clip)

    def add_shard(self, finished: Sequence[ClipFeatures]) -> None:
        """Write all the clips of one shard at once, for features that are computed faster than they are written.

        A kill loses the whole shard, so this suits synthetic features, not a slow extraction.

        Args:
            finished: exactly the clips of one shard, in the order of the manifest.

        Raises:
            ValueError: they are not exactly one shard's clips in order.
            OutputError: the disk is full or cannot be written; finished clips stay.
        """
        names = [clip.clip for clip in finished]
        group = self._position.get(names[0], 0) // self._shard_clips if names else 0
        members = slice(group * self._shard_clips, (group + 1) * self._shard_clips)
        if names != list(self._order[members]):
            raise ValueError(f"{len(names)} clips from {names[:1]} on are not the clips of shard {group} in order")
        if any(name in self._pending for name in names):
            for clip in finished:
                self.add(clip)
            return
        _write_shard(self.root / "shards" / self._next_name(group, list(finished)), list(finished))
        self._done[members] = True

    def mark_done(self, clip: str) -> None:
        """Mark a clip as done in this run; its shard is sealed when all its clips are done."""
        self._done[self._position[clip]] = True
        first = self._position[clip] // self._shard_clips * self._shard_clips
        members = slice(first, first + self._shard_clips)
        if self._done[members].all():
            self._seal([name for name in self._order[members] if name in self._pending])

    @cached_property
    def _sealed(self) -> dict[str, dict[str, Row]]:
        sealed: dict[str, dict[str, Row]] = {}
        for (clip, modality), row in self._stored.rows.items():
            sealed.setdefault(clip, {})[modality] = row
        return sealed

    def _find_pending(self) -> dict[str, Path]:
        """The pending clips; files that are already in a shard, or are damaged, are removed."""
        pending: dict[str, Path] = {}
        of_file = {key_of(clip): clip for clip in self._order}
        for path in pending_of(self.root):
            try:
                clip = read_pending(path)
            except Damaged as error:
                if _is_unreadable(error):
                    raise
                self._damaged.add(of_file.get(path.stem, path.stem))
                path.unlink()
                continue
            rows = self._sealed.get(clip.clip, {})
            if all(f.modality in rows and rows[f.modality].key == f.key for f in clip.features):
                path.unlink()
            else:
                pending[clip.clip] = path
        return pending

    def _seal(self, clips: list[str]) -> None:
        """Move pending clips into shards, in the order of the manifest; clips that are not in it come last."""
        last = len(self._order)
        groups: dict[int, list[str]] = {}
        for clip in sorted(clips, key=lambda clip: (self._position.get(clip, last), clip)):
            groups.setdefault(self._position.get(clip, last) // self._shard_clips, []).append(clip)
        for group, members in groups.items():
            paths = [self._pending.pop(clip) for clip in members]
            finished = [read_pending(path) for path in paths]
            _write_shard(self.root / "shards" / self._next_name(group, finished), finished)
            for path in paths:
                path.unlink()

    def _next_name(self, group: int, finished: list[ClipFeatures]) -> str:
        """The first free generation above every row that the shard replaces."""
        replaced = [
            generation_of(row.shard)
            for clip in finished
            for feature in clip.features
            if (row := self._sealed.get(clip.clip, {}).get(feature.modality))
        ]
        generation = max(replaced, default=-1) + 1
        while (self.root / "shards" / f"{group:05d}-{generation}").exists():
            generation += 1
        return f"{group:05d}-{generation}"


def _check_root(root: Path) -> None:
    """Check that ``root`` is a store, or an empty or new folder."""
    if (root / "store.json").exists():
        check_format(root)
    elif root.is_dir() and any(
        name.name not in ("shards", "pending", LOCK) and not is_part(name.name) for name in root.iterdir()
    ):
        raise StoreError(f"{root}: a folder with other things in it; name an empty or a new folder for the store")


def _make_folders(root: Path) -> None:
    with writing(root):
        (root / "shards").mkdir(exist_ok=True)
        (root / "pending").mkdir(exist_ok=True)
    if not (root / "store.json").exists():
        write_json(root / "store.json", HEAD)


def _shard_files() -> set[str]:
    """The names of all files that a shard may have."""
    features = [name for modality in MODALITIES.values() for name in (*modality.features, f"{modality.name}_layers")]
    return {*TABLES, *(f"{name}{suffix}.npy" for name in features for suffix in ("", ".seconds"))}


def _is_unreadable(error: BaseException) -> bool:
    """Whether a file exists but could not be read: it may be undamaged, so it is not removed."""
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno:
        return not isinstance(cause, FileNotFoundError)
    return isinstance(cause, MienError) and _is_unreadable(cause)


def _prune(root: Path) -> None:
    """Remove arrays whose rows have all been replaced."""
    live = {(row.shard, modality) for (_, modality), row in Store(root).rows.items() if row.steps}
    for shard in shards_of(root):
        for modality in set(read_table(shard, "index.parquet", INDEX)["modality"].to_pylist()):
            if (shard.name, modality) not in live:
                for name in _shard_files() & {f"{modality}.npy", f"{modality}.seconds.npy"}:
                    (shard / name).unlink(missing_ok=True)


def merged(old: ClipFeatures, new: ClipFeatures) -> ClipFeatures:
    """The newer features over the older; seconds, transcript and notes come from both."""
    features = {feature.modality: feature for feature in (*old.features, *new.features)}
    seconds = old.seconds if np.isnan(new.seconds) else new.seconds
    notes = tuple(dict.fromkeys((*old.notes, *new.notes)))
    return ClipFeatures(new.clip, seconds, tuple(features.values()), new.transcript or old.transcript, notes)


def _write_shard(shard: Path, clips: list[ClipFeatures]) -> None:
    """Write clips as one shard folder, atomically."""
    index: list[dict[str, Any]] = []
    values: dict[str, list[np.ndarray[Any, Any]]] = {}
    seconds: dict[str, list[np.ndarray[Any, Any]]] = {}
    for clip in clips:
        for f in clip.features:
            before = sum(len(steps) for steps in values.get(f.modality, ()))
            steps, width = (0, 0) if f.values is None else f.values.shape
            if f.values is not None and f.seconds is not None:
                values.setdefault(f.modality, []).append(f.values.astype(np.float16, copy=False))
                seconds.setdefault(f.modality, []).append(f.seconds.astype(np.float32, copy=False))
            index.append(
                {"clip": clip.clip, "modality": f.modality, "status": f.status, "reason": f.reason, "steps": steps,
                 "width": width, "offset": before, "key": f.key, "provenance": f.provenance, "origin": f.origin,
                 "crc": _crc(f.values, np.float16), "seconds_crc": _crc(f.seconds, np.float32)}
            )  # fmt: skip
    rows = [
        {"clip": c.clip, "seconds": c.seconds, "transcript": transcript_to_json(c.transcript),
         "notes": json.dumps(c.notes)} for c in clips
    ]  # fmt: skip
    with atomic_folder(shard) as part:
        for name, arrays in values.items():
            np.save(part / f"{name}.npy", np.concatenate(arrays), allow_pickle=False)
            np.save(part / f"{name}.seconds.npy", np.concatenate(seconds[name]), allow_pickle=False)
        for name, lines, schema in (("index", index, INDEX), ("clips", rows, CLIPS)):
            with (part / f"{name}.parquet").open("wb") as file:  # pyarrow refuses a path that is not UTF-8
                pq.write_table(pa.Table.from_pylist(lines, schema), file, compression="zstd")
        write_sums(part, "index.parquet", "clips.parquet")


def _crc(steps: np.ndarray[Any, Any] | None, kind: type[np.floating[Any]]) -> int:
    return 0 if steps is None else crc32(steps.astype(kind, copy=False))
