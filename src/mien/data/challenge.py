"""The challenge's own folder → its clips.

train_split.csv  valid_split.csv  test_split.csv    Filename, and a column for each emotion
participants.csv                                    Filename, Participant[, Group] (ours: the challenge has none)
raw/{id}.mp4  text/{id}.txt  face_images/{id}/      and audio/{id}.mp3, or another of ``SOUNDS``
test_data/raw/ …                                    the same of the test clips, where they are apart
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mien.data.rows import Rows, check_unique, read_labels, read_rows, read_text
from mien.errors import DataError
from mien.schema import Clip, Manifest

SPLITS = {"train": "train_split.csv", "valid": "valid_split.csv", "test": "test_split.csv"}

SOUNDS = (".mp3", ".wav", ".flac", ".m4a", ".ogg")
"""Endings of sound files in ``audio/``, in any case; of several for one clip, the first in this order counts."""

Labels = tuple[float, ...] | None


@dataclass(frozen=True)
class _Home:
    """A folder with ``raw/`` and what is beside it."""

    root: Path
    sounds: Mapping[str, Path]

    def clip(self, name: str, split: str, people: Mapping[str, tuple[str | None, str | None]], labels: Labels) -> Clip:
        """A clip with everything that is there for it."""
        crops = self.root / "face_images" / name
        participant, group = people.get(name, (None, None))
        return Clip(
            id=name,
            path=self.root / "raw" / f"{name}.mp4",
            split=split,
            participant=participant,
            group=group,
            transcript=read_text(self.root / "text" / f"{name}.txt"),
            labels=labels,
            sound=self.sounds.get(name),
            crops=crops if crops.is_dir() else None,
        )


def is_challenge(root: Path) -> bool:
    """Whether a folder holds the challenge's tables."""
    return any((root / name).is_file() for name in SPLITS.values())


def read_challenge(root: Path, targets: Sequence[str] | None, label_scale: float) -> Manifest:
    """The clips of the challenge's folder, in the order of its tables; arguments and faults as ``read_manifest``."""
    notes: list[str] = []
    clips: list[Clip] = []
    places: list[tuple[str, str]] = []
    names: tuple[str, ...] = tuple(targets or ())
    people = _people(root / "participants.csv", notes)
    home = _home(root, notes)
    apart = _home(root / "test_data", notes) if (root / "test_data" / "raw").is_dir() else home
    for split, name in SPLITS.items():
        file = root / name
        if not file.is_file():
            continue
        rows = read_rows(file)
        found, rated = _rated(file, rows, targets, label_scale, notes)
        if names and found and found != names:
            raise DataError(f"{file}:1: label columns {', '.join(found)}, but before: {', '.join(names)}")
        names = names or found
        ids = _padded([row["Filename"] for _, row in rows], file, notes)
        places += [(f"{file}:{line}", name) for (line, _), name in zip(rows, ids, strict=True)]
        unlabelled = split == "test" and not any(any(x for x in row if x == x) for row in rated if row)
        of_split = apart if split == "test" else home
        clips += [
            of_split.clip(name, split, people, None if unlabelled else labels)
            for name, labels in zip(ids, rated, strict=True)
        ]
    if not any(clip.split == "test" for clip in clips):
        videos = sorted((root / "test_data" / "raw").glob("*.mp4"))
        clips += [apart.clip(video.stem, "test", people, None) for video in videos]
        places += [(str(video), video.stem) for video in videos]
    check_unique(places)
    return Manifest(root, names, tuple(clips), tuple(notes))


def _rated(
    file: Path, rows: Rows, targets: Sequence[str] | None, label_scale: float, notes: list[str]
) -> tuple[tuple[str, ...], list[Labels]]:
    columns = list(rows[0][1]) if rows else []
    if rows and "Filename" not in columns:
        raise DataError(f"{file}:1: no column 'Filename' (found: {', '.join(columns)})")
    return read_labels(file, rows, [name for name in columns if name != "Filename"], targets, label_scale, notes)


def _home(root: Path, notes: list[str]) -> _Home:
    """A folder with the sound of each of its clips; of several files, the first in the order of ``SOUNDS``."""
    try:
        files = sorted(root.joinpath("audio").iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return _Home(root, {})
    except OSError as error:
        raise DataError(f"{root / 'audio'}: cannot be read ({error.strerror})") from error
    by_name: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        if file.suffix.lower() in SOUNDS and file.is_file():
            by_name[file.stem].append(file)
    chosen = {name: min(files, key=lambda file: SOUNDS.index(file.suffix.lower())) for name, files in by_name.items()}
    several = [name for name, files in by_name.items() if len(files) > 1]
    if several:
        notes.append(
            f"{root / 'audio'}: {len(several)} clips have more than one sound file; the first of {', '.join(SOUNDS)} "
            f"counts (first: {chosen[several[0]].name})"
        )
    return _Home(root, chosen)


def _people(file: Path, notes: list[str]) -> Mapping[str, tuple[str | None, str | None]]:
    """Who is in which clip, and of which group, from the companion table; empty when there is none."""
    if not file.is_file():
        return {}
    rows = list(_lower_case(read_rows(file)))
    if rows and not {"filename", "participant"} <= set(rows[0][1]):
        raise DataError(f"{file}:1: expected columns Filename and Participant (found: {', '.join(rows[0][1])})")
    ids = _padded([row["filename"] for _, row in rows], file, notes)
    check_unique((f"{file}:{line}", name) for (line, _), name in zip(rows, ids, strict=True))
    return {
        name: (row["participant"] or None, row.get("group") or None) for (_, row), name in zip(rows, ids, strict=True)
    }


def _lower_case(rows: Rows) -> Iterator[tuple[int, dict[str, str]]]:
    return ((line, {key.lower(): value for key, value in row.items()}) for line, row in rows)


def _padded(names: list[str], file: Path, notes: list[str]) -> list[str]:
    """Challenge ids have five digits; a table that lost its zeros in a spreadsheet gets them back, and says so."""
    bare = [name for name in names if name.isdigit() and len(name) < 5]
    if bare:
        notes.append(f"{file}: {len(bare)} ids without leading zeros, read as five digits (first: {bare[0]})")
    return [name.zfill(5) if name.isdigit() else name for name in names]
