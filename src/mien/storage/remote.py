"""Object storage: files with an address such as ``s3://bucket/folder/clip.mp4`` are fetched and stored whole.

    list_files("s3://bucket/folder")            every file below it
    download(address, file, most=1_000_000)     in bounded pieces; never more than ``most`` bytes
    upload(file, address)                       appears at its address complete, or not at all

An address is text, and never a ``Path``: so no name of a file or folder is ever taken for one. It has a scheme, a
bucket (or a container with its account) and a key, and nothing else: endpoint, region and credentials come from the
environment, as for other tools of these services (``docs/how-to/object-storage.md``), and never from an address,
which may be a stranger's.

The trade-off: ``pyarrow.fs`` and no client of its own, so nothing more is installed; it has no conditional write, so
two writers of one address are not kept apart: the last one wins, with a complete file.
"""

import os
import posixpath
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import DataError, OutputError
from mien.storage.files import in_bytes, writing

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

SCHEMES = ("s3", "gs", "abfs", "abfss")

MOST_FILES = 10_000_000
"""Files that are listed of one folder."""

_ADDRESS = re.compile(r"([a-z0-9]+)://([A-Za-z0-9][A-Za-z0-9._-]*(?:@[A-Za-z0-9][A-Za-z0-9.-]*)?)(?:/(.*))?", re.DOTALL)
_BEGIN = re.compile(rf"(?:{'|'.join(SCHEMES)})://")
_BLOCK = 8 << 20


@dataclass(frozen=True)
class RemoteFile:
    """A file in object storage: its address, its size in bytes, and its modification time in nanoseconds."""

    address: str
    size: int
    changed: int


def is_address(name: object) -> bool:
    """Whether a name is text that begins like an address.

    >>> is_address("s3://bucket/clip.mp4"), is_address("clip.mp4"), is_address(Path("s3://bucket/clip.mp4"))
    (True, False, False)
    """
    return isinstance(name, str) and _BEGIN.match(name) is not None


def mentions_address(word: str) -> bool:
    """Whether a word of a command line holds an address, also after ``--option=``."""
    return _BEGIN.search(word) is not None


def join(folder: str, name: str) -> str:
    """The address of a file in a folder, by its relative name.

    Raises:
        DataError: the name leads out of the bucket, or is absolute.

    >>> join("s3://bucket/data", "clips/../a.mp4")
    's3://bucket/data/a.mp4'
    """
    scheme, bucket, key = _parts(folder)
    found = posixpath.normpath(posixpath.join("/", key, name))
    climbs = posixpath.normpath(posixpath.join(key or ".", name)).startswith("..")
    if name.startswith("/") or climbs:
        raise DataError(f"{folder}: {name!r} does not lie in its bucket; expected a name relative to the table")
    return f"{scheme}://{bucket}{found}"


def parent(address: str) -> str:
    """The folder of a file.

    >>> parent("s3://bucket/data/clips.csv")
    's3://bucket/data'
    """
    scheme, bucket, key = _parts(address)
    return f"{scheme}://{bucket}/{posixpath.dirname(key)}".rstrip("/")


def bucket_of(address: str) -> str:
    """The address of the whole bucket."""
    scheme, bucket, _ = _parts(address)
    return f"{scheme}://{bucket}"


def name_of(address: str) -> str:
    """The last part of an address; its bucket, when it has no key."""
    return posixpath.basename(address.rstrip("/"))


def lies_in(address: str, place: str) -> bool:
    """Whether an address is a place or below it.

    >>> lies_in("s3://bucket/a/b.mp4", "s3://bucket/a"), lies_in("s3://bucket/ab.mp4", "s3://bucket/a")
    (True, False)
    """
    return address == place or address.startswith(f"{place.rstrip('/')}/")


def find(address: str) -> RemoteFile | None:
    """Size and time of a file; ``None`` if there is no file at this address.

    Raises:
        DataError: the address is malformed, or its storage cannot be reached or refuses.
    """
    with _reading(address):
        filesystem, path = _open(address)
        info = filesystem.get_file_info(path)
    return RemoteFile(address, info.size, info.mtime_ns) if info.is_file else None


def list_files(folder: str) -> list[RemoteFile]:
    """Every file below a folder, sorted by address; none if there is no such folder.

    Raises:
        DataError: as for ``find``, or there are more than ``MOST_FILES``.
    """
    from pyarrow.fs import FileSelector  # noqa: PLC0415

    with _reading(folder):
        filesystem, path = _open(folder)
        infos = filesystem.get_file_info(FileSelector(path, allow_not_found=True, recursive=True))
    if len(infos) > MOST_FILES:
        raise DataError(f"{folder}: {len(infos):,} files, but at most {MOST_FILES:,} are listed; name a folder in it")
    base = folder.rstrip("/")
    files = [RemoteFile(base + info.path[len(path) :], info.size, info.mtime_ns) for info in infos if info.is_file]
    return sorted(files, key=lambda file: file.address)


def download(address: str, to: Path, most: int | None = None, check: Callable[[], None] = lambda: None) -> RemoteFile:
    """Copy a file to a new local file, which gets its modification time.

    Args:
        address: of the file.
        to: does not exist yet.
        most: maximum size in bytes; ``None`` takes what the disk has room for.
        check: called between pieces; it may raise to give up.

    Raises:
        DataError: there is no such file, it is larger than ``most``, it was written to meanwhile, or its storage
            cannot be reached or refuses.
        OutputError: the disk has no room for it.
    """
    found = find(address)
    if found is None:
        raise DataError(f"{address}: no such file")
    if most is not None and found.size > most:
        raise DataError(f"{address}: {in_bytes(found.size)}, but at most {in_bytes(most)} are read")
    with writing(to):
        if found.size > (free := shutil.disk_usage(to.parent).free):
            raise OutputError(f"{to.parent}: {in_bytes(free)} are free, but {address} has {in_bytes(found.size)}")
        with to.open("xb") as out:
            for block in _blocks(address, found.size):
                out.write(block)
                check()
        os.utime(to, ns=(found.changed, found.changed))
    return found


def _blocks(address: str, size: int) -> Iterator[bytes]:
    """The bytes of a file, which are checked to be of one version: each piece is a request of its own."""
    with _reading(address):
        filesystem, path = _open(address)
        with filesystem.open_input_file(path) as source:
            version, taken = source.metadata(), 0
            while taken < size and (block := source.read(min(_BLOCK, size - taken))):
                taken += len(block)
                yield block
        with filesystem.open_input_file(path) as source:
            unchanged = source.size() == taken == size and source.metadata() == version
    if not unchanged:
        raise DataError(f"{address}: was written to while it was read; run it again when that is done")


def upload(file: Path, address: str) -> RemoteFile:
    """Store a local file at an address, replacing what is there; it appears complete or not at all.

    A stream that an exception ends would store what it has got. So the file is written in one call, in a thread that
    Ctrl-C does not reach, from mapped memory; a killed process completes no upload.

    Returns:
        The file there.

    Raises:
        OutputError: its storage cannot be reached or refuses.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_upload, file, address).result()


def _upload(file: Path, address: str) -> RemoteFile:
    import pyarrow as pa  # noqa: PLC0415

    size = file.stat().st_size
    with _storing(address):
        filesystem, path = _open(address)
        whole = pa.memory_map(str(file)).read_buffer() if size else pa.py_buffer(b"")
        with filesystem.open_output_stream(path) as stream:
            stream.write(whole)
        info = filesystem.get_file_info(path)
        if info.size != size:
            raise OSError("it has another size afterwards")
    return RemoteFile(address, size, info.mtime_ns)


def remove(address: str) -> None:
    """Remove a file, if it exists.

    Raises:
        OutputError: its storage cannot be reached or refuses.
    """
    with _storing(address):
        filesystem, path = _open(address)
        if filesystem.get_file_info(path).is_file:
            filesystem.delete_file(path)


def _open(address: str) -> "tuple[FileSystem, str]":
    scheme, bucket, key = _parts(address)
    filesystem, base = _filesystem(scheme, bucket)
    return filesystem, f"{base}/{key}".rstrip("/")


@cache
def _filesystem(scheme: str, bucket: str) -> "tuple[FileSystem, str]":
    from pyarrow.fs import FileSystem  # noqa: PLC0415

    filesystem, base = FileSystem.from_uri(f"{scheme}://{bucket}")
    return filesystem, base.rstrip("/")


def _parts(address: str) -> tuple[str, str, str]:
    """Scheme, bucket and key."""
    found = _ADDRESS.fullmatch(address)
    if found is None or found[1] not in SCHEMES:
        raise DataError(f"{address}: not an address; expected s3://BUCKET/KEY (or gs:, abfs:), without a password")
    return found[1], found[2], (found[3] or "").rstrip("/")


@contextmanager
def _reading(address: str) -> Iterator[None]:
    try:
        yield
    except _failures() as error:
        raise DataError(f"{address}: cannot be read ({_reason(error)})") from error


@contextmanager
def _storing(address: str) -> Iterator[None]:
    try:
        yield
    except _failures() as error:
        line = f"{address}: cannot be written ({_reason(error)}); run it again: what was finished stays"
        raise OutputError(line) from error


def _failures() -> tuple[Any, ...]:
    import pyarrow as pa  # noqa: PLC0415

    return OSError, pa.ArrowException, ValueError


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:200]} … {text[-90:]}"
