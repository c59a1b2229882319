"""Reader of the challenge's folder.

train_split.csv  valid_split.csv  test_split.csv    Filename, and a column for each emotion
participants.csv                                    Filename, Participant[, Group] (ours: the challenge has none)
raw/{id}.mp4  text/{id}.txt  face_images/{id}/      and audio/{id}.mp3, or another of ``AUDIO_SUFFIXES``
test_data/raw/ …                                    the same for test clips, where they are in a folder of their own
"""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mien.data.labels import Labels, read_labels
from mien.data.rows import Table, check_unique, read_table
from mien.data.sidecars import Transcripts
from mien.errors import DataError
from mien.schema import EMOTIONS, Clip, Manifest
from mien.wording import plural

SPLITS = {"train": "train_split.csv", "valid": "valid_split.csv", "test": "test_split.csv"}

AUDIO_SUFFIXES = (".mp3", ".wav", ".flac", ".m4a", ".ogg")
"""Suffixes of files in ``audio/``, in any case; of several files of one clip, the first in this order is used."""


@dataclass(frozen=True)
class _MediaFolder:
    """A folder with ``raw/`` and its companions; ``audio`` maps clips to audio files."""

    root: Path
    audio: Mapping[str, Path]
    transcripts: Transcripts

    def clip(self, name: str, split: str, people: Mapping[str, tuple[str | None, str | None]], labels: Labels) -> Clip:
        """A clip with all files that exist for it."""
        crops = self.root / "face_images" / name
        participant, group = people.get(name, (None, None))
        return Clip(
            id=name,
            path=self.root / "raw" / f"{name}.mp4",
            split=split,
            participant=participant,
            group=group,
            transcript=self.transcripts.read(name),
            labels=labels,
            sound=self.audio.get(name),
            crops=crops if os.path.isdir(crops) else None,  # noqa: PTH112 - False for names too long for a file
        )


def is_challenge(root: Path) -> bool:
    """Whether a folder contains the challenge's tables."""
    return any((root / name).is_file() for name in SPLITS.values())


def read_challenge(root: Path, targets: Sequence[str] | None, label_scale: float) -> Manifest:
    """The clips of the challenge's folder, in table order; arguments and exceptions as ``read_manifest``."""
    notes: list[str] = []
    clips: list[Clip] = []
    sources: list[tuple[str, str]] = []
    names: tuple[str, ...] = tuple(targets or ())
    people = _people(root / "participants.csv", notes)
    media = _media_folder(root, notes)
    test_media = _media_folder(root / "test_data", notes) if (root / "test_data" / "raw").is_dir() else media
    for split, name in SPLITS.items():
        file = root / name
        if not file.is_file():
            continue
        table = read_table(file)
        found, labels = _labels(table, targets, label_scale, notes)
        if names and found and found != names:
            raise DataError(f"{file}:1: label columns {', '.join(found)}, but before: {', '.join(names)}")
        names = names or found
        ids = _padded([row["Filename"] for _, row in table.rows], file, notes)
        sources += [(f"{file}:{line}", name) for (line, _), name in zip(table.rows, ids, strict=True)]
        unlabelled = split == "test" and not any(any(x for x in row if x == x) for row in labels if row)
        folder = test_media if split == "test" else media
        clips += [
            folder.clip(name, split, people, None if unlabelled else row) for name, row in zip(ids, labels, strict=True)
        ]
    if not any(clip.split == "test" for clip in clips):
        videos = sorted((root / "test_data" / "raw").glob("[!.]*.mp4"))
        clips += [test_media.clip(video.stem, "test", people, None) for video in videos]
        sources += [(str(video), video.stem) for video in videos]
    check_unique(sources)
    folders = [media] if test_media is media else [media, test_media]
    notes += [note for folder in folders for note in folder.transcripts.notes()]
    return Manifest(root, names, tuple(clips), tuple(notes))


def _labels(
    table: Table, targets: Sequence[str] | None, label_scale: float, notes: list[str]
) -> tuple[tuple[str, ...], list[Labels]]:
    if table.rows and "Filename" not in table.columns:
        raise DataError(f"{table.file}:1: no column 'Filename' (found: {', '.join(table.columns)})")
    columns = [name for name in table.columns if name != "Filename"]
    if targets is None and set(EMOTIONS) <= set(columns):
        targets = [name for name in columns if name in EMOTIONS]
        others = [name for name in columns if name and name not in EMOTIONS]
        notes += [f"{table.file}: {len(others)} other columns ignored (first: {others[0]})"] if others else []
    return read_labels(table, columns, targets, label_scale, notes)


def _media_folder(root: Path, notes: list[str]) -> _MediaFolder:
    """A folder with the audio file of each clip; of several, the first in the order of ``AUDIO_SUFFIXES``."""
    try:
        files = sorted(root.joinpath("audio").iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return _MediaFolder(root, {}, Transcripts(root / "text"))
    except OSError as error:
        raise DataError(f"{root / 'audio'}: cannot be read ({error.strerror})") from error
    by_name: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file():
            by_name[file.stem].append(file)
    chosen = {
        name: min(files, key=lambda file: AUDIO_SUFFIXES.index(file.suffix.lower())) for name, files in by_name.items()
    }
    several = [name for name, files in by_name.items() if len(files) > 1]
    if several:
        notes.append(
            f"{root / 'audio'}: {plural(len(several), 'clip')} with more than one audio file; the first of "
            f"{', '.join(AUDIO_SUFFIXES)} is used (first: {chosen[several[0]].name})"
        )
    return _MediaFolder(root, chosen, Transcripts(root / "text"))


def _people(file: Path, notes: list[str]) -> Mapping[str, tuple[str | None, str | None]]:
    """Participant and group of each clip, from ``participants.csv``; empty when there is none."""
    if not file.is_file():
        return {}
    table = read_table(file)
    rows = [(line, {key.lower(): value for key, value in row.items()}) for line, row in table.rows]
    if rows and not {"filename", "participant"} <= set(rows[0][1]):
        raise DataError(f"{file}:1: expected columns Filename and Participant (found: {', '.join(table.columns)})")
    notes += table.missing_note(table.columns)
    ids = _padded([row["filename"] for _, row in rows], file, notes)
    check_unique((f"{file}:{line}", name) for (line, _), name in zip(rows, ids, strict=True))
    return {
        name: (row["participant"] or None, row.get("group") or None) for (_, row), name in zip(rows, ids, strict=True)
    }


def _padded(names: list[str], file: Path, notes: list[str]) -> list[str]:
    """Ids with five digits; those that lost their leading zeros in a spreadsheet get them back, with a note."""
    short = [name for name in names if name.isdigit() and len(name) < 5]
    if short:
        count = plural(len(short), "id")
        notes.append(f"{file}: {count} without leading zeros, read as five digits (first: {short[0]})")
    return [name.zfill(5) if name.isdigit() else name for name in names]
