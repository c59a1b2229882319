"""Files in the cache, which only save time: where it may not be written, they are made anew each time."""

import errno
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mien.errors import OutputError
from mien.storage.exclusive import locked
from mien.storage.files import atomic_file, atomic_folder

UNUSED_DAYS = 90
"""A folder of the cache that was not used for so long goes when another is made: graphs of versions that have been
replaced, and backbones of models that have been deleted."""


def cached_folder(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder of the cache, made by the first process that needs it while others wait.

    Reading needs no lock, since it appears by one rename.

    Args:
        folder: in a folder of its kind, in which those that are no longer used are removed.
        make: fills it.

    Returns:
        The folder, marked as used.

    Raises:
        OutputError: it is not there and cannot be written.
    """
    if not folder.exists():
        with locked(folder.parent):
            if not folder.exists():
                with atomic_folder(folder) as part:
                    make(part)
                _remove_unused(folder.parent)
    with suppress(OSError):  # a cache that is only read
        os.utime(folder)
    return folder


def _remove_unused(folders: Path) -> None:
    for folder in list(folders.iterdir()):
        with suppress(OSError):  # of others, or gone already
            if folder.is_dir() and folder.stat().st_mtime < time.time() - UNUSED_DAYS * 86_400:
                gone = folder.rename(folder.with_name(f".{folder.name.lstrip('.')}"))  # no half of it is ever read
                shutil.rmtree(gone)


def write_cached(file: Path, content: bytes | memoryview) -> None:
    """Write a file of the cache, complete or not at all, or not, where it may not be written.

    Raises:
        OutputError: the disk is full.
    """
    try:
        with atomic_file(file) as part:
            part.write_bytes(content)
    except OutputError as error:
        raise_unless_read_only(error)


def raise_unless_read_only(error: OutputError) -> None:
    """Raise an error again, unless it says that the cache may not be written."""
    if getattr(error.__cause__, "errno", None) not in (errno.EROFS, errno.EACCES, errno.EPERM):
        raise error
