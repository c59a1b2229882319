"""Temporary folders for copies of private files; those of a killed process are removed when the next is made.

    with temporary_folder() as folder: ...

In ``TMPDIR`` it is ``mien-*`` with the files in ``files``, and beside them ``.mien-lock``, which its maker holds with
``flock``: the kernel releases it, however the process ends. It names the machine, because locks of some network file
systems are only valid on one.

The trade-off: a folder is removed only if it certainly is a left one: of this user and machine, private, unlocked, and
with nothing else in it. One that was killed before it had a lock, which is empty, stays.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

PREFIX = "mien-"
FILES = "files"
LOCK = ".mien-lock"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty folder that only this user can read; it is removed at the end of the block.

    Raises:
        OSError: the disk is full, or ``TMPDIR`` cannot be written.
    """
    for left in Path(gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another process removes it, or it is not ours
            _remove_left(left)
    with TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as made:
        handle = _lock(Path(made))
        try:
            (files := Path(made, FILES)).mkdir()
            yield files
        finally:
            shutil.rmtree(Path(made, FILES), ignore_errors=True)  # before the lock, without which nobody else would
            os.close(handle)


def _lock(folder: Path) -> int:
    """Lock a folder; the file gets its name when it is locked, so that no other process locks it first."""
    handle = os.open(folder / f"{LOCK}.new", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with suppress(OSError):  # a file system without locks: then only this process removes the folder
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(handle, _machine())
        (folder / f"{LOCK}.new").rename(folder / LOCK)
    return handle


def _remove_left(folder: Path) -> None:
    """Remove a folder if a killed process of this user left it; no link is followed.

    Raises:
        OSError: it is locked, has no lock, is a link or cannot be removed.
    """
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(at)
        is_ours = found.st_uid == os.geteuid() and found.st_mode & 0o777 == 0o700
        if not is_ours or not set(os.listdir(at)) <= {LOCK, FILES}:  # noqa: PTH208 - of a descriptor
            return
        lock = os.open(LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.read(lock, 1000) == _machine():
                shutil.rmtree(FILES, ignore_errors=True, dir_fd=at)
                os.unlink(LOCK, dir_fd=at)
                folder.rmdir()
        finally:
            os.close(lock)
    finally:
        os.close(at)


def _machine() -> bytes:
    return os.uname().nodename.encode()
