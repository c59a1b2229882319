"""A folder in object storage, and its copy in the cache: a feature store, a run, a model.

    mirror = Mirror("s3://bucket/features")
    mirror.pull()        what is new there comes here
    ...                  the copy in mirror.folder is read and written as any folder
    mirror.push()        what is new here goes there

Files go whole, one by one. Nothing that another machine has stored is overwritten (``remote.upload``):

- A shard of a store never changes: its files are created, its list ``SHA256SUMS`` last, and without that it does not
  count, there as here. So no row of an index is without its arrays, whenever a push or a pull is killed. If another
  machine has taken the number of a shard, this one gets the next one, and the store has the rows of both.
- Any other file is replaced only if it is the one that was last read or stored here; else the push is refused.

The trade-offs: the copy holds everything, so the disk must have room for it; it is not removed by mien. Of a shard that
is renumbered in the middle, files that do not count may stay there.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from mien.errors import DataError, OutputError, Taken
from mien.storage.addresses import is_address, name_of
from mien.storage.checksums import SUMS, read_checksummed, write_checksummed
from mien.storage.exclusive import LOCK, locked
from mien.storage.files import cache_folder, in_bytes, is_part, key_of
from mien.storage.remote import RemoteFile, download, find, is_same, list_files, remove, upload

STORE, SEALED = "store.json", "shards"
"""A file that every store has, and its folder whose folders are sealed."""

LOCAL = ("pending", "inputs")
"""Folders of a store that stay here: unfinished clips, and kept inputs."""


Known: TypeAlias = dict[str, Any]
"""By name: size and time of the copy, and version of the object, when both were last equal."""


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
            with self._keeping(known := self._known()):
                while not self._is_here(known, self._list()):
                    pass
        if (self.folder / STORE).exists():
            (self.folder / SEALED).mkdir(exist_ok=True)  # a store whose first shard is still missing has one, too
        for shard in sorted(self.folder.glob(f"{SEALED}/*")):
            if shard.is_dir() and not any(shard.iterdir()):
                shard.rmdir()
        return self.folder

    def _is_here(self, known: Known, listed: dict[str, RemoteFile]) -> bool:
        """Bring what is listed; ``False`` if another machine replaced or removed some of it meanwhile."""
        there = _that_count(listed)
        self._make_way(known, listed)
        wanted = [file for name, file in there.items() if self._is_new(name, file, known)]
        self._check_room(wanted)
        for name in known.keys() - listed.keys():
            if _state(self.folder / name) == known[name][:2]:
                (self.folder / name).unlink()
            del known[name]
        for file in sorted(wanted, key=lambda file: _order(self._name(file))):
            try:
                self._fetch(file, known)
            except DataError:
                if find(file.address) == file:
                    raise
                return False
        return True

    def push(self) -> None:
        """Store what is new here; what was removed here is removed there.

        Raises:
            Taken: a file that is no shard was also changed there; what is here stays here.
            DataError, OutputError: the storage cannot be reached or refuses.
        """
        with locked(self.folder.parent), self._keeping(known := self._known()):
            gone = self._gone(known)
            in_shards = all(_shard(name) for name in self._changed(known))
            there = {} if in_shards and not gone else self._list()  # a list of a large store is many requests
            while not self._is_stored(known, there):
                there = self._list()
            for name in gone:
                if name in known and name in there and there[name].version == known.pop(name)[2]:
                    remove(f"{self.address}/{name}")

    def _is_stored(self, known: Known, there: dict[str, RemoteFile]) -> bool:
        """Store what is new; ``False`` if another machine took the number of a shard in this moment."""
        self._make_way(known, there)
        changed = self._changed(known)
        self._check_unwritten(changed, known, there)
        for name in changed:
            over = there[name].version if name in there and _shard(name) is None else ""
            state = _state(self.folder / name)
            try:
                known[name] = [*state, upload(self.folder / name, f"{self.address}/{name}", over)]
            except Taken:
                if _shard(name) is None:
                    raise
                return False
        return True

    def _make_way(self, known: Known, there: dict[str, RemoteFile]) -> None:
        """Raise the numbers of shards that are not stored yet, if another machine has taken one of them.

        All by as much, so that their order stays, in which later rows replace earlier ones.
        """
        new = sorted({shard for name in self._changed(known) if (shard := _shard(name))}, key=_generation)
        if not any(self._is_taken(shard, known, there) for shard in new):
            return
        folder = self.folder / SEALED
        taken = {_shard(name) for name in there} | {path.name for path in folder.iterdir()} - {*new}
        step = next(step for step in count(1) if not taken & {_raised(shard, step) for shard in new})
        for shard in reversed(new):
            (folder / shard).rename(folder / _raised(shard, step))
            for name in [name for name in known if _shard(name) == shard]:
                del known[name]

    def _is_taken(self, shard: str, known: Known, there: dict[str, RemoteFile]) -> bool:
        """Whether a shard of this number, but with other content, is there, perhaps in part."""
        found = [(self.folder / name, name, file) for name, file in there.items() if _shard(name) == shard]
        found.sort(key=lambda one: one[2].size)
        return not all(path.exists() and self._is_equal(name, known, file) for path, name, file in found)

    def _is_equal(self, name: str, known: Known, file: RemoteFile) -> bool:
        path = self.folder / name
        return known.get(name) == [*_state(path), file.version] or is_same(path, file)

    def _check_unwritten(self, changed: list[str], known: Known, there: dict[str, RemoteFile]) -> None:
        """Check, before anything is stored, that nothing that is replaced was also changed there."""
        for name in changed:
            if name in there and _shard(name) is None and not self._is_known(name, known, there[name]):
                raise Taken(
                    f"{self.address}/{name}: another command has written it since this one read it; nothing was "
                    f"stored, and what is new here stays in {self.folder}; run it again to continue from what is "
                    "there, or name another address"
                )

    def _is_known(self, name: str, known: Known, file: RemoteFile) -> bool:
        """Whether what is there is what was last read or stored here, or what is to be stored."""
        return known.get(name, [None] * 3)[2] == file.version or is_same(self.folder / name, file)

    def _changed(self, known: Known) -> list[str]:
        """The files here that are not stored, in the order in which they are to be."""
        names = [name for name in self._names() if known.get(name, [None] * 3)[:2] != _state(self.folder / name)]
        return sorted(names, key=_order)

    def _gone(self, known: Known) -> list[str]:
        """The files that were removed here; a shard that is gone as a whole was lost, and is brought back by a pull."""
        return [
            name
            for name in known
            if not (path := self.folder / name).exists() and (_shard(name) is None or path.parent.exists())
        ]

    def _list(self) -> dict[str, RemoteFile]:
        """The files there by relative name."""
        files = {self._name(file): file for file in list_files(self.address)}
        for name in files:
            if name != PurePosixPath(name).as_posix() or {"..", "."} & set(PurePosixPath(name).parts):
                raise DataError(f"{self.address}/{name}: not a name that mien writes, so this is not its folder")
        return files

    def _name(self, file: RemoteFile) -> str:
        """The name of a file there, relative to the folder."""
        return file.address[len(self.address) + 1 :]

    def _is_new(self, name: str, file: RemoteFile, known: Known) -> bool:
        return known.get(name, [None] * 3)[2] != file.version or not (self.folder / name).exists()

    def _check_room(self, files: list[RemoteFile]) -> None:
        size, free = sum(file.size for file in files), shutil.disk_usage(self.folder).free
        if size > free:
            raise OutputError(
                f"{self.address}: {in_bytes(size)} to copy, but {in_bytes(free)} are free at {self.folder}; make room, "
                "or choose another place with MIEN_CACHE"
            )

    def _fetch(self, file: RemoteFile, known: Known) -> None:
        name = self._name(file)
        path = self.folder / name
        part = self.folder.parent / "incoming"
        part.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        found = download(file.address, part)
        part.replace(path)
        known[name] = [*_state(path), found.version]

    def _names(self) -> list[str]:
        """Files of the copy that belong there: without locks, temporary files, and what stays here.

        Nor are files of a shard without its list: it is one that a pull was killed in, since the list comes last.
        """
        paths = [path for path in sorted(self.folder.rglob("*")) if path.is_file()]
        names = [path.relative_to(self.folder) for path in paths]
        mine = [n.as_posix() for n in names if n.parts[0] not in LOCAL and not any(map(_is_private, n.parts))]
        sealed = {_shard(name) for name in mine if _is_seal(name)}
        return [name for name in mine if _shard(name) in {None, *sealed}]

    def _known(self) -> Known:
        if not self._record.exists():
            return {}
        try:
            return read_checksummed(self._record)["files"]
        except (DataError, KeyError):
            return {}  # then everything is fetched again

    @contextmanager
    def _keeping(self, known: Known) -> Iterator[None]:
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


def _that_count(files: dict[str, RemoteFile]) -> dict[str, RemoteFile]:
    """Without those of shards that are not complete."""
    sealed = {_shard(name) for name in files if _is_seal(name)}
    return {name: file for name, file in files.items() if _shard(name) in {None, *sealed}}


def _shard(name: str) -> str | None:
    """The shard that a file belongs to."""
    parts = PurePosixPath(name).parts
    return parts[1] if parts[0] == SEALED and len(parts) == 3 else None


def _generation(shard: str) -> tuple[int, str]:
    generation = shard.rpartition("-")[2]
    return int(generation) if generation.isdecimal() else 0, shard


def _raised(shard: str, step: int) -> str:
    return f"{shard.rpartition('-')[0]}-{_generation(shard)[0] + step}"


def _is_seal(name: str) -> bool:
    return PurePosixPath(name).name == SUMS


def _order(name: str) -> tuple[bool, int, str]:
    """Lists of checksums last, those of newer generations first: an older shard may lack arrays that they replace."""
    return _is_seal(name), -_generation(_shard(name) or "")[0], name


def _is_private(part: str) -> bool:
    return part == LOCK or is_part(part)
