"""Read scores and join them with the participant and the condition of each clip.

scores (a document, or a wide table)  +  a table with ``clip``, ``participant``, a column of conditions → ScoredClips
"""

import math
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mien.data.folder import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from mien.data.labels import read_number
from mien.data.rows import check_unique, read_table
from mien.errors import DataError
from mien.scores.document import read_document
from mien.scores.people import ScoredClips
from mien.wording import plural

CLIP, PARTICIPANT, ERROR = "clip", "participant", "error"
_ENDS = (" lower", " upper")
SUFFIXES = VIDEO_SUFFIXES | AUDIO_SUFFIXES

Row = Mapping[str, str]


def read_scored(scores: Path, by: str, about: Path | None = None) -> tuple[ScoredClips, tuple[str, ...]]:
    """Scores with the condition of each clip.

    Args:
        scores: a document (.json), or a wide table (.csv, .tsv, .parquet) as ``mien predict`` writes it.
        by: the column of conditions, in ``about`` or in the table of scores itself.
        about: a table with ``clip``, ``by`` and optionally ``participant``, which overrides that of the scores.

    Returns:
        The clips with scores, and notes on clips that do not match, one line each.

    Raises:
        DataError: a file cannot be read, lacks the column, has no scores, or several rows of one clip.
    """
    targets, rows = _read_json(scores) if scores.suffix.lower() == ".json" else _read_table(scores, by)
    known, notes = ({}, []) if about is None else _about(about, by, [row[CLIP] for row in rows])
    if about is None and rows and by not in rows[0]:
        raise DataError(f"{scores}: no column {by!r}; name a table that has it with --about (columns clip, {by})")
    joined = [{**row, **known.get(row[CLIP], {})} for row in rows]
    made = ScoredClips(
        targets,
        tuple(row[CLIP] for row in joined),
        np.array([[_number(scores, row, target) for target in targets] for row in joined]).reshape(-1, len(targets)),
        tuple(row.get(PARTICIPANT) or None for row in joined),
        tuple(row.get(by) or None for row in joined),
        tuple(row.get(ERROR) or None for row in joined),
    )
    return made, tuple(notes)


def _read_json(file: Path) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    read = read_document(file)
    rows = [
        {CLIP: clip.clip, PARTICIPANT: clip.participant or "", ERROR: clip.error or ""}
        | {target: "" if value is None else repr(value) for target, value in clip.scores.items()}
        for clip in read.clips
    ]
    return tuple(read.targets), rows


def _read_table(file: Path, by: str) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    numbered = read_table(file).rows
    rows = [row for _, row in numbered]
    if not rows or CLIP not in rows[0]:
        raise DataError(
            f"{file}: not a table of scores (expected a column {CLIP!r}); write one with mien predict --out"
        )
    names = [name for name in rows[0] if name not in (CLIP, PARTICIPANT, ERROR, by) and not name.endswith(_ENDS)]
    targets = tuple(name for name in names if all(f"{name}{end}" in rows[0] for end in _ENDS))
    if not targets:
        raise DataError(f"{file}: no scores found (expected columns such as 'Joy', 'Joy lower', 'Joy upper')")
    try:
        check_unique((f"{file}:{line}", row[CLIP]) for line, row in numbered)
    except DataError as error:  # as in a table of windows, each of which would count as a clip
        raise DataError(f"{error}; expected a row per clip, as in the format wide") from None
    return targets, rows


def _about(file: Path, by: str, clips: list[str]) -> tuple[dict[str, Row], list[str]]:
    """Condition and participant of each scored clip, also named with its suffix; repeated rows must agree."""
    table = read_table(file)
    for column in (CLIP, by):
        if table.rows and column not in table.columns:
            raise DataError(f"{file}: no column {column!r}; it has {', '.join(table.columns)}")
    known: dict[str, Row] = {}
    for line, row in table.rows:
        if not row[CLIP]:
            raise DataError(f"{file}:{line}: column {CLIP!r} is empty")
        values = {name: row[name] for name in (by, PARTICIPANT) if row.get(name)}
        if known.setdefault(_spelling(row[CLIP]), values) != values:
            raise DataError(f"{file}:{line}: clip {row[CLIP]!r} occurs twice with different values")
    files = {Path(name).with_suffix("").as_posix(): name for name in known if Path(name).suffix.lower() in SUFFIXES}
    match = {clip: name if (name := _spelling(clip)) in known else files.get(name, "") for clip in clips}
    unmatched = [clip for clip in clips if not match[clip]]
    unscored = sorted(set(known) - set(match.values()))
    notes = table.missing_note((by, PARTICIPANT))
    notes += (
        [f"{plural(len(unmatched), 'scored clip')} not in {file.name} (first: {unmatched[0]})"] if unmatched else []
    )
    notes += (
        [f"{plural(len(unscored), 'clip')} of {file.name} without scores (first: {unscored[0]})"] if unscored else []
    )
    return {clip: known[name] for clip, name in match.items() if name}, notes


def _spelling(clip: str) -> str:
    """A clip's name, with accents and separators as they are compared: both differ between systems."""
    return unicodedata.normalize("NFC", clip).replace("\\", "/")


def _number(file: Path, row: Row, target: str) -> float:
    try:
        value = read_number(file, 0, target, row.get(target, ""))
    except DataError:
        raise DataError(f"{file}: clip {row[CLIP]}: {target} = {row[target]!r} is not a number") from None
    return math.nan if value is None else value
