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
from mien.data.labels import read_labels, read_number
from mien.data.rows import Table, check_unique, read_table
from mien.data.sidecars import Transcripts, locate
from mien.errors import DataError, escape_control
from mien.schema import Clip, Manifest
from mien.wording import plural

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")

_KNOWN_COLUMNS = (
    "id", "path", "start", "end", "split", "participant", "group", "transcript", "sound", "crops", "openface"
)  # fmt: skip

_CONTENT_COLUMNS = ("path", "sound", "transcript", "crops", "openface")
"""The columns that may hold what is scored; a table has at least one of them."""


def read_manifest(source: str | Path, *, targets: Sequence[str] | None = None, label_scale: float = 1.0) -> Manifest:
    """The clips of a data set.

    Args:
        source: the challenge's folder (it holds ``train_split.csv`` or its companions), any other folder (every video
            and audio file below it), a video file, or a CSV, TSV or Parquet table with a column ``path`` (or ``sound``,
            or ``transcript``) and optionally ``id``, ``start``, ``end`` (seconds), ``split``, ``participant``,
            ``group``, ``crops``, ``openface``. Paths are relative to the table. A row without ``path`` needs an
            ``id``; its ``sound`` is its file, or it has no file at all, only words or provided faces.
        targets: the label columns, in order; by default every other column of numbers that look like ratings.
        label_scale: the highest possible rating; labels are divided by it.

    Returns:
        Clips in the order of their table, or sorted by name. ``text/{id}.txt`` beside the data is the transcript of a
        clip without one in the table.

    Raises:
        DataError: there is no such file or no clip in it, the table has no header, an id is not unique, it is unclear
            which columns are labels, or a label is not a number in [0, 1] after scaling.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    if source.is_dir():
        manifest = read_challenge(source, targets, label_scale) if is_challenge(source) else read_folder(source)
    elif source.suffix.lower() in (".csv", ".tsv", ".txt", ".parquet"):
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


def clips_of(paths: Iterable[Path]) -> Manifest:
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
    return Manifest(manifests[0].source, manifests[0].targets, tuple(named), tuple(notes))


def _identity(clip: Clip, source: Path) -> tuple[Any, ...]:
    """Equal for the same clip named twice; clips without a file are of their table."""
    return clip.id, (clip.path or source).absolute(), clip.start, clip.end


def _long_name(clip: Clip, source: Path) -> str:
    return escape_control(str(clip.path) if clip.path else f"{source}:{clip.id}")


def _from_table(file: Path, targets: Sequence[str] | None, label_scale: float) -> Manifest:
    table = read_table(file)
    if table.columns and not set(_CONTENT_COLUMNS) & set(table.columns):
        raise DataError(
            f"{file}:1: no column 'path' (or 'transcript', for words without a video; "
            f"found: {', '.join(table.columns[:8])}); the first line must name the columns"
        )
    notes = table.missing_note(_KNOWN_COLUMNS)
    others = [column for column in table.columns if column not in _KNOWN_COLUMNS]
    names, labels = read_labels(table, others, targets, label_scale, notes)
    transcripts = Transcripts(file.parent / "text")
    has_paths = any(row.get("path") for _, row in table.rows)
    clips = [
        _table_clip(table, line, row, values, transcripts, has_paths)
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


def _notes_on_files(file: Path, clips: Sequence[Clip]) -> Iterator[str]:
    """Notes on the clips without a file of their own."""
    wordless = [clip.id for clip in clips if clip.path is None]
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
) -> Clip:
    """The clip of a row; ``has_paths`` is whether any row of the table names a file."""
    file = table.file
    written = row.get("path") or row.get("sound") or ""
    if not written:
        if not any(row.get(column) for column in _CONTENT_COLUMNS) and (has_paths or "transcript" not in table.columns):
            raise DataError(f"{file}:{line}: column 'path' is empty, and the row has no transcript either")
        if not row.get("id"):
            raise DataError(f"{file}:{line}: column 'id' is empty; a clip without a path needs an id")
    elif not Path(written).name:
        raise DataError(f"{file}:{line}: path = {written!r} names no file")
    path = locate(file.parent, written) if written else None
    start, end = (read_number(file, line, column, row.get(column, "")) for column in ("start", "end"))
    if start is not None and end is not None and end <= start:
        raise DataError(f"{file}:{line}: end = {end} s is not after start = {start} s")
    name = row.get("id") or (_name(written, path) if path else "")
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
        transcript=_words(row, name, path, transcripts),
        labels=labels,
        sound=sound,
        crops=crops,
        openface=openface,
    )


def _words(row: Mapping[str, str], name: str, path: Path | None, transcripts: Transcripts) -> str | None:
    """The transcript in the table or beside it; without a file to recognise speech in, an empty cell is silence."""
    given = row.get("transcript") or transcripts.read(name)
    return "" if given is None and path is None and "transcript" in row else given


def _name(written: str, path: Path) -> str:
    """A clip's name: its path as written, without suffix; with slashes, unless the file's name has backslashes."""
    return str(Path(written if "\\" in path.name else written.replace("\\", "/")).with_suffix(""))
