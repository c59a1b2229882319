"""One writer: a store, a run or a study is written by one process at a time; a second one is told who has it.

The lock is the system's own (``flock`` on ``.lock``) and goes with its process, however that ends, so there is never a
stale one to remove. Reading needs no lock: files and folders appear whole. Who holds the lock, and only they, may
remove what a killed process left under temporary names.
"""

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.artifacts import PART, writing
from mien.errors import InUse

LOCK = ".lock"


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Make a folder and be its only writer.

    Raises:
        InUse: another process is; the message says which.
        OutputError: it cannot be made or written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(folder, handle)
        yield
        with writing(folder):
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _take(folder: Path, handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(handle, 200, 0).decode(errors="replace").strip() or "another process"
        raise InUse(f"{folder}: {holder} is writing to it; wait until it has ended, or name another folder") from error
    with writing(folder):
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        sweep(folder)


def sweep(folder: Path) -> None:
    """Remove the half-written files and folders of killed writers."""
    for left in sorted(folder.rglob(f".*{PART}")):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)
