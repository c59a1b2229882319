"""Plain JSON lines: an object per line with a text or a path, and numbers.

{"id": "7", "text": "so proud of you", "split": "train", "joy": 0.8, "pride": 1}
{"path": "films/7.mp4", "participant": "Ada", "labels": {"joy": 0.8}}
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mien.data.corpora.corpus import Corpus, Options, media_notes
from mien.errors import DataError
from mien.schema import Clip, Manifest
from mien.storage.files import read_bytes_checked
from mien.wording import plural

LARGEST = 500_000_000
TEXTS = ("transcript", "text")
ROW = frozenset((*TEXTS, "id", "path", "split", "participant", "group", "start", "end", "labels"))


def read_jsonl(source: Path, options: Options) -> Manifest:
    """The lines of a file, or of the only ``.jsonl`` file of a folder.

    Args:
        source: the file or folder.
        options: ``label_scale``.

    Returns:
        A clip per line. Labels are the numbers under ``labels`` or beside the text; missing ones are unrated.

    Raises:
        DataError: there is no such file, or more than one, or a line is not such an object.
    """
    files = sorted(source.glob("*.jsonl")) if source.is_dir() else [source]
    if len(files) != 1:
        raise DataError(f"{source}: {len(files)} .jsonl files in it; name the file")
    (file,) = files
    rows = list(_objects(file))
    labels = [(line, _labels(file, line, row, options.label_scale)) for line, row in rows]
    names = tuple(dict.fromkeys(name for _, found in labels for name in found))
    clips = tuple(
        _clip(file, line, row, tuple(found.get(name, math.nan) for name in names))
        for (line, row), (_, found) in zip(rows, labels, strict=True)
    )
    gaps = sum(len(names) - len(found) for _, found in labels)
    notes = [f"{file}: {plural(gaps, 'label is', 'labels are')} missing"] if gaps else []
    return Manifest(
        file, names, clips, (*notes, *media_notes(file.parent, clips, "put them there")), options.label_scale
    )


def _objects(file: Path) -> list[tuple[int, dict[str, Any]]]:
    try:
        lines = read_bytes_checked(file, LARGEST).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 ({error.reason})") from error
    rows = []
    for line, text in enumerate(lines, 1):
        if text.strip():
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{file}:{line}: not JSON ({error})") from error
            if not isinstance(row, dict):
                raise DataError(f'{file}:{line}: expected an object such as {{"text": "…", "joy": 0.8}}')
            rows.append((line, row))
    return rows


def _labels(file: Path, line: int, row: Mapping[str, Any], scale: float) -> dict[str, float]:
    given = row.get("labels")
    if given is not None and not isinstance(given, dict):
        raise DataError(f'{file}:{line}: labels = {str(given)[:40]!r}; expected an object such as {{"joy": 0.8}}')
    beside = {name: value for name, value in row.items() if name not in ROW and isinstance(value, int | float)}
    found = beside if given is None else given
    for name, value in found.items():
        if value is not None and not (isinstance(value, int | float) and 0 <= value / scale <= 1):
            raise DataError(
                f"{file}:{line}: {name} = {str(value)[:40]}, but labels lie in [0, {scale:g}]; "
                "give the highest possible rating with --label-scale"
            )
    return {name: value / scale for name, value in found.items() if value is not None}


def _clip(file: Path, line: int, row: Mapping[str, Any], labels: tuple[float, ...]) -> Clip:
    words = next((row[name] for name in TEXTS if row.get(name) is not None), None)
    path = row.get("path")
    if not isinstance(words, str | None) or not isinstance(path, str | None) or (words is None and not path):
        raise DataError(f'{file}:{line}: expected "text" or "path", a string')
    times = [row.get(name) for name in ("start", "end")]
    if not all(isinstance(time, int | float | None) for time in times):
        raise DataError(f"{file}:{line}: start and end are seconds")
    split, participant, group = (
        None if row.get(name) is None else str(row[name]) for name in ("split", "participant", "group")
    )
    name = f"{file.stem}-{line}" if row.get("id") in (None, "") else str(row["id"])
    return Clip(
        name, file.parent / path if path else None, *times, split=split,
        participant=participant, group=group, transcript=words,
        labels=None if all(math.isnan(value) for value in labels) else labels,
    )  # fmt: skip


JSONL = Corpus(
    name="jsonl",
    title="JSON lines, of any corpus",
    items="a line per clip: an object with text (or transcript) or path; optionally split, participant …",
    people="as the file says",
    targets="every number beside the text, or under labels; divided by --label-scale",
    is_not="checked for anything but its form",
    licence="as its source says",
    citation="as its source says",
    get="-",
    read=read_jsonl,
)
