"""Base classes of export formats: a table, one JSON file, or a folder with a file per clip.

A new format is a file in this folder with a ``TableFormat``, ``JsonFormat`` or ``FolderFormat``, and a line in
``FORMATS`` (``__init__.py``).
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from mien.errors import SettingsError
from mien.scores.document import ClipNote, ScoresDocument
from mien.scores.provenance import provenance_line
from mien.scores.tables import SUFFIXES, check_no_folder, check_suffix, write_table
from mien.storage.files import atomic_file, write_json
from mien.wording import plural


@dataclass(frozen=True, kw_only=True)
class Format(ABC):
    """An export format.

    Attributes:
        name: as in ``--format``.
        about: one line: content and purpose.
        columns: of a table, in order; one with ``<target>`` is repeated for each target, one with ``<modality>`` for
            each modality.
    """

    name: str
    about: str
    columns: tuple[str, ...] = ()

    @property
    @abstractmethod
    def written_to(self) -> str:
        """Endings of the file, or a description of the folder."""

    @abstractmethod
    def check(self, out: Path) -> None:
        """Check that scores can be written to ``out``.

        Raises:
            SettingsError: the format cannot be written to a file or folder of that name.
        """

    @abstractmethod
    def write(self, scored: ScoresDocument, out: Path, raw_cells: bool) -> tuple[str, ...]:
        """Write scores to ``out``, which ``check`` accepted; only tables use ``raw_cells`` (``write_table``).

        Returns:
            Notes on what the format cannot hold.
        """


@dataclass(frozen=True, kw_only=True)
class TableFormat(Format):
    """A table, created by ``make``."""

    make: Callable[[ScoresDocument], pa.Table]

    @property
    def written_to(self) -> str:
        """Endings of tables."""
        return " ".join(SUFFIXES)

    def check(self, out: Path) -> None:
        """See ``Format``."""
        check_suffix(out)

    def write(self, scored: ScoresDocument, out: Path, raw_cells: bool) -> tuple[str, ...]:
        """See ``Format``; files that hold no metadata get a column ``provenance``."""
        table = self.make(scored)
        if out.suffix.lower() != ".parquet":
            table = table.append_column("provenance", pa.array([provenance_line(scored)] * len(table), pa.string()))
        write_table(table, out, raw_cells=raw_cells)
        return ()


@dataclass(frozen=True, kw_only=True)
class JsonFormat(Format):
    """One JSON file; ``make`` creates its content."""

    make: Callable[[ScoresDocument], Any]

    @property
    def written_to(self) -> str:
        """Ending of JSON."""
        return ".json"

    def check(self, out: Path) -> None:
        """See ``Format``."""
        if out.suffix.lower() != ".json":
            raise SettingsError(f"{out}: {self.name} is written as JSON; end the name with .json")
        check_no_folder(out)

    def write(self, scored: ScoresDocument, out: Path, raw_cells: bool) -> tuple[str, ...]:  # noqa: ARG002
        """See ``Format``."""
        write_json(out, self.make(scored))
        return ()


FILES = (*SUFFIXES, ".eaf", ".textgrid")
"""Endings of file names that are refused where a folder is needed."""


@dataclass(frozen=True, kw_only=True)
class FolderFormat(Format):
    """A folder with a file for each scored clip.

    Attributes:
        suffix: ending of the files.
        make: creates the bytes of a clip's file from the document, the clip, and the folder of the file.
    """

    suffix: str
    make: Callable[[ScoresDocument, ClipNote, Path], bytes]

    @property
    def written_to(self) -> str:
        """A folder, and the ending of its files."""
        return f"a folder of {self.suffix}"

    def check(self, out: Path) -> None:
        """See ``Format``."""
        if out.is_file() or out.suffix.lower() in (*FILES, self.suffix.lower()):
            raise SettingsError(f"{out}: {self.name} writes a file per clip; name a folder")

    def write(self, scored: ScoresDocument, out: Path, raw_cells: bool) -> tuple[str, ...]:  # noqa: ARG002
        """See ``Format``; clips that were not scored, or have no times, have no file, and are counted in a note."""
        good = [clip for clip in scored.clips if clip.error is None]
        timeless = [clip for clip in good if clip.path is None and clip.seconds is None]
        made = [clip for clip in good if clip.path is not None or clip.seconds is not None]
        for clip, name in zip(made, file_names([clip.clip for clip in made]), strict=True):
            with atomic_file(out / f"{name}{self.suffix}") as part:
                part.write_bytes(self.make(scored, clip, out))
        failed = [clip for clip in scored.clips if clip.error is not None]
        notes = []
        if failed:
            count, first = plural(len(failed), "clip"), failed[0]
            notes.append(f"{count} not scored, so without a file (first: {first.clip}: {first.error})")
        if timeless:
            notes.append(
                f"{plural(len(timeless), 'clip')} without video or audio, so without times for an annotation file "
                f"(first: {timeless[0].clip})"
            )
        return tuple(notes)


LONGEST_NAME = 120
"""Bytes of a clip's file name in UTF-8: file systems allow 255, encrypted ones 143, with the ending and a number."""


def file_names(clips: Sequence[str]) -> list[str]:
    """A file name for each clip, valid on any file system; clashing names get a number.

    >>> file_names(["a/b", "a_b", "A_B", "..", ""])
    ['a_b', 'a_b-2', 'A_B-3', 'clip', 'clip-2']
    """
    taken: set[str] = set()
    names = []
    for clip in clips:
        safe = re.sub(r"[^\w.-]+", "_", clip).strip("._ ")
        plain = safe.encode()[-LONGEST_NAME:].decode(errors="ignore").lstrip("._ ") or "clip"
        name, number = plain, 1
        while name.lower() in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name.lower())
        names.append(name)
    return names
