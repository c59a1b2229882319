"""What a feature was made from, so that a clip that was replaced afterwards is never taken for the one it was.

Extraction hashes every file, and notices by that. Training and judging do not look at films; they look whether the
files that are still there have the size and the time of change that they had, and hash only those that have not. Times
are compared for equality only: a clock that was set back, or a file from the future, changes nothing.

The trade-off: a film replaced by another of exactly the same size and time of change is noticed by ``mien extract``
alone. A film that has been moved away is not looked for.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Self

from mien.data.manifest import VIDEO_SUFFIXES
from mien.errors import DataError, StoreError
from mien.features.shards import REMEDY
from mien.features.store import Store
from mien.schema import Clip
from mien.storage.files import key_of, sha256_of

TRANSCRIPT = "transcript"

SOURCES = ("path", "sound", "crops", "openface", TRANSCRIPT)
"""The fields of a ``Clip`` that features are made from."""


class FileStat(NamedTuple):
    """What changes when a file is written, without reading it: size in bytes, time of change in nanoseconds."""

    size: int
    changed: int


class SourceFile(NamedTuple):
    """A file, or a given transcript, and the part of it, that a feature was made from.

    Attributes:
        source: the name of the ``Clip``'s field, one of ``SOURCES``.
        content: hash of its bytes.
        start, end: of the part, seconds.
        stamp: when it was hashed; zeros for a transcript.
    """

    source: str
    content: str
    start: float | None = None
    end: float | None = None
    size: int = 0
    changed: int = 0

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The inverse of ``text``; ``None`` for a feature that was imported or drawn, not made from a file.

        Raises:
            StoreError: it is no such text.
        """
        if not text:
            return None
        try:
            source, content, *rest = json.loads(text)
            if source not in SOURCES or not isinstance(content, str):
                raise ValueError(f"{source!r} is no part of a clip")
            return cls(source, content, *rest)
        except (ValueError, TypeError, RecursionError) as error:
            raise StoreError(f"an origin in the store is damaged ({str(error)[:100]}); {REMEDY}") from error

    @property
    def text(self) -> str:
        """As it stands in a store.

        >>> SourceFile("path", "ab", size=3).text
        '["path","ab",null,null,3,0]'
        """
        return json.dumps(self, separators=(",", ":"))

    def matches(self, clip: Clip) -> bool:
        """Whether the clip still has this content; also when its file is not there to be looked at."""
        given = getattr(clip, self.source)
        if self.source == TRANSCRIPT:
            return given is None or key_of(given) == self.content
        if given is None or not given.exists():
            return True
        if (clip.start, clip.end) != (self.start, self.end):
            return False
        return file_stat(given) == (self.size, self.changed) or content_of(given) == self.content


def file_stat(path: Path) -> FileStat:
    """The stamp of a file, or of all the files in a folder together."""
    stats = [file.stat() for file in _files(path)]
    return FileStat(sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0))


def content_of(path: Path, sha256: Callable[[Path], str] = sha256_of) -> str:
    """The hash of a file, or of all the files in a folder with their names; ``sha256`` hashes one file."""
    if _is_folder(path):
        return key_of([(file.name, sha256(file)) for file in _files(path)])
    try:
        return sha256(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def check_unchanged(store: Store, clips: Iterable[Clip], modalities: Iterable[str]) -> None:
    """See that no clip was replaced since its features were made.

    Raises:
        DataError: some were; the message has their number and the first.
    """
    names, changed = tuple(modalities), []
    for clip in clips:
        origins = {row.origin for name in names if (row := store.row(clip.id, name))}
        if not all(origin is None or origin.matches(clip) for origin in map(SourceFile.read, origins)):
            changed.append(clip.id)
    if changed:
        raise DataError(
            f"{store.root}: {len(changed)} clips are not what they were when their features were made, first "
            f"{changed[0]}; run mien extract again: it makes these anew"
        )


def _is_folder(path: Path) -> bool:
    return path.is_dir() and path.suffix.lower() not in VIDEO_SUFFIXES


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_file()) if _is_folder(path) else [path]
