"""Scores in parts (``storage/parts.py``): each part is a scores document, and ``merge`` joins them into one."""

from pathlib import Path

from mien.errors import DataError
from mien.scores.document import ScoresDocument, read_document
from mien.storage.addresses import name_of
from mien.storage.parts import Division, Part, check_complete, place_of
from mien.storage.remote import download, find
from mien.storage.temporary import temporary_folder

KIND = "scores"


def merge(out: str | Path, division: Division) -> ScoresDocument:
    """The document of all parts of ``out``; it was made when its last part was.

    Raises:
        DataError: a part is damaged, or was made by another model or in another way than the others.
        MienError: clips are missing; the message names their parts.
    """
    files = {part.number: place_of(out, f"{part.number}.json") for part in division.parts}
    parts = {number: made for number, file in files.items() if (made := _read(file))}
    check_complete(
        out, division, {part.number: lacks for part in division.parts if (lacks := _lacks(parts, part, division))}
    )
    for number, made in parts.items():
        if _undated(made) != _undated(parts[1]):
            raise DataError(f"{files[number]}: not made as {files[1]} was (model or options); score this part again")
    joined = [clip for number in sorted(parts) for clip in parts[number].clips]
    last = max(parts.values(), key=lambda made: made.provenance.created if made.provenance else "")
    return last.model_copy(update={"clips": joined})


def _read(file: str | Path) -> ScoresDocument | None:
    """The document of a part, from object storage if it is there; ``None`` if there is none."""
    if isinstance(file, Path):
        return read_document(file) if file.exists() else None
    with temporary_folder() as folder:
        return read_document(_fetched(file, folder)) if find(file) else None


def _fetched(address: str, folder: Path) -> Path:
    download(address, copy := folder / name_of(address))
    return copy


def _lacks(parts: dict[int, ScoresDocument], part: Part, division: Division) -> list[str]:
    known = {clip.clip for clip in parts[part.number].clips} if part.number in parts else set()
    return [clip for clip in part.of(division.clips) if clip not in known]


def _undated(made: ScoresDocument) -> ScoresDocument:
    """A document without clips and without its date."""
    dated = made.provenance and made.provenance.model_copy(update={"created": ""})
    return made.model_copy(update={"clips": [], "provenance": dated})
