"""Source files of features, so that a clip that was replaced after extraction is noticed.

Extraction hashes every file. Training and evaluation do not read videos: they compare size and modification time of
the files that still exist, and hash only those that differ. Times are compared for equality only, so a clock that was
set back changes nothing.

The trade-off: a video replaced by another of exactly the same size and modification time is noticed by
``mien extract`` only. A video that has been moved away is not searched for.
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
from mien.wording import plural

TRANSCRIPT = "transcript"

SOURCES = ("path", "sound", "crops", "openface", TRANSCRIPT)
"""The fields of a ``Clip`` that features are made from."""


class FileStat(NamedTuple):
    """Size in bytes and modification time in nanoseconds."""

    size: int
    changed: int


class SourceFile(NamedTuple):
    """The file, or given transcript, and the part of it, that a feature was made from.

    Attributes:
        source: the name of the ``Clip``'s field, one of ``SOURCES``.
        content: hash of its bytes.
        start, end: of the part, seconds.
        size, changed: ``FileStat`` when it was hashed; zeros for a transcript.
    """

    source: str
    content: str
    start: float | None = None
    end: float | None = None
    size: int = 0
    changed: int = 0

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The inverse of ``text``; ``None`` for imported or synthetic features, which have no source file.

        Raises:
            StoreError: the text is damaged.
        """
        if not text:
            return None
        try:
            source, content, *rest = json.loads(text)
            if source not in SOURCES or not isinstance(content, str):
                raise ValueError(f"{source!r} is not a field of a clip")
            return cls(source, content, *rest)
        except (ValueError, TypeError, RecursionError) as error:
            raise StoreError(f"an origin in the store is damaged ({str(error)[:100]}); {REMEDY}") from error

    @property
    def text(self) -> str:
        """The text that is stored.

        >>> SourceFile("path", "ab", size=3).text
        '["path","ab",null,null,3,0]'
        """
        return json.dumps(self, separators=(",", ":"))

    def matches(self, clip: Clip) -> bool:
        """Whether the clip still has this content; true also when its file does not exist any more."""
        source = getattr(clip, self.source)
        if self.source == TRANSCRIPT:
            return source is None or key_of(source) == self.content
        if source is None or not source.exists():
            return True
        if (clip.start, clip.end) != (self.start, self.end):
            return False
        return file_stat(source) == (self.size, self.changed) or content_of(source) == self.content


def file_stat(path: Path) -> FileStat:
    """Size and modification time of a file; of a folder, the sum of sizes and the latest time of its files."""
    stats = [file.stat() for file in _files(path)]
    return FileStat(sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0))


def content_of(path: Path, sha256: Callable[[Path], str] = sha256_of) -> str:
    """The hash of a file, or of all files in a folder with their names; ``sha256`` hashes one file."""
    if _is_folder(path):
        return key_of([(file.name, sha256(file)) for file in _files(path)])
    try:
        return sha256(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def contents_of(store: Store, clips: Iterable[str]) -> list[set[str]]:
    """Keys of the files, or parts of files, that features of clips were made from; equal keys are equal recordings.

    Transcripts do not count, because different clips may have the same words; imported features have no file.

    Raises:
        StoreError: an origin is damaged.
    """
    names, contents = store.modalities, []
    for clip in clips:
        origins = {row.origin for name in names if (row := store.row(clip, name))}
        files = [origin for origin in map(SourceFile.read, origins) if origin and origin.source != TRANSCRIPT]
        contents.append({key_of(file.content, file.start, file.end) for file in files})
    return contents


def check_unchanged(store: Store, clips: Iterable[Clip], modalities: Iterable[str]) -> None:
    """Check that no clip was replaced since its features were computed.

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
            f"{store.root}: {plural(len(changed), 'clip')} changed since feature extraction, first {changed[0]}; "
            "run mien extract again: it computes these again"
        )


def _is_folder(path: Path) -> bool:
    return path.is_dir() and path.suffix.lower() not in VIDEO_SUFFIXES


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_file()) if _is_folder(path) else [path]
