"""Reader of manifests: a table, the challenge's folder, or a folder of videos → a ``Manifest``.

Every error names file and line (``clips.csv:418``). Only tables and transcripts are opened: a listed file that does
not exist is reported where it is decoded.

Read ``read_manifest`` first; then ``challenge``, ``folder`` and ``_from_table``. Tables are read in ``rows``.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mien.data.challenge import is_challenge, read_challenge
from mien.data.folder import AUDIO_SUFFIXES as AUDIO_SUFFIXES
from mien.data.folder import VIDEO_SUFFIXES as VIDEO_SUFFIXES
from mien.data.folder import read_folder
from mien.data.labels import comma_note, read_labels, read_number
from mien.data.remote import in_words, local_copies, read_remote_folder
from mien.data.rows import Table, check_unique, read_table
from mien.data.sidecars import Transcripts, locate
from mien.data.splits import SPLITS
from mien.errors import DataError, escape_control
from mien.schema import Clip, Manifest
from mien.storage.addresses import bucket_of, is_address, join, lies_in, name_of, parent
from mien.wording import plural

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")

_KNOWN_COLUMNS = (
    "id", "path", "start", "end", "split", "participant", "group", "transcript", "sound", "crops", "openface"
)  # fmt: skip

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")

_CONTENT_COLUMNS = ("path", "sound", "transcript", "crops", "openface")
"""The columns that may hold what is scored; a table has at least one of them."""

_FILE_COLUMNS = ("sound", "crops", "openface")
"""The columns of files beside the clip's own."""


def read_manifest(source: str | Path, *, targets: Sequence[str] | None = None, label_scale: float = 1.0) -> Manifest:
    """The clips of a data set.

    Args:
        source: the challenge's folder (it holds ``train_split.csv`` or its companions), any other folder (every video
            and audio file below it), a video file, or a CSV, TSV or Parquet table with a column ``path`` (or ``sound``,
            or ``transcript``) and optionally ``id``, ``start``, ``end`` (seconds), ``split``, ``participant``,
            ``group``, ``crops``, ``openface``. Paths are relative to the table. A row without ``path`` needs an
            ``id``; its ``sound`` is its file, or it has no file at all, only words or provided faces. A table, a
            folder or a file may also be in object storage (``s3://…``); so may a ``path`` in a table.
        targets: the label columns, in order; by default every other column of numbers that look like ratings.
        label_scale: the highest possible rating; labels are divided by it.

    Returns:
        Clips in the order of their table, or sorted by name. ``text/{id}.txt`` beside the data is the transcript of a
        clip without one in the table.

    Raises:
        DataError: there is no such file or no clip in it, the table has no header, an id is not unique, it is unclear
            which columns are labels, or a label is not a number in [0, 1] after scaling.
    """
    if not label_scale > 0:
        raise DataError(f"label_scale = {label_scale:g}, but it is the highest possible rating, for example 100")
    if isinstance(source, str) and is_address(source):
        return replace(_read_remote(source, targets, label_scale), label_scale=float(label_scale))
    source = Path(source)
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    if source.is_dir():
        manifest = read_challenge(source, targets, label_scale) if is_challenge(source) else read_folder(source)
    elif source.suffix.lower() in TABLE_SUFFIXES:
        manifest = _from_table(source, targets, label_scale)
    else:
        manifest = Manifest(source, (), (Clip(escape_control(source.stem), source),))
    if not manifest.clips:
        expected = (
            "the folder is empty"
            if source.is_dir()
            else "expected a table with a column 'path' or 'transcript' and a line per clip"
        )
        found = "; ".join(note.removeprefix(f"{source}: ") for note in manifest.notes) or expected
        raise DataError(f"{source}: no clips found; {found}")
    return replace(manifest, label_scale=float(label_scale))


def _read_remote(address: str, targets: Sequence[str] | None, label_scale: float) -> Manifest:
    """The clips of a table, of a folder, or of one file in object storage."""
    suffix = Path(name_of(address)).suffix.lower()
    if suffix in VIDEO_SUFFIXES | AUDIO_SUFFIXES:
        clip = Clip(escape_control(Path(name_of(address)).stem), address=address)
        return Manifest(Path(address), (), (clip,), fetch_from=(address,))
    if suffix not in TABLE_SUFFIXES:
        return read_remote_folder(address)
    with local_copies(address) as table:
        made = _from_table(table, targets, label_scale, parent(address))
    if not made.clips:
        raise DataError(f"{address}: no clips found; expected a table with a column 'path' and a line per clip")
    notes = tuple(in_words(note, table.parent, parent(address)) for note in made.notes)
    return replace(made, source=Path(address), notes=notes, fetch_from=(bucket_of(address),))


def clips_of(paths: Iterable[str | Path]) -> Manifest:
    """The clips in several files and folders, for scoring; labels are not read.

    A clip that was named twice counts once, with a note; different clips with one name get their path in front.

    Raises:
        DataError: a path does not exist, or none was given, or two clips still have one name.
    """
    manifests = [read_manifest(path, targets=()) for path in paths]
    if not manifests:
        raise DataError("no clip named; give a video file, a folder or a table of clips")
    found = [(clip, manifest.source) for manifest in manifests for clip in manifest.clips]
    clips = list({_identity(clip, source): (clip, source) for clip, source in found}.values())
    notes = [note for manifest in manifests for note in manifest.notes]
    if len(clips) < len(found):
        notes.append(f"{plural(len(found) - len(clips), 'clip')} named twice, counted once")
    counts = Counter(clip.id for clip, _ in clips)
    named = [replace(clip, id=_long_name(clip, source)) if counts[clip.id] > 1 else clip for clip, source in clips]
    check_unique((str(clip.path or source), clip.id) for clip, (_, source) in zip(named, clips, strict=True))
    places = tuple(dict.fromkeys(place for manifest in manifests for place in manifest.fetch_from))
    return Manifest(manifests[0].source, manifests[0].targets, tuple(named), tuple(notes), fetch_from=places)


def fetch_also_from(manifest: Manifest, places: Iterable[str]) -> Manifest:
    """A manifest whose clips may also be fetched from these addresses.

    Raises:
        DataError: one is not an address, or no clip lies there.
    """
    for place in places:
        bucket_of(place)
        if not any(clip.address and lies_in(clip.address, place) for clip in manifest.clips):
            raise DataError(f"{place}: no clip of {manifest.source} lies there")
    return replace(manifest, fetch_from=(*manifest.fetch_from, *places))


def _identity(clip: Clip, source: Path) -> tuple[Any, ...]:
    """Equal for the same clip named twice; clips without a file are of their table."""
    return clip.id, clip.address or (clip.path or source).absolute(), clip.start, clip.end


def _long_name(clip: Clip, source: Path) -> str:
    return escape_control(clip.address or (str(clip.path) if clip.path else f"{source}:{clip.id}"))


def _from_table(file: Path, targets: Sequence[str] | None, label_scale: float, folder: str | None = None) -> Manifest:
    """The clips of a table; ``folder`` is the address that its paths are relative to, if it is a copy."""
    table, notes = _small_letters(read_table(file), targets or ())
    if table.columns and not set(_CONTENT_COLUMNS) & set(table.columns):
        raise DataError(
            f"{file}:1: no column 'path' (or 'transcript', for words without a video; "
            f"found: {', '.join(table.columns[:8])}); the first line must name the columns"
        )
    notes += table.missing_note(_KNOWN_COLUMNS)
    others = [column for column in table.columns if column not in _KNOWN_COLUMNS]
    notes += comma_note(file, "time", (row.get(column, "") for _, row in table.rows for column in ("start", "end")))
    names, labels = read_labels(table, others, targets, label_scale, notes)
    transcripts = Transcripts(file.parent / "text")
    has_paths = any(row.get("path") for _, row in table.rows)
    clips = [
        _table_clip(table, line, row, values, transcripts, has_paths, folder)
        for (line, row), values in zip(table.rows, labels, strict=True)
    ]
    check_unique([(f"{file}:{line}", clip.id) for (line, _), clip in zip(table.rows, clips, strict=True)])
    notes += _notes_on_files(file, clips)
    windows = [path for _, row in table.rows if _DRIVE.match(path := row.get("path", ""))]
    if windows:
        notes.append(
            f"{file}: {len(windows)} paths are of Windows drives (first: {windows[0]}); make them relative to the table"
        )
    return Manifest(file, names, tuple(clips), (*notes, *transcripts.notes()))


def _small_letters(table: Table, targets: Sequence[str]) -> tuple[Table, list[str]]:
    """The table with known columns and splits in small letters, as ``Participant`` and ``Test``, and notes on them.

    A column that is a target, or stands beside one that is written as mien does, keeps its name.
    """
    names = {
        column: known
        for column in table.columns
        if (known := column.lower()) in _KNOWN_COLUMNS and known not in table.columns and column not in targets
    }
    if len({*names.values()}) < len(names):
        first, second = [column for column in names if list(names.values()).count(names[column]) > 1][:2]
        raise DataError(f"{table.file}:1: columns {first!r} and {second!r} both name {names[first]!r}; rename one")
    rows = [(line, {names.get(column, column): cell for column, cell in row.items()}) for line, row in table.rows]
    renamed = {
        written: known
        for _, row in rows
        if (known := (written := row.get("split", "")).lower()) in SPLITS and known != written
    }
    rows = [
        (line, row | {"split": renamed[row["split"]]} if row.get("split") in renamed else row) for line, row in rows
    ]
    notes = [
        f"{table.file}: {what} {', '.join(found)} read as {', '.join(found.values())}"
        for what, found in (("columns", names), ("splits", renamed))
        if found
    ]
    columns = tuple(names.get(column, column) for column in table.columns)
    missing = [(line, names.get(column, column)) for line, column in table.missing]
    return Table(table.file, columns, rows, missing), notes


def _notes_on_files(file: Path, clips: Sequence[Clip]) -> Iterator[str]:
    """Notes on the clips without a file of their own."""
    wordless = [clip.id for clip in clips if not clip.has_file]
    sounds = [clip.id for clip in clips if clip.path is not None and clip.path == clip.sound]
    if wordless:
        yield f"{file}: {plural(len(wordless), 'clip')} without a video or audio file (first: {wordless[0]})"
    if sounds:
        count = plural(len(sounds), "clip")
        yield f"{file}: {count} without a path; the sound is used as the file (first: {sounds[0]})"


def _table_clip(
    table: Table,
    line: int,
    row: Mapping[str, str],
    labels: tuple[float, ...] | None,
    transcripts: Transcripts,
    has_paths: bool,
    folder: str | None,
) -> Clip:
    """The clip of a row; ``has_paths`` is whether any row of the table names a file, ``folder`` its address."""
    file = table.file
    written = row.get("path") or row.get("sound") or ""
    if not written:
        if not any(row.get(column) for column in _CONTENT_COLUMNS) and (has_paths or "transcript" not in table.columns):
            raise DataError(f"{file}:{line}: column 'path' is empty, and the row has no transcript either")
        if not row.get("id"):
            raise DataError(f"{file}:{line}: column 'id' is empty; a clip without a path needs an id")
    elif not Path(written).name:
        raise DataError(f"{file}:{line}: path = {written!r} names no file")
    address = _address(table, line, row, folder)
    path = locate(file.parent, written) if written and not address else None
    start, end = (read_number(file, line, column, row.get(column, "")) for column in ("start", "end"))
    if start is not None and start < 0:
        raise DataError(f"{file}:{line}: start = {start} s is before the file begins")
    if start is not None and end is not None and end <= start:
        raise DataError(f"{file}:{line}: end = {end} s is not after start = {start} s")
    name = row.get("id") or (_name(written.rpartition("://")[2], path) if written else "")
    sound, crops, openface = (
        locate(file.parent, value) if (value := row.get(column)) else None for column in ("sound", "crops", "openface")
    )
    return Clip(
        id=name,
        path=path,
        start=start,
        end=end,
        split=row.get("split") or None,
        participant=row.get("participant") or None,
        group=row.get("group") or None,
        transcript=_words(row, name, bool(written), transcripts),
        labels=labels,
        sound=sound,
        crops=crops,
        openface=openface,
        address=address,
    )


def _address(table: Table, line: int, row: Mapping[str, str], folder: str | None) -> str | None:
    """The address of a row's file; only ``path`` may hold one, or be relative to one."""
    for column in _FILE_COLUMNS:
        if is_address(row.get(column)) or (folder and row.get(column)):
            raise DataError(
                f"{table.file}:{line}: {column} = {row[column]!r} is in object storage; only 'path' is fetched from "
                "there, so leave the column out, or copy the data here"
            )
    written = row.get("path")
    if written and is_address(written):
        bucket_of(written)
        return written
    return join(folder, written.replace("\\", "/")) if written and folder else None


def _words(row: Mapping[str, str], name: str, has_file: bool, transcripts: Transcripts) -> str | None:
    """The transcript in the table or beside it; without a file to recognise speech in, an empty cell is silence."""
    given = row.get("transcript") or transcripts.read(name)
    return "" if given is None and not has_file and "transcript" in row else given


def _name(written: str, path: Path | None) -> str:
    """A clip's name: its path as written, without suffix; with slashes, unless the file's name has backslashes."""
    return str(Path(written if path and "\\" in path.name else written.replace("\\", "/")).with_suffix(""))
