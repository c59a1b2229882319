"""Object storage: files with an address such as ``s3://bucket/folder/clip.mp4`` are fetched and stored whole.

    list_files("s3://bucket/folder")            every file below it
    download(address, file, most=1_000_000)     in bounded pieces; never more than ``most`` bytes
    upload(file, address)                       appears at its address complete, or not at all

Nothing is overwritten that was not seen: ``upload`` creates an object, or replaces the version that the caller names.
The service checks that in the same request, so it holds between machines, without locks. One that ignores the condition
is found out by the first small file: it is created twice, and the second time has to be refused.

The trade-off: ``obstore`` instead of ``pyarrow.fs``, which is there anyway but has no conditional write. It reads no
``~/.aws``, so ``credentials.py`` does, and lists no folder with a key that is no path (``a//b``).
"""

import mmap
import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import DataError, DependencyMissing, OutputError, Taken
from mien.storage.addresses import bucket_of, parent, parts_of
from mien.storage.credentials import s3_credentials
from mien.storage.files import in_bytes, writing

if TYPE_CHECKING:
    from obstore.store import ObjectStore

MOST_FILES = 10_000_000
"""Files that are listed of one folder."""

_SAID = re.compile(r"<Code>([^<]+)</Code>\s*<Message>([^<]+)</Message>")
_UNREACHED = re.compile(r'performing \w+ (\w+://[^/\s]+).*kind: Connect,.*(?:message|error): "([^"]+)"', re.DOTALL)
_UNCONDITIONAL = re.compile(r"\b501 Not Implemented|NotImplemented|InvalidArgument|InvalidRequest|not supported")
_BLOCK = 8 << 20

_SMALL = 1 << 20
"""The most bytes that are sent twice to see whether a service refuses the second."""
_REFUSING: set[str] = set()
"""Buckets of services that did."""

_SECONDS = {"reading": "2m", "storing": "1h"}
"""For one request: a piece of 8 MB is read in one, but a whole file is stored in one."""

_RETRIES = 7
"""After the first try, for faults of the server or the connection; twelve seconds at most between them."""


@dataclass(frozen=True)
class RemoteFile:
    """A file in object storage.

    Attributes:
        address: of the file.
        size: in bytes.
        changed: its modification time in nanoseconds, whole seconds.
        version: its ETag without quotes, which not all services write everywhere; another one after each write.
    """

    address: str
    size: int
    changed: int
    version: str


def find(address: str) -> RemoteFile | None:
    """Size and time of a file; ``None`` if there is no file at this address.

    Raises:
        DataError: the address is malformed, or its storage cannot be reached or refuses.
    """
    obstore = _obstore()
    with _reading(address):
        store, key = _open(address)
        try:
            return _remote_file(address, obstore.head(store, key)) if key else None
        except FileNotFoundError:
            return None


def list_files(folder: str) -> list[RemoteFile]:
    """Every file below a folder, sorted by address; none if there is no such folder.

    Raises:
        DataError: as for ``find``, there are more than ``MOST_FILES``, or a key is no path.
    """
    obstore = _obstore()
    found: dict[str, RemoteFile] = {}
    with _reading(folder):
        store, prefix = _open(folder)
        for items in obstore.list(store, prefix or None, chunk_size=1000):
            for item in items:
                address = f"{bucket_of(folder)}/{item['path']}"
                found[address] = _remote_file(address, item)
            if len(found) > MOST_FILES:
                raise DataError(f"{folder}: more than {MOST_FILES:,} files; name a folder in it")
    folders = {parent(address) for address in found}
    files = (file for address, file in sorted(found.items()) if address not in folders)
    return [file for file in files if file.size or find(file.address)]  # an object a/ is listed like an empty file a


def _remote_file(address: str, found: Any) -> RemoteFile:
    changed = int(found["last_modified"].timestamp()) * 10**9
    return RemoteFile(address, found["size"], changed, _version(found))


def _version(found: Any) -> str:
    return (found["e_tag"] or "").strip('"')


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
            for block in _blocks(found):
                out.write(block)
                check()
        os.utime(to, ns=(found.changed, found.changed))
    return found


def _blocks(file: RemoteFile) -> Iterator[bytes]:
    """The bytes of a file: each piece is a request of its own, for this version."""
    obstore = _obstore()
    for begin in range(0, file.size, _BLOCK):
        with _reading(file.address):
            store, key = _open(file.address)
            wanted: Any = {"range": (begin, min(begin + _BLOCK, file.size)), "if_match": f'"{file.version}"'}
            try:
                block = bytes(obstore.get(store, key, options=wanted).bytes())
            except (obstore.exceptions.PreconditionError, FileNotFoundError) as error:
                line = f"{file.address}: was written to while it was read; run it again when that is done"
                raise DataError(line) from error
        yield block


def upload(file: Path, address: str, over: str = "") -> str:
    """Store a local file at an address where nothing is, or the version ``over``; it appears complete or not at all.

    It is one request, in a thread that Ctrl-C does not reach. If the same bytes are there already, that is success:
    perhaps they are ours, and the answer was lost.

    Returns:
        The version that is there now.

    Raises:
        Taken: something else is there; nothing was changed.
        OutputError: its storage cannot be reached or refuses.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_upload, file, address, over).result()


def _upload(file: Path, address: str, over: str) -> str:
    obstore = _obstore()
    with _storing(address):
        store, key = _open(address, "storing")
        try:
            mode = _mode(store, key, over)
            made = obstore.put(store, key, _content(file), mode=mode, use_multipart=False)
        except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError) as error:
            found = find(address)
            if found is None or not is_same(file, found):
                raise Taken(f"{address}: another command has written it; nothing there was changed") from error
            return found.version
        if mode == "create" and bucket_of(address) not in _REFUSING and file.stat().st_size <= _SMALL:
            _check_service(store, key, file, address)
    return _version(made)


def _check_service(store: "ObjectStore", key: str, file: Path, address: str) -> None:
    """Create again what was just created.

    Raises:
        OutputError: it can be done.
    """
    obstore = _obstore()
    with suppress(obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
        obstore.put(store, key, _content(file), mode="create", use_multipart=False)
        raise OutputError(
            f"{address}: this service replaces what it was told only to create (it ignores If-None-Match), so commands "
            "would overwrite each other's work; write to another one, or to a disk"
        )
    _REFUSING.add(bucket_of(address))


def _content(file: Path) -> bytes | mmap.mmap:
    with file.open("rb") as source:
        return mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) if file.stat().st_size else b""


def _mode(store: "ObjectStore", key: str, over: str) -> Any:
    """The condition of a write; some services know versions by another name, which they are asked for."""
    obstore = _obstore()
    if not over:
        return "create"
    try:
        found = obstore.head(store, key)
    except FileNotFoundError:
        return "create"
    if _version(found) != over:
        raise obstore.exceptions.PreconditionError(f"{found['e_tag']} is there")
    seen = {"e_tag": found["e_tag"]}
    return seen | {"version": found["version"]} if found["version"] else seen


def is_same(file: Path, there: RemoteFile) -> bool:
    """Whether a local file has the bytes of one in object storage.

    Raises:
        DataError: it is written to meanwhile, or its storage cannot be reached or refuses.
    """
    if file.stat().st_size != there.size:
        return False
    with file.open("rb") as here:
        return all(here.read(len(block)) == block for block in _blocks(there))


def remove(address: str) -> None:
    """Remove a file, if it exists.

    Raises:
        OutputError: its storage cannot be reached or refuses.
    """
    obstore = _obstore()
    with _storing(address), suppress(FileNotFoundError):
        obstore.delete(*_open(address))


def _open(address: str, work: str = "reading") -> "tuple[ObjectStore, str]":
    scheme, bucket, key = parts_of(address)
    return _store(scheme, bucket, _SECONDS[work]), key


@cache
def _store(scheme: str, bucket: str, seconds: str) -> "ObjectStore":
    return _obstore().store.from_url(
        f"{scheme}://{bucket}",
        config=s3_credentials() if scheme == "s3" else None,
        client_options={"allow_http": True, "timeout": seconds},
        retry_config={"max_retries": _RETRIES},
    )


def _obstore() -> Any:
    try:
        import obstore.exceptions  # noqa: PLC0415
        import obstore.store  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise DependencyMissing("object storage needs obstore; pip install 'mien[cloud]' brings it") from error
    return obstore


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
        line = f"{address}: cannot be written ({_reason(error)}); {_advice(error)}: what was finished stays"
        raise OutputError(line) from error


def _failures() -> tuple[Any, ...]:
    return OSError, _obstore().exceptions.BaseError, ValueError


def _advice(error: Exception) -> str:
    if _UNCONDITIONAL.search(str(error)):
        return "if this service lacks conditional writes (If-None-Match), write to another one, or to a disk"
    return "run it again"


def _reason(error: Exception) -> str:
    """What the service says, without the request."""
    if unreached := _UNREACHED.search(str(error)):
        return f"no connection to {unreached[1]}: {unreached[2]}; is this its address, and the network up?"
    said = _SAID.search(str(error))
    text = f"{said[1]}: {said[2]}" if said else str(error).partition("Debug source")[0]
    text = " ".join(text.split())
    return text if len(text) <= 300 else f"{text[:200]} … {text[-90:]}"
