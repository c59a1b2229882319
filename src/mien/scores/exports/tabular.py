"""Scored clips as tables, for spreadsheets and statistics.

Each function makes a table of a document; the formats ``WIDE`` … ``WHY`` at the end describe their purpose.

The trade-off: a missing number is null, not ``nan``, so that one bad clip does not make a column's mean ``nan``.
Times are seconds from the start of the clip. The metadata ``mien`` of a table's schema has the provenance.
"""

import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from mien.scores.document import ClipNote, ScoresDocument, WindowNote
from mien.scores.exports.format import TableFormat
from mien.scores.provenance import provenance_values

TEXT, NUMBER, COUNT = pa.string(), pa.float64(), pa.int64()


def wide(scored: ScoresDocument) -> pa.Table:
    """A row per clip.

    Returns:
        ``clip``, ``participant``, ``seconds``, a column per target, its ``lower`` and ``upper`` ends, ``present``
        (modalities, separated by spaces), ``absent`` (with reasons), ``error``, ``notes`` (on the file), ``faces``
        (the most in one frame) and ``seconds with several faces``, null if the video was not searched for them. If
        contributions were computed, also ``<target> from nothing`` (baseline) and ``<target> from <modality>``: they
        add up to the score.
    """
    sources = _contributors(scored)
    kinds = {"clip": TEXT, "participant": TEXT, "seconds": NUMBER, **_score_kinds(scored.targets)}
    kinds |= {f"{target} from {source}": NUMBER for target in scored.targets for source in sources}
    kinds |= dict.fromkeys(("present", "absent", "error", "notes"), TEXT)
    kinds |= {"faces": COUNT, "seconds with several faces": NUMBER}
    return _table(scored, (_wide_row(clip, scored.targets, sources) for clip in scored.clips), kinds)


def long(scored: ScoresDocument) -> pa.Table:
    """A row per clip and target, and then a row per window of the clip and target.

    Returns:
        ``clip``, ``participant``, ``unit`` (``clip`` or ``window``), ``start``, ``end``, ``target``, ``score``,
        ``lower``, ``upper``, ``present``, ``error``, ``notes``. A whole clip ends at its length, if known.
    """
    kinds = {"clip": TEXT, "participant": TEXT, "unit": TEXT, "start": NUMBER, "end": NUMBER, "target": TEXT,
             "score": NUMBER, "lower": NUMBER, "upper": NUMBER, "present": TEXT, "error": TEXT,
             "notes": TEXT}  # fmt: skip
    rows = (
        {**_named(clip), "unit": unit, "start": start, "end": end, "target": target, "score": part.scores.get(target),
         "lower": part.lower.get(target), "upper": part.upper.get(target), "present": " ".join(part.present),
         "error": clip.error or "", "notes": _notes(clip)}
        for clip in scored.clips for unit, start, end, part in _parts(clip) for target in scored.targets
    )  # fmt: skip
    return _table(scored, rows, kinds)


def windows(scored: ScoresDocument) -> pa.Table:
    """A row per window: ``clip``, ``participant``, ``start``, ``end``, scores and their ends, ``present``."""
    kinds = {"clip": TEXT, "participant": TEXT, "start": NUMBER, "end": NUMBER, **_score_kinds(scored.targets),
             "present": TEXT}  # fmt: skip
    rows = (
        {**_named(clip), "start": window.start, "end": window.end, **_scores(window, scored.targets),
         "present": " ".join(window.present)}
        for clip in scored.clips for window in clip.windows
    )  # fmt: skip
    return _table(scored, rows, kinds)


def words(scored: ScoresDocument) -> pa.Table:
    """A row per spoken word: ``clip``, ``participant``, ``word``, ``start``, ``end``, ``probability``."""
    kinds = {"clip": TEXT, "participant": TEXT, "word": TEXT, "start": NUMBER, "end": NUMBER, "probability": NUMBER}
    rows = (
        {**_named(clip), "word": word.text.strip(), **word.model_dump(include={"start", "end", "probability"})}
        for clip in scored.clips for word in clip.words
    )  # fmt: skip
    return _table(scored, rows, kinds)


def why(scored: ScoresDocument) -> pa.Table:
    """A row per clip, modality and target: ``shapley``, and ``left_out``, the score minus that without the modality."""
    kinds = {"clip": TEXT, "participant": TEXT, "modality": TEXT, "target": TEXT, "shapley": NUMBER, "left_out": NUMBER}
    rows = (
        {**_named(clip), "modality": name, "target": target, "shapley": values.get(target),
         "left_out": clip.why.left_out.get(name, {}).get(target)}
        for clip in scored.clips if clip.why for name, values in clip.why.shapley.items() for target in scored.targets
    )  # fmt: skip
    return _table(scored, rows, kinds)


def _wide_row(clip: ClipNote, targets: list[str], sources: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {**_named(clip), "seconds": clip.seconds, **_scores(clip, targets)}
    if clip.why:
        parts = {"nothing": clip.why.nothing, **clip.why.shapley}
        row |= {
            f"{target} from {source}": parts.get(source, {}).get(target) for target in targets for source in sources
        }
    row["present"] = " ".join(clip.present)
    row["absent"] = "; ".join(f"{name}: {reason}" for name, reason in clip.absent.items())
    row["error"] = clip.error or ""
    row["notes"] = _notes(clip)
    if clip.faces is not None:
        row |= {"faces": clip.faces.most, "seconds with several faces": clip.faces.several_seconds}
    return row


def _notes(clip: ClipNote) -> str:
    return "; ".join(clip.notes)


def _score_kinds(targets: list[str]) -> dict[str, pa.DataType]:
    ends = [f"{target} {end}" for end in ("lower", "upper") for target in targets]
    return dict.fromkeys((*targets, *ends), NUMBER)


def _scores(part: ClipNote | WindowNote, targets: list[str]) -> dict[str, float | None]:
    scores = {target: part.scores.get(target) for target in targets}
    ends = (("lower", part.lower), ("upper", part.upper))
    return scores | {f"{target} {end}": values.get(target) for end, values in ends for target in targets}


def _contributors(scored: ScoresDocument) -> list[str]:
    """``nothing`` (the baseline) and the model's modalities, if contributions of any clip were computed."""
    return ["nothing", *scored.model.modalities] if any(clip.why for clip in scored.clips) else []


def _named(clip: ClipNote) -> dict[str, Any]:
    return {"clip": clip.clip, "participant": clip.participant or ""}


def _parts(clip: ClipNote) -> list[tuple[str, float, float | None, ClipNote | WindowNote]]:
    windows = [("window", window.start, window.end, window) for window in clip.windows]
    return [("clip", 0.0, clip.seconds, clip), *windows]


def _table(scored: ScoresDocument, rows: Iterable[dict[str, Any]], kinds: dict[str, pa.DataType]) -> pa.Table:
    """A table with the provenance in its metadata, which Parquet keeps."""
    about = {"mien": json.dumps(provenance_values(scored), ensure_ascii=False)}
    return pa.Table.from_pylist(list(rows), schema=pa.schema(list(kinds.items()), metadata=about))


_CLIP = ("clip", "participant")
_SCORE = ("<target>", "<target> lower", "<target> upper")

WIDE = TableFormat(
    name="wide",
    about="a row per clip, a column per target: for a spreadsheet",
    columns=(
        *_CLIP, "seconds", *_SCORE, "<target> from nothing", "<target> from <modality>", "present", "absent", "error",
        "notes",
        "faces",
        "seconds with several faces",
    ),
    make=wide,
)  # fmt: skip
LONG = TableFormat(
    name="long",
    about="a row per clip or window and target: for R, pandas and plots",
    columns=(*_CLIP, "unit", "start", "end", "target", "score", "lower", "upper", "present", "error", "notes"),
    make=long,
)
WINDOWS = TableFormat(
    name="windows",
    about="a row per window, a column per target: for curves over time",
    columns=(*_CLIP, "start", "end", *_SCORE, "present"),
    make=windows,
)
WORDS = TableFormat(
    name="words",
    about="a row per spoken word: for transcripts",
    columns=(*_CLIP, "word", "start", "end", "probability"),
    make=words,
)
WHY = TableFormat(
    name="why",
    about="a row per clip, modality and target: for modality contributions",
    columns=(*_CLIP, "modality", "target", "shapley", "left_out"),
    make=why,
)
