"""Reader of manifests: a table, the challenge's folder, or a folder of videos → a ``Manifest``.

Every error names file and line (``clips.csv:418``). Only tables and transcripts are opened: a listed file that does
not exist is reported where it is decoded.

Read ``read_manifest`` first; then ``challenge``, ``_from_table``, ``_from_folder``. Tables are read in ``rows``.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mien.data.challenge import is_challenge, read_challenge
from mien.data.rows import check_unique, read_labels, read_number, read_rows, read_text
from mien.errors import DataError, escape_control
from mien.schema import Clip, Manifest

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .wmv .flv .3gp .ts .mts .m2ts .ogv .asf .vob .mxf".split()
)
AUDIO_SUFFIXES = frozenset(".wav .mp3 .m4a .flac .ogg .opus .aac .wma".split())

_KNOWN_COLUMNS = (
    "id", "path", "start", "end", "split", "participant", "group", "transcript", "sound", "crops", "openface"
)  # fmt: skip


def read_manifest(source: str | Path, *, targets: Sequence[str] | None = None, label_scale: float = 1.0) -> Manifest:
    """The clips of a data set.

    Args:
        source: the challenge's folder (it holds ``train_split.csv`` or its companions), any other folder (every video
            and audio file below it), a video file, or a CSV, TSV or Parquet table with at least a column ``path``
            and optionally ``id``, ``start``, ``end`` (seconds), ``split``, ``participant``, ``group``,
            ``transcript``, ``sound``, ``crops``, ``openface``. Paths are relative to the table.
        targets: the label columns, in order; by default every other column of numbers.
        label_scale: the highest possible rating; labels are divided by it.

    Returns:
        Clips in the order of their table, or sorted by name. ``text/{id}.txt`` beside the data is the transcript of a
        clip without one in the table.

    Raises:
        DataError: there is no such file or no clip in it, the table has no header, an id is not unique, or a label is
            not a number in [0, 1] after scaling.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    if source.is_dir():
        manifest = read_challenge(source, targets, label_scale) if is_challenge(source) else _from_folder(source)
    elif source.suffix.lower() in (".csv", ".tsv", ".txt", ".parquet"):
        manifest = _from_table(source, targets, label_scale)
    else:
        manifest = Manifest(source, (), (Clip(escape_control(source.stem), source),))
    if not manifest.clips:
        raise DataError(f"{source}: no clips found; expected videos, or a table with a column 'path'")
    return manifest


def clips_of(paths: Iterable[Path]) -> Manifest:
    """The clips in several files and folders, for scoring; a name that is not unique gets its folder in front.

    Raises:
        DataError: a path does not exist, or none was given.
    """
    manifests = [read_manifest(path) for path in paths]
    if not manifests:
        raise DataError("no clip named; give a video file, a folder or a table of clips")
    clips = [clip for manifest in manifests for clip in manifest.clips]
    counts = Counter(clip.id for clip in clips)
    named = [replace(clip, id=escape_control(str(clip.path))) if counts[clip.id] > 1 else clip for clip in clips]
    notes = tuple(note for manifest in manifests for note in manifest.notes)
    return Manifest(manifests[0].source, manifests[0].targets, tuple({clip.id: clip for clip in named}.values()), notes)


def _from_table(file: Path, targets: Sequence[str] | None, label_scale: float) -> Manifest:
    rows = read_rows(file)
    columns = list(rows[0][1]) if rows else []
    if rows and "path" not in columns:
        raise DataError(
            f"{file}:1: no column 'path' (found: {', '.join(columns[:8])}); the first line must name the columns"
        )
    notes: list[str] = []
    others = [column for column in columns if column not in _KNOWN_COLUMNS]
    names, labels = read_labels(file, rows, others, targets, label_scale, notes)
    clips = [_table_clip(file, line, row, values) for (line, row), values in zip(rows, labels, strict=True)]
    check_unique([(f"{file}:{line}", clip.id) for (line, _), clip in zip(rows, clips, strict=True)])
    return Manifest(file, names, tuple(clips), tuple(notes))


def _table_clip(file: Path, line: int, row: Mapping[str, str], labels: tuple[float, ...] | None) -> Clip:
    if not row["path"]:
        raise DataError(f"{file}:{line}: column 'path' is empty")
    if not Path(row["path"]).name:
        raise DataError(f"{file}:{line}: path = {row['path']!r} names no file")
    name = row.get("id") or str(Path(row["path"]).with_suffix(""))
    start, end = (read_number(file, line, column, row.get(column, "")) for column in ("start", "end"))
    if start is not None and end is not None and end <= start:
        raise DataError(f"{file}:{line}: end = {end} s is not after start = {start} s")
    transcript = row.get("transcript", "")
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
        transcript=transcript or read_text(file.parent / "text" / f"{name}.txt"),
        labels=labels,
        sound=sound,
        crops=crops,
        openface=openface,
    )


def _from_folder(root: Path) -> Manifest:
    found = sorted(path for path in root.rglob("*") if not (path.is_dir() or path.name.startswith(".")))
    named = [path for path in found if path.suffix.lower() in VIDEO_SUFFIXES | AUDIO_SUFFIXES]
    media = [path for path in named if path.is_file()]
    others = [path for path in found if path.suffix.lower() not in VIDEO_SUFFIXES | AUDIO_SUFFIXES | {".txt"}]
    irregular = [path for path in named if not path.is_file()]
    notes = [
        f"{root}: {len(left)} {reason} and were left out (first: {left[0].name})"
        for left, reason in ((others, "files are not videos"), (irregular, "names are not regular files"))
        if left
    ]
    stems = Counter(path.relative_to(root).with_suffix("") for path in media)
    clips = []
    for path in media:
        inside = path.relative_to(root)
        name = str(inside if stems[inside.with_suffix("")] > 1 else inside.with_suffix(""))
        clips.append(Clip(escape_control(name), path, transcript=read_text(root / "text" / f"{name}.txt")))
    return Manifest(root, (), tuple(clips), tuple(notes))
