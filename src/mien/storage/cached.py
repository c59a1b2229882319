"""Files in the cache, which only save time: where it may not be written, they are made anew each time."""

import errno
from pathlib import Path

from mien.errors import OutputError
from mien.storage.files import atomic_file


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
