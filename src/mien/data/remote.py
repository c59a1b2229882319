"""Tables and folders of clips in object storage; the clips themselves are fetched when they are worked on.

A table is fetched and read like one on the disk, and so are the transcripts beside it (``text/{id}.txt``). Messages
name the address and not the copy. The trade-off: the challenge's folder, which has many companions, is not read there.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from mien.data.challenge import SPLITS
from mien.data.folder import AUDIO_SUFFIXES, HIDDEN, VIDEO_SUFFIXES, clip_names
from mien.data.rows import LARGEST_TABLE
from mien.data.sidecars import LARGEST_TEXT, Transcripts
from mien.errors import DataError, escape_control
from mien.schema import Clip, Manifest
from mien.storage.addresses import name_of, parent
from mien.storage.remote import RemoteFile, download, list_files
from mien.storage.temporary import temporary_folder
from mien.wording import plural

TEXT = "text"

_AT_ONCE = 16
"""Transcripts that are fetched at once: each is small, and waits for an answer."""


@contextmanager
def local_copies(table: str) -> Iterator[Path]:
    """A copy of a table, with copies of the transcripts beside it, as long as the block runs.

    Raises:
        DataError: it cannot be fetched, is too large, or an error of the block, with the address for the copy.
    """
    with temporary_folder() as folder:
        copy = folder / name_of(table)
        download(table, copy, LARGEST_TABLE)
        _fetch_transcripts(parent(table), folder)
        try:
            yield copy
        except DataError as error:
            raise DataError(in_words(str(error), copy.parent, parent(table))) from error


def in_words(text: str, copy: Path, address: str) -> str:
    """A message with the address of a folder in place of that of its copy."""
    return text.replace(str(copy), address)


def read_remote_folder(address: str) -> Manifest:
    """Every video and audio file below an address, sorted by name; hidden ones are left out and counted.

    Raises:
        DataError: there is none, the folder is the challenge's, or it cannot be listed.
    """
    address = address.rstrip("/")
    files = {file.address[len(address) + 1 :]: file for file in list_files(address)}
    if any(name in files for name in SPLITS.values()):
        raise DataError(f"{address}: the challenge's folder is not read from object storage; copy it here")
    media = [name for name in files if Path(name).suffix.lower() in VIDEO_SUFFIXES | AUDIO_SUFFIXES]
    hidden = [name for name in media if any(_is_hidden(part) for part in name.split("/"))]
    odd = [name for name in media if name != Path(name).as_posix() or ".." in name.split("/")]
    others = [name for name in files if name not in set(media) and Path(name).suffix.lower() != ".txt"]
    notes = [
        f"{address}: {plural(len(names), one, many)} (first: {names[0]})"
        for one, many, names in (
            ("hidden file left out", "hidden files left out", hidden),
            ("file with an empty part in its name left out", "files with an empty part in their names left out", odd),
            ("file without video or audio left out", "files without video or audio left out", others),
        )
        if names
    ]
    used = sorted({*media} - {*hidden, *odd}, key=Path)
    if not used:
        raise DataError(f"{address}: no clips found; expected video or audio files, or a table such as clips.csv")
    names = clip_names(Path(), [Path(name) for name in used])
    with temporary_folder() as copy:
        _fetch_transcripts(address, copy, list(files.values()))
        transcripts = Transcripts(copy / TEXT)
        clips = [
            Clip(
                escape_control(names[Path(name)]),
                address=f"{address}/{name}",
                transcript=transcripts.read(names[Path(name)]),
            )
            for name in used
        ]
    notes += [in_words(note, copy, address) for note in transcripts.notes()]
    return Manifest(Path(address), (), tuple(clips), tuple(notes), fetch_from=(address,))


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part.lower() in HIDDEN


def _fetch_transcripts(folder: str, to: Path, files: list[RemoteFile] | None = None) -> None:
    """Copy ``text/**.txt``; of one that is too large only its size, so that it is refused where it is read."""
    root = f"{folder}/{TEXT}"
    found = list_files(root) if files is None else [file for file in files if file.address.startswith(f"{root}/")]

    def fetch(file: RemoteFile) -> None:
        name = file.address[len(root) + 1 :]
        if not name.endswith(".txt") or {"", ".", ".."} & set(name.split("/")):
            return
        copy = to / TEXT / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if file.size <= LARGEST_TEXT:
            download(file.address, copy, LARGEST_TEXT)
        else:
            copy.touch()
            os.truncate(copy, file.size)

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        list(threads.map(fetch, found))
