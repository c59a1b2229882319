"""Files that are either whole or not there, and keys that change when, and only when, the content does.

Only safetensors, npy (never pickled), Parquet and JSON are written or read. A write goes to a temporary name beside
its target, is flushed to the disk, and is renamed onto it: a reader sees the old file or the new one.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mien.errors import DataError

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
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; on leaving it becomes ``path``, on an exception it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` to fill; on leaving it becomes ``path``, replacing what stood there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield part
        part.chmod(0o755)
        for written in part.rglob("*"):
            if written.is_file():
                with written.open("rb") as file:
                    os.fsync(file.fileno())
        if path.exists():
            shutil.rmtree(path)
        part.replace(path)
    finally:
        if part.exists():
            shutil.rmtree(part)


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
