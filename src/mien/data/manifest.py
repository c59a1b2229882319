"""Any table, the challenge folder or a folder of videos → a ``Manifest``.

Every complaint carries its place (``clips.csv:418``). Nothing on the disk is opened but the tables and transcripts:
a clip that is listed but missing is the business of whoever opens it. The trade-off: tables are read row by row with
Python's ``csv``, slower than a columnar reader, because only it knows the line of a fault.

Read ``read_manifest`` first; then ``_from_challenge``, ``_from_table``, ``_from_folder``.
"""

import csv
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mien.artifacts import contents
from mien.errors import DataError, legible
from mien.schema import Clip, Manifest

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .wmv .flv .3gp .ts .mts .m2ts .ogv .asf .vob .mxf".split()
)
SOUND_SUFFIXES = frozenset(".wav .mp3 .m4a .flac .ogg .opus .aac .wma".split())
CHALLENGE_SPLITS = {"train": "train_split.csv", "valid": "valid_split.csv", "test": "test_split.csv"}

MOST_CELLS = 10_000_000

_MISSING = frozenset(("", "nan", "na", "n/a", "null", "none", "-"))
_KNOWN_COLUMNS = (
    "id", "path", "start", "end", "split", "participant", "group", "transcript", "sound", "crops", "openface"
)  # fmt: skip

Rows = list[tuple[int, dict[str, str]]]
_People = Mapping[str, tuple[str | None, str | None]]
"""Participant and group by clip."""


def read_manifest(source: str | Path, *, targets: Sequence[str] | None = None, label_scale: float = 1.0) -> Manifest:
    """The clips of a data set.

    Args:
        source: the challenge's folder (it holds ``train_split.csv`` or its companions), any other folder (every video
            and sound file below it), a video file, or a CSV, TSV or Parquet table with at least a column ``path``
            and optionally ``id``, ``start``, ``end`` (seconds), ``split``, ``participant``, ``group``,
            ``transcript``, ``sound``, ``crops``, ``openface``. Paths are relative to the table.
        targets: the label columns, in order; by default every other column that holds numbers.
        label_scale: what the highest possible rating is; labels are divided by it.

    Returns:
        Clips in the order of their table, or sorted by name. ``text/{id}.txt`` beside the data is taken as the
        transcript of a clip that has none.

    Raises:
        DataError: there is no such file or no clip in it, the table has no header, an id stands twice, or a label is
            not a number in [0, 1] after scaling.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    if source.is_dir():
        challenge = any((source / name).is_file() for name in CHALLENGE_SPLITS.values())
        manifest = _from_challenge(source, targets, label_scale) if challenge else _from_folder(source)
    elif source.suffix.lower() in (".csv", ".tsv", ".txt", ".parquet"):
        manifest = _from_table(source, targets, label_scale)
    else:
        manifest = Manifest(source, (), (Clip(legible(source.stem), source),))
    if not manifest.clips:
        raise DataError(f"{source}: no clips found; expected videos, or a table with a column 'path'")
    return manifest


def clips_of(paths: Iterable[Path]) -> Manifest:
    """The clips in several files and folders, for scoring; a name that occurs twice gets its folder in front.

    Raises:
        DataError: a path does not exist, or nothing was named.
    """
    manifests = [read_manifest(path) for path in paths]
    if not manifests:
        raise DataError("no clip named; give a video file, a folder or a table of clips")
    clips = [clip for manifest in manifests for clip in manifest.clips]
    often = Counter(clip.id for clip in clips)
    named = [replace(clip, id=legible(str(clip.path))) if often[clip.id] > 1 else clip for clip in clips]
    notes = tuple(note for manifest in manifests for note in manifest.notes)
    return Manifest(manifests[0].source, manifests[0].targets, tuple({clip.id: clip for clip in named}.values()), notes)


# -- the challenge's folder ---------------------------------------------------------------------------------------


def _from_challenge(root: Path, targets: Sequence[str] | None, label_scale: float) -> Manifest:
    notes: list[str] = []
    clips: list[Clip] = []
    names: tuple[str, ...] = tuple(targets or ())
    people = _people(root / "participants.csv")
    for split, file in CHALLENGE_SPLITS.items():
        if not (root / file).is_file():
            continue
        rows = read_rows(root / file)
        if rows and "Filename" not in rows[0][1]:
            raise DataError(f"{root / file}:1: no column 'Filename' (found: {', '.join(rows[0][1])})")
        found, labels = _labels(root / file, rows, [c for c in rows[0][1] if c != "Filename"] if rows else [],
                                targets, label_scale, notes)  # fmt: skip
        if names and found and found != names:
            raise DataError(f"{root / file}:1: label columns {', '.join(found)}, but before: {', '.join(names)}")
        names = names or found
        ids = _padded([row["Filename"] for _, row in rows], root / file, notes)
        _no_twins(root / file, [(line, name) for (line, _), name in zip(rows, ids, strict=True)])
        unlabelled = split == "test" and not any(any(x for x in row if x == x) for row in labels if row)
        for name, rated in zip(ids, labels, strict=True):
            clips.append(_challenge_clip(root, name, split, people, None if unlabelled else rated))
    if not any(clip.split == "test" for clip in clips):
        videos = sorted((root / "test_data" / "raw").glob("*.mp4"))
        clips += [_challenge_clip(root, video.stem, "test", people, None) for video in videos]
    _no_twins(root, [(0, clip.id) for clip in clips])
    return Manifest(root, names, tuple(clips), tuple(notes))


def _challenge_clip(root: Path, name: str, split: str, people: _People, labels: tuple[float, ...] | None) -> Clip:
    home = root / "test_data" if split == "test" and (root / "test_data" / "raw").is_dir() else root
    sound, crops = home / "audio" / f"{name}.mp3", home / "face_images" / name
    participant, group = people.get(name, (None, None))
    return Clip(
        id=name,
        path=home / "raw" / f"{name}.mp4",
        split=split,
        participant=participant,
        group=group,
        transcript=_sidecar(home, name),
        labels=labels,
        sound=sound if sound.is_file() else None,
        crops=crops if crops.is_dir() else None,
    )


def _people(file: Path) -> _People:
    """Who is in which clip, from a companion table ``Filename,Participant[,Group],…``; empty when there is none."""
    if not file.is_file():
        return {}
    named = [(line, {key.lower(): value for key, value in row.items()}) for line, row in read_rows(file)]
    if named and not {"filename", "participant"} <= set(named[0][1]):
        raise DataError(f"{file}:1: expected columns Filename and Participant (found: {', '.join(named[0][1])})")
    return {row["filename"]: (row["participant"] or None, row.get("group") or None) for _, row in named}


def _padded(names: list[str], file: Path, notes: list[str]) -> list[str]:
    """Challenge ids have five digits; a table that lost its zeros in a spreadsheet gets them back, and says so."""
    bare = [name for name in names if name.isdigit() and len(name) < 5]
    if bare:
        notes.append(f"{file}: {len(bare)} ids without leading zeros, read as five digits (first: {bare[0]})")
    return [name.zfill(5) if name.isdigit() else name for name in names]


# -- any table ----------------------------------------------------------------------------------------------------


def _from_table(file: Path, targets: Sequence[str] | None, label_scale: float) -> Manifest:
    rows = read_rows(file)
    columns = list(rows[0][1]) if rows else []
    if rows and "path" not in columns:
        raise DataError(
            f"{file}:1: no column 'path' (found: {', '.join(columns[:8])}); the first line must name the columns"
        )
    notes: list[str] = []
    others = [column for column in columns if column not in _KNOWN_COLUMNS]
    names, labels = _labels(file, rows, others, targets, label_scale, notes)
    clips = [_table_clip(file, line, row, rated) for (line, row), rated in zip(rows, labels, strict=True)]
    _no_twins(file, [(line, clip.id) for (line, _), clip in zip(rows, clips, strict=True)])
    return Manifest(file, names, tuple(clips), tuple(notes))


def _table_clip(file: Path, line: int, row: Mapping[str, str], labels: tuple[float, ...] | None) -> Clip:
    if not row["path"]:
        raise DataError(f"{file}:{line}: column 'path' is empty")
    if not Path(row["path"]).name:
        raise DataError(f"{file}:{line}: path = {row['path']!r} names no file")
    name = row.get("id") or str(Path(row["path"]).with_suffix(""))
    start, end = (_number(file, line, column, row.get(column, "")) for column in ("start", "end"))
    if start is not None and end is not None and end <= start:
        raise DataError(f"{file}:{line}: end = {end} s lies before start = {start} s")
    said = row.get("transcript", "")
    sound, crops, openface = (
        file.parent / value if (value := row.get(column)) else None for column in ("sound", "crops", "openface")
    )
    return Clip(
        id=name,
        path=file.parent / row["path"],
        start=start,
        end=end,
        split=row.get("split") or None,
        participant=row.get("participant") or None,
        group=row.get("group") or None,
        transcript=said if said else _sidecar(file.parent, name),
        labels=labels,
        sound=sound,
        crops=crops,
        openface=openface,
    )


def read_rows(file: Path) -> Rows:
    """The rows of a table as text, each with its line (or row) number; empty cells are ``""``."""
    if not file.is_file():
        raise DataError(f"{file}: {'not a regular file' if file.exists() else 'no such file'}, expected a table")
    if file.suffix.lower() == ".parquet":
        return _parquet_rows(file)
    try:
        with file.open(newline="", encoding="utf-8-sig") as handle:
            head = handle.readline()
            handle.seek(0)
            delimiter = max("\t;,", key=head.count)
            return _check_rows(file, csv.reader(handle, delimiter=delimiter, strict=True))
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: not a text table ({error}); save it as CSV in UTF-8") from error


def _parquet_rows(file: Path) -> Rows:
    """The rows of a Parquet table; kilobytes of it can stand for any number of them, so they are counted first."""
    try:
        with pq.ParquetFile(file) as table:
            cells = table.metadata.num_rows * max(1, table.metadata.num_columns)
            if cells > MOST_CELLS:
                found = f"{table.metadata.num_rows:,} rows of {table.metadata.num_columns:,} columns"
                raise DataError(f"{file}: {found}, but a table of clips has at most {MOST_CELLS:,} cells")
            records = table.read().to_pylist()
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
        raise DataError(f"{file}: cannot be read as Parquet ({' '.join(str(error).split())[:120]})") from error
    return [(n, {k: "" if v is None else str(v) for k, v in row.items()}) for n, row in enumerate(records, 1)]


def _check_rows(file: Path, reader: Any) -> Rows:
    header: list[str] | None = None
    rows: Rows = []
    for cells in reader:
        if header is None:
            header = [cell.strip() for cell in cells]
            twice = [name for name, count in Counter(header).items() if count > 1]
            if twice:
                raise DataError(f"{file}:{reader.line_num}: column {twice[0]!r} stands twice in the header")
        elif any(cell.strip() for cell in cells):
            if len(cells) != len(header):
                raise DataError(f"{file}:{reader.line_num}: {len(cells)} cells, but the header names {len(header)}")
            rows.append((reader.line_num, {k: v.strip() for k, v in zip(header, cells, strict=True)}))
    return rows


def _labels(
    file: Path, rows: Rows, columns: list[str], targets: Sequence[str] | None, scale: float, notes: list[str]
) -> tuple[tuple[str, ...], list[tuple[float, ...] | None]]:
    """The label columns and, per row, the labels (``None`` where the row has none)."""
    if targets is not None:
        for name in targets:
            if rows and name not in rows[0][1]:
                raise DataError(f"{file}:1: no column {name!r} (found: {', '.join(rows[0][1])})")
        names = tuple(targets)
    else:
        names = tuple(column for column in columns if _mostly_numbers(row[column] for _, row in rows))
        ignored = [column for column in columns if column not in names]
        if ignored:
            notes.append(f"{file}: {len(ignored)} columns without numbers ignored (first: {ignored[0]})")
    labels = [tuple(_label(file, line, name, row[name], scale) for name in names) for line, row in rows]
    gaps = sum(math.isnan(value) for row in labels for value in row)
    if gaps:
        notes.append(f"{file}: {gaps} labels are missing; those clips do not count for those targets")
    return names, [row if names and not all(math.isnan(value) for value in row) else None for row in labels]


def _mostly_numbers(cells: Iterable[str]) -> bool:
    """Whether at least half of the cells that are filled are numbers: then the others are mistakes, not text."""
    filled = [cell for cell in cells if cell.lower() not in _MISSING]
    return bool(filled) and 2 * sum(_is_number(cell) for cell in filled) >= len(filled)


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _number(file: Path, line: int, column: str, cell: str) -> float | None:
    if cell.lower() in _MISSING:
        return None
    if not _is_number(cell):
        raise DataError(f"{file}:{line}: {column} = {cell!r} is not a number")
    return float(cell)


def _label(file: Path, line: int, column: str, cell: str, scale: float) -> float:
    value = _number(file, line, column, cell)
    if value is None:
        return math.nan
    if not 0 <= value / scale <= 1:
        hint = (
            "if the ratings run 0-100, pass --label-scale 100"
            if scale == 1
            else "if it is no label, name the labels with --targets"
        )
        raise DataError(f"{file}:{line}: {column} = {cell}, but intensities lie in [0, {scale:g}]; {hint}")
    return value / scale


def _no_twins(file: Path, named: Iterable[tuple[int, str]]) -> None:
    first: dict[str, int] = {}
    for line, name in named:
        if name in first:
            raise DataError(
                f"{file}:{line}: id {name!r} stands twice (first on line {first[name]}); ids must be unique"
            )
        first[name] = line


# -- a folder of videos -------------------------------------------------------------------------------------------


def _from_folder(root: Path) -> Manifest:
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    media = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES | SOUND_SUFFIXES]
    others = [path for path in files if path not in set(media) and path.suffix.lower() != ".txt"]
    notes = (
        [f"{root}: {len(others)} files are not videos and were left out (first: {others[0].name})"] if others else []
    )
    stems = Counter(path.relative_to(root).with_suffix("") for path in media)
    clips = []
    for path in media:
        inside = path.relative_to(root)
        name = str(inside if stems[inside.with_suffix("")] > 1 else inside.with_suffix(""))
        clips.append(Clip(legible(name), path, transcript=_sidecar(root, name)))
    return Manifest(root, (), tuple(clips), tuple(notes))


def _sidecar(root: Path, name: str) -> str | None:
    """The transcript in ``text/{name}.txt``; ``None`` when there is no such file."""
    file = root / "text" / f"{name}.txt"
    try:
        return " ".join(contents(file).decode("utf-8").split()) if file.is_file() else None
    except OSError:  # no file can have this name
        return None
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: cannot be read as UTF-8 text ({error})") from error
