"""Files beside a table or in a folder: those that a table names, and the transcripts of its clips.

A transcript that cannot be read costs its clip the transcript, with a note, and never stops the others.
"""

import os
import unicodedata
from pathlib import Path, PurePosixPath

from mien.errors import DataError
from mien.storage.files import read_bytes_checked

LARGEST_TEXT = 1_000_000
"""Bytes of a transcript."""


def locate(root: Path, name: str) -> Path:
    """The path of a file that a table names, also when the disk has other separators or accents.

    A name with backslashes is one of Windows, unless there is such a file. ``ü`` may be one character in a table and
    two on a disk from macOS, or the reverse.

    Args:
        root: the folder that names are relative to.
        name: as it is written.

    Returns:
        The file that exists; else the name as it is written, with slashes.
    """
    if os.path.lexists(root / name):
        return root / name
    found = root
    for part in PurePosixPath(name.replace("\\", "/")).parts:
        spellings = (part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD")))
        found /= next((spelling for spelling in spellings if os.path.lexists(found / spelling)), part)
    return found


class Transcripts:
    """The transcripts in a folder, ``{id}.txt``, and notes on those that were not plain UTF-8."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._converted: list[str] = []
        self._unread: list[str] = []

    def read(self, clip: str) -> str | None:
        """The words of a clip, separated by one space; ``None`` if it has no transcript that can be read.

        A clip that is named by an absolute path, or by one that leaves the folder, has none.
        """
        name, file = PurePosixPath(clip.replace("\\", "/")), locate(self._folder, f"{clip}.txt")
        if name.is_absolute() or ".." in name.parts or not os.path.lexists(file):
            return None
        try:
            content = read_bytes_checked(file, LARGEST_TEXT)
        except DataError as error:
            self._unread.append(str(error).removeprefix(f"{self._folder}/"))
            return None
        for encoding in ("utf-16",) if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252"):
            try:
                text = content.decode(encoding)
            except UnicodeDecodeError:
                continue
            if encoding != "utf-8-sig":
                self._converted.append(f"{file.name}: {encoding}")
            if "\0" not in text:
                return " ".join(text.split())
        self._unread.append(f"{file.name}: not a text file")
        return None

    def notes(self) -> list[str]:
        """One line for each kind of transcript that was not plain UTF-8."""
        return [
            f"{self._folder}: {len(files)} transcripts {what} (first: {files[0]})"
            for files, what in (
                (self._converted, "are not UTF-8 and were converted"),
                (self._unread, "cannot be read and are not used"),
            )
            if files
        ]
