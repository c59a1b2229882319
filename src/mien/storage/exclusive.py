"""Exclusive writing: a store, a run or a study is written by one process at a time.

The lock is ``flock`` on the file ``.lock``; the kernel releases it when the process ends, so a lock is never stale.
Reading needs no lock, because files and folders are renamed into place. Only the holder of the lock removes temporary
files that a killed process left.

The folder may contain anything. The folder itself may be a link; below it, no link is followed for writing or
deleting: a folder that contains one is refused before anything in it is changed.
"""

import errno
import fcntl
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.errors import InUse
from mien.storage.files import is_part, writing

LOCK = ".lock"
_HOLDER = "process "


@contextmanager
def exclusive_writer(folder: Path) -> Iterator[None]:
    """Create a folder and hold its lock.

    Raises:
        InUse: another process holds the lock; the message names it.
        OutputError: the folder cannot be created or written, or contains a link.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = open_lock(folder)
    try:
        _acquire(folder, handle)
        yield
        with writing(folder):
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create a folder and hold its lock, waiting for another process that holds it.

    Raises:
        OutputError: the folder cannot be created or written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    handle = open_lock(folder)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def open_lock(folder: Path) -> int:
    """Open the file ``.lock`` of a folder for ``flock``; it is created if needed, and its content is not changed.

    Raises:
        OutputError: it cannot be created, is a link (symbolic or hard), or is not a regular file.
    """
    path = folder / LOCK
    with writing(path):
        if path.is_symlink():
            raise OSError(errno.ELOOP, "a link, which is not followed here", str(path))
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        handle = os.open(path, flags, 0o644)
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            os.close(handle)
            raise OSError(errno.EINVAL, "not a lock file of mien", str(path))
    return handle


def _acquire(folder: Path, handle: int) -> None:
    holder = os.pread(handle, 200, 0).decode(errors="replace").strip()
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        line = (
            f"{folder}: {holder or 'another process'} is writing to it; wait until it has ended, or name another folder"
        )
        raise InUse(line) from error
    if holder and not holder.startswith(_HOLDER):
        with writing(folder / LOCK):
            raise OSError(errno.EINVAL, "not a lock file of mien", str(folder / LOCK))
    refuse_links(folder)
    with writing(folder):
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{_HOLDER}{os.getpid()} on {socket.gethostname()}".encode(), 0)
        sweep(folder)


def refuse_links(folder: Path) -> None:
    """Check that a folder contains no symbolic link, at any depth; the folder itself may be one.

    Raises:
        OutputError: it contains one; the message names it.
    """
    folders = [folder]
    with writing(folder):
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    refuse_link(Path(entry.path))
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))


def refuse_link(path: Path) -> None:
    """Check that a path to write to is not a symbolic link.

    Raises:
        OutputError: it is one.
    """
    if path.is_symlink():
        with writing(path):
            raise OSError(errno.ELOOP, "a link, which is not followed here", str(path))


def sweep(folder: Path) -> None:
    """Remove the temporary files and folders of killed writers, recognised by their names."""
    for left in sorted(path for path in folder.rglob(".*") if is_part(path.name)):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)
