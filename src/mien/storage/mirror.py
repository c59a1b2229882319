"""A folder in object storage, and its copy in the cache: a feature store, a run, a model.

    mirror = Mirror("s3://bucket/features")
    mirror.pull()        what is new there comes here
    ...                  the copy in mirror.folder is read and written as any folder
    mirror.push()        what is new here goes there

Files go whole, one by one. A folder with ``SHA256SUMS`` (a shard, a model) is sealed: its list comes last when it is
stored, and goes first when it is replaced, so that one that is stored in part has none. A shard without its list is not
pulled: an interrupted push leaves no row of an index without its arrays.

The trade-offs: the copy holds everything, so the disk must have room for it; it is not removed by mien. There is one
writer at a time on a machine, by a lock; two machines that push to one address are not kept apart, and checksums tell
when the files of both are mixed.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from mien.errors import DataError, OutputError
from mien.storage.checksums import SUMS, read_checksummed, write_checksummed
from mien.storage.exclusive import LOCK, locked
from mien.storage.files import cache_folder, in_bytes, is_part, key_of
from mien.storage.remote import RemoteFile, download, is_address, list_files, name_of, remove, upload

STORE, SEALED = "store.json", "shards"
"""A file that every store has, and its folder whose folders are sealed."""

LOCAL = ("pending", "inputs")
"""Folders of a store that stay here: unfinished clips, and kept inputs."""


class Mirror:
    """A folder in object storage and its copy.

    Attributes:
        address: of the folder.
        folder: the copy; its name is that of the address.
    """

    def __init__(self, address: str) -> None:
        """Nothing is contacted yet."""
        self.address = address.rstrip("/")
        home = cache_folder() / "mirrors" / key_of(self.address)
        self.folder, self._record = home / name_of(self.address), home / "known.json"

    def pull(self) -> Path:
        """Bring what is new there; what was removed there is removed here. Returns the copy.

        Raises:
            DataError: the storage cannot be reached or refuses, or files change while they are read.
            OutputError: the disk has no room.
        """
        with locked(self.folder.parent):
            self.folder.mkdir(exist_ok=True)
            known, there = self._known(), self._there()
            wanted = [file for name, file in there.items() if self._is_new(name, file, known)]
            self._check_room(wanted)
            for name, state in known.items():
                if name not in there and _state(self.folder / name) == state[:2]:
                    (self.folder / name).unlink()
            with self._keeping(known):
                for name in known.keys() - there.keys():
                    del known[name]
                for file in wanted:
                    self._fetch(file, known)
        if (self.folder / STORE).exists():
            (self.folder / SEALED).mkdir(exist_ok=True)  # a store whose first shard is still missing has one, too
        for shard in sorted(self.folder.glob(f"{SEALED}/*")):
            if shard.is_dir() and not any(shard.iterdir()):
                shard.rmdir()
        return self.folder

    def push(self) -> None:
        """Store what is new here; what was removed here is removed there.

        Raises:
            OutputError: the storage cannot be reached or refuses.
        """
        with locked(self.folder.parent):
            known = self._known()
            here = {name: _state(self.folder / name) for name in self._names()}
            changed = [name for name, state in here.items() if known.get(name, [None] * 3)[:2] != state]
            gone = [name for name in known if name not in here]
            opened = {str(PurePosixPath(name).parent / SUMS) for name in (*changed, *gone)} & known.keys()
            with self._keeping(known):
                for name in sorted(opened):
                    self._drop(name, known)
                for name in sorted({*changed, *(opened & here.keys())}, key=_order):
                    self._store(name, known)
                for name in gone:
                    self._drop(name, known)

    def _there(self) -> dict[str, RemoteFile]:
        """The files there by relative name; those of a part of a store only if it is sealed."""
        files = {file.address[len(self.address) + 1 :]: file for file in list_files(self.address)}
        for name in files:
            if name != PurePosixPath(name).as_posix() or {"..", "."} & set(PurePosixPath(name).parts):
                raise DataError(f"{self.address}/{name}: not a name that mien writes, so this is not its folder")
        folders = {PurePosixPath(name).parent for name in files if _is_seal(name)}
        return {
            name: file
            for name, file in files.items()
            if PurePosixPath(name).parts[0] != SEALED or PurePosixPath(name).parent in folders
        }

    def _is_new(self, name: str, file: RemoteFile, known: dict[str, Any]) -> bool:
        return known.get(name, [None] * 3)[2] != file.changed or not (self.folder / name).exists()

    def _check_room(self, files: list[RemoteFile]) -> None:
        size, free = sum(file.size for file in files), shutil.disk_usage(self.folder).free
        if size > free:
            raise OutputError(
                f"{self.address}: {in_bytes(size)} to copy, but {in_bytes(free)} are free at {self.folder}; make room, "
                "or choose another place with MIEN_CACHE"
            )

    def _fetch(self, file: RemoteFile, known: dict[str, Any]) -> None:
        name = file.address[len(self.address) + 1 :]
        path = self.folder / name
        part = self.folder.parent / "incoming"
        part.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        found = download(file.address, part)
        part.replace(path)
        known[name] = [*_state(path), found.changed]

    def _store(self, name: str, known: dict[str, Any]) -> None:
        state = _state(self.folder / name)
        stored = upload(self.folder / name, f"{self.address}/{name}")
        known[name] = [*state, stored.changed]

    def _drop(self, name: str, known: dict[str, Any]) -> None:
        remove(f"{self.address}/{name}")
        known.pop(name, None)

    def _names(self) -> Iterator[str]:
        """Files of the copy that belong there: without locks, temporary files, and what stays here."""
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder)
            if path.is_file() and name.parts[0] not in LOCAL and not any(map(_is_private, name.parts)):
                yield name.as_posix()

    def _known(self) -> dict[str, Any]:
        """By name: size and time of the copy, and time of the object, when both were last equal."""
        if not self._record.exists():
            return {}
        try:
            return read_checksummed(self._record)["files"]
        except (DataError, KeyError):
            return {}  # then everything is fetched again

    @contextmanager
    def _keeping(self, known: dict[str, Any]) -> Iterator[None]:
        try:
            yield
        finally:
            write_checksummed(self._record, {"files": known})


def local_folder(name: str | Path) -> Path:
    """A folder to read: itself, or the copy of one in object storage.

    Raises:
        DataError, OutputError: as for ``Mirror.pull``.
    """
    mirror = mirror_of(name)
    return mirror.pull() if mirror else Path(name)


def mirror_of(name: str | Path) -> Mirror | None:
    """The mirror of a folder in object storage; ``None`` for one on the disk."""
    return Mirror(name) if isinstance(name, str) and is_address(name) else None


def _state(path: Path) -> list[int]:
    """Size and modification time of a file; empty without one."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a name from a listing
    except FileNotFoundError:
        return []
    return [found.st_size, found.st_mtime_ns]


def _is_seal(name: str) -> bool:
    return PurePosixPath(name).name == SUMS


def _order(name: str) -> tuple[bool, int, str]:
    """Lists of checksums last, those of newer generations first: an older shard may lack arrays that they replace."""
    generation = PurePosixPath(name).parent.name.rpartition("-")[2]
    return _is_seal(name), -int(generation) if generation.isdecimal() else 0, name


def _is_private(part: str) -> bool:
    return part == LOCK or is_part(part)
