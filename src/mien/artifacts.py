"""Files that are either whole or not there, and keys that change when, and only when, the content does.

Only safetensors, npy (never pickled), Parquet and JSON are written or read. A write goes to a temporary name beside
its target, is flushed to the disk, and is renamed onto it: a reader sees the old file or the new one. What a killed
process leaves under a temporary name is removed by the next one that writes the same file, or opens the folder to
write (``ownership.py``). That what is read is what was written is checked by ``checksums.py``.
"""

import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mien.errors import DataError, OutputError

PART = ".part"
"""How the name of what is not finished ends; it begins with a dot and the name of its target."""

_ADVICE = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "allow larger files",
    errno.EROFS: "name another place",
    errno.EACCES: "name another place, or have it opened for you",
    errno.EPERM: "name another place, or have it opened for you",
}

LARGEST_BYTES = 1_000_000_000
"""Of a file that is read as a whole."""


def cache_folder() -> Path:
    """Where weights are kept: ``$MIEN_CACHE``, else ``$XDG_CACHE_HOME/mien``, else ``~/.cache/mien``."""
    if chosen := os.environ.get("MIEN_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mien"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key_of(*parts: Any) -> str:
    """A short content key of JSON-like values: equal values give equal keys, whatever the order of mappings.

    >>> key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    True
    >>> key_of("ab", "c") == key_of("a", "bc")
    False
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a disk that is full, read-only or not ours into one line that names ``path``.

    Raises:
        OutputError: writing failed.
    """
    try:
        yield
    except OSError as error:
        said = os.strerror(error.errno) if error.errno else f"{error}; is the disk full?"
        advice = _ADVICE.get(error.errno or 0, "make room, or name another place")
        line = f"{path}: cannot be written ({said}); {advice}, and run it again: what was finished stays"
        raise OutputError(line) from error


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; on leaving it becomes ``path``, on an exception it is removed.

    Raises:
        OutputError: the disk is full or read-only, or the place is not ours.
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
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` to fill; on leaving it becomes ``path``, replacing what stood there.

    Raises:
        OutputError: the disk is full or read-only, or the place is not ours.
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
            _land(part, path)
        finally:
            if part.exists():
                shutil.rmtree(part)


def _land(part: Path, path: Path) -> None:
    """Rename a finished folder onto its place; what stands there is put aside first, never left half removed."""
    while True:
        try:
            part.rename(path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent))
        if path.exists():  # another process may have put it aside in the meantime
            path.rename(aside)
        shutil.rmtree(aside)


def _begin(path: Path) -> tuple[int, Path]:
    """A new temporary file beside ``path``, held by a lock, which says that somebody alive is at work on it."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # another writer took it for left behind, in the moment before it was held


def _remove_left(path: Path) -> None:
    """Remove the unfinished files of killed writers of ``path``: those that no living process holds."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{PART}"):
        try:
            handle = os.open(left, os.O_RDWR)
        except OSError:  # gone already, or a folder's: ``ownership.py`` sees to those
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink(missing_ok=True)
        except BlockingIOError:
            continue
        finally:
            os.close(handle)


def contents(path: Path) -> bytes:
    """All bytes of a file that somebody brought.

    Raises:
        DataError: it cannot be read, is no regular file (one may never end), or is larger than any such file should be.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path}: {'not a regular file' if path.exists() else 'cannot be read (no such file)'}")
        if (size := path.stat().st_size) > LARGEST_BYTES:
            raise DataError(f"{path}: {size / 1e9:.1f} GB, but at most {LARGEST_BYTES / 1e9:g} GB are read at once")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, indented, with a final newline, atomically."""
    with atomic_file(path) as part:
        part.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file is missing or is not JSON.
    """
    try:
        return json.loads(contents(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({error})") from error
