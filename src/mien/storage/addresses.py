"""Addresses of files in object storage, such as ``s3://bucket/folder/clip.mp4``.

An address is text, and never a ``Path``: so no name of a file or folder is ever taken for one. It has a scheme, a
bucket (or a container with its account) and a key, and nothing else: endpoint, region and credentials come from the
environment, as for other tools of these services (``docs/how-to/object-storage.md``), and never from an address,
which may be a stranger's.
"""

import posixpath
import re

from mien.errors import DataError

SCHEMES = ("s3", "gs", "abfs", "abfss")

_ADDRESS = re.compile(r"([a-z0-9]+)://([A-Za-z0-9][A-Za-z0-9._-]*(?:@[A-Za-z0-9][A-Za-z0-9.-]*)?)(?:/(.*))?", re.DOTALL)
_BEGIN = re.compile(rf"(?:{'|'.join(SCHEMES)})://")


def is_address(name: object) -> bool:
    """Whether a name is text that begins like an address.

    >>> from pathlib import Path
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
    scheme, bucket, key = parts_of(folder)
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
    scheme, bucket, key = parts_of(address)
    return f"{scheme}://{bucket}/{posixpath.dirname(key)}".rstrip("/")


def bucket_of(address: str) -> str:
    """The address of the whole bucket."""
    scheme, bucket, _ = parts_of(address)
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


def parts_of(address: str) -> tuple[str, str, str]:
    """Scheme, bucket and key."""
    found = _ADDRESS.fullmatch(address)
    if found is None or found[1] not in SCHEMES:
        raise DataError(f"{address}: not an address; expected s3://BUCKET/KEY (or gs:, abfs:), without a password")
    return found[1], found[2], (found[3] or "").rstrip("/")
