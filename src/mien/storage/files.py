"""Atomic files and folders, content keys, and safe opening of untrusted files.

Only safetensors, npy (never pickled), Parquet and JSON are written or read. A write goes to a temporary file beside
its target, is flushed to the disk, and is renamed onto it: a reader sees the old file or the new one. Temporary files
of a killed process are removed by the next process that writes the same file or locks the folder
(``storage/exclusive.py``). Checksums are in ``storage/checksums.py``.

Every file from outside is opened by ``open_regular``, so that a FIFO or device cannot block a reader.
"""

import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from mien.errors import DataError, OutputError

PART = ".mien"
"""Suffix of temporary names, which begin with a dot and the name of their target."""

_PART_NAME = re.compile(r"\..+\.[a-z0-9_]{8}" + re.escape(PART))

_ADVICE = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "allow larger files",
    errno.EROFS: "name another place",
    errno.EACCES: "name another place, or have it opened for you",
    errno.EPERM: "name another place, or have it opened for you",
    errno.ELOOP: "put what it points to in its place, or name another place",
    errno.EINVAL: "move it away, or name another place",
    errno.EEXIST: "move it away, or name another place",
    errno.EISDIR: "move it away, or name another place",
}

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""How a file begins that stands for one which Git LFS has not fetched yet (Git LFS specification, *The Pointer*)."""

LARGEST_POINTER = 1024
"""Bytes of a pointer of Git LFS."""

LARGEST_BYTES = 1_000_000_000
"""Bytes of a file that is read as a whole."""

LARGEST_JSON = 100_000_000
"""Bytes of a JSON file; its values take several times as much memory."""


def cache_folder() -> Path:
    """The weights cache: ``$MIEN_CACHE``, else ``$XDG_CACHE_HOME/mien``, else ``~/.cache/mien``."""
    if chosen := os.environ.get("MIEN_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mien"


def open_regular(path: Path, most: int | None = None, follow: bool = True) -> BufferedReader:
    """Open a regular file for reading; a FIFO, socket, device or folder is refused, so that reading never blocks.

    The opened handle is checked too, in case the file is replaced in between.

    Args:
        path: the file.
        most: maximum size in bytes; ``None`` takes any size.
        follow: whether ``path`` itself may be a symbolic link.

    Raises:
        OSError: it cannot be opened, is not a regular file, or is larger than ``most``; ``strerror`` says which.
    """
    _check_regular(path, Path(path).stat(follow_symlinks=follow), most)  # before opening: a device is never opened
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    handle = os.open(path, flags)
    try:
        _check_regular(path, os.fstat(handle), most)
        os.set_blocking(handle, True)
    except BaseException:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def _check_regular(path: Path, found: os.stat_result, most: int | None) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a folder, expected a file", str(path))
    if not stat.S_ISREG(found.st_mode):
        reason = "a link, which is not followed here" if stat.S_ISLNK(found.st_mode) else "not a regular file"
        raise OSError(errno.EINVAL, reason, str(path))
    if most is not None and found.st_size > most:
        raise OSError(errno.EFBIG, f"{in_bytes(found.st_size)}, but at most {in_bytes(most)} are read", str(path))


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is a pointer of Git LFS and not the file itself; ``False`` if it cannot be read."""
    try:
        if path.stat().st_size > LARGEST_POINTER:
            return False
        with open_regular(path) as file:
            return file.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError:
        return False


def in_bytes(size: int) -> str:
    """A size for messages.

    >>> in_bytes(1_100_000_000_000), in_bytes(10_000_000), in_bytes(1234)
    ('1100 GB', '10 MB', '1234 B')
    """
    steps = ((1e9, "GB"), (1e6, "MB"))
    return next((f"{size / unit:.4g} {name}" for unit, name in steps if size >= unit), f"{size} B")


def sha256_of(path: Path, most: int | None = None, follow: bool = True) -> str:
    """The SHA-256 of a regular file's bytes, in hexadecimal, read in blocks."""
    with open_regular(path, most, follow) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key_of(*parts: Any) -> str:
    """A content key of JSON-like values; the order of keys in mappings does not matter.

    >>> key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    True
    >>> key_of("ab", "c") == key_of("a", "bc")
    False
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` of writing (disk full, read-only, no permission) into one line that names ``path``.

    Raises:
        OutputError: writing failed.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or f"{error}; is the disk full?"
        advice = _ADVICE.get(error.errno or 0, "make room, or name another place")
        line = f"{path}: cannot be written ({reason}); {advice}, and run it again: what was finished stays"
        raise OutputError(line) from error


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it is renamed to ``path`` at the end of the block, or removed on an exception.

    Raises:
        OutputError: the disk is full or read-only, or permission is denied.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left(path)
        handle, part = _begin(path)
        try:
            yield part
            os.fsync(handle)
            part.chmod(0o644)
            part.replace(path)
        finally:
            os.close(handle)
            part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(
    path: Path, ours: Collection[str] = (), keep: Callable[[Path], bool] = lambda _: False
) -> Iterator[Path]:
    """A temporary folder to fill; it is renamed to ``path`` at the end of the block, replacing an older version.

    Args:
        path: the final path.
        ours: names of files that an older version may contain besides those written now.
        keep: whether the older version stays, and the new one is dropped: another process was faster.

    Raises:
        OutputError: the disk is full or read-only, permission is denied, or ``path`` is a link or a folder with other
            files in it.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent))
        try:
            yield part
            part.chmod(0o755)
            for written in part.rglob("*"):
                if written.is_file():
                    with written.open("rb") as file:
                        os.fsync(file.fileno())
            _land(part, path, {*ours, *(entry.name for entry in part.iterdir())}, keep)
        finally:
            if part.exists():
                shutil.rmtree(part)


def _land(part: Path, path: Path, ours: set[str], keep: Callable[[Path], bool]) -> None:
    """Rename a finished folder to its path; an older one is moved aside first, so it is never seen half removed."""
    while True:
        check_only(path, ours.__contains__)
        try:
            part.rename(path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if keep(path):
            return
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent))
        if path.exists():  # another process may have moved it aside in the meantime
            path.rename(aside)
        shutil.rmtree(aside)


def check_only(folder: Path, ours: Callable[[str], bool]) -> None:
    """Check that a folder that is about to be deleted, if it exists, contains only files of ours.

    Args:
        folder: the folder.
        ours: whether a file name is one that mien writes there.

    Raises:
        OSError: it is a link, or contains something else; ``strerror`` names it.
    """
    if folder.is_symlink():
        raise OSError(errno.ELOOP, "a link, which is not followed here", str(folder))
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_file(follow_symlinks=False) or not ours(entry.name):
                raise OSError(errno.EEXIST, f"{entry.name} in it is not of mien, so it is not replaced", str(folder))


def is_part(name: str) -> bool:
    """Whether a file name is a temporary one of ours.

    >>> is_part(".scores.csv.x1y2z3_4.mien"), is_part(".clip.mp4.part")
    (True, False)
    """
    return _PART_NAME.fullmatch(name) is not None


def _begin(path: Path) -> tuple[int, Path]:
    """A new temporary file beside ``path``, locked as long as its writer lives."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # another writer removed it before it was locked


def _remove_left(path: Path) -> None:
    """Remove temporary files of killed writers of ``path``: those that no process has locked."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{PART}"):
        if not is_part(left.name):
            continue
        try:
            handle = open_regular(left, follow=False)
        except OSError:  # gone already, not ours, or a folder (removed by ``storage/exclusive.py``)
            continue
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            left.unlink(missing_ok=True)


def read_bytes_checked(path: Path, most: int = LARGEST_BYTES, follow: bool = True) -> bytes:
    """All bytes of an untrusted file; never more than it had when it was opened.

    Raises:
        DataError: it cannot be read, is not a regular file, or is larger than ``most``.
    """
    try:
        with open_regular(path, most, follow) as file:
            return file.read(os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


MALFORMED = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    NotImplementedError,
    StopIteration,
)
"""Exceptions that code raises when its input has the wrong type or structure."""


@contextmanager
def as_written(where: Path, remedy: str) -> Iterator[None]:
    """Turn the exceptions of using a damaged record into one line; for records with many parts, each used elsewhere.

    Raises:
        DataError: a part is missing, or has the wrong type.
    """
    try:
        yield
    except MALFORMED as error:
        raise DataError(f"{where}: damaged ({type(error).__name__}: {str(error)[:200]}); {remedy}") from error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, indented, with a final newline, atomically."""
    with atomic_file(path) as part:
        part.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path, most: int = LARGEST_JSON, expected: str = "") -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        most: maximum size in bytes.
        expected: what the file should be, for the message about one that is not JSON.

    Raises:
        DataError: the file is missing, larger than ``most`` bytes, or is not JSON.
    """
    try:
        return json.loads(read_bytes_checked(path, most).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        remedy = f"; expected {expected}" if expected else ""
        raise DataError(f"{path}: not valid JSON ({error}){remedy}") from error
