"""A scored clip as a Praat TextGrid: interval tiers in the long text format, UTF-8.

In Praat an interval tier covers all of its time without a gap, so gaps between windows are intervals without text. The
grid's time is that of the file: a clip that begins at 12.5 s in its file gives a grid that begins at 12.5 s.

Source: P. Boersma, D. Weenink, Praat manual, "TextGrid file formats".
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mien.scores.document import ClipNote, ScoresDocument
from mien.scores.exports.format import FolderFormat
from mien.scores.exports.tiers import Tier, TierInterval, extent, free_name, tiers
from mien.scores.provenance import provenance_line


def textgrid(scored: ScoresDocument, clip: ClipNote) -> str:
    """The TextGrid of a clip: a tier per target with scores as text, ``transcript`` and ``words`` if known.

    Its last tier, ``mien``, has the provenance and notes on the file: TextGrids have no header for them.

    Raises:
        DataError: windows are not in order of time, or nested.
    """
    begin, end = extent(clip)
    made = tiers(clip, scored.targets)
    end = max([end, *(tier.intervals[-1].end for tier in made if tier.intervals)])
    about = "; ".join([provenance_line(scored), *clip.notes])
    made += (Tier(free_name("mien", [tier.name for tier in made]), "about", (TierInterval(begin, end, about),)),)
    lines = [
        'File type = "ooTextFile"', 'Object class = "TextGrid"', "", f"xmin = {_seconds(begin)}",
        f"xmax = {_seconds(end)}", "tiers? <exists>", f"size = {len(made)}", "item []:",
    ]  # fmt: skip
    for place, tier in enumerate(made, 1):
        lines += [f"    item [{place}]:", *_tier(tier, begin, end)]
    return "\n".join(lines) + "\n"


def _tier(tier: Tier, begin: int, end: int) -> Iterator[str]:
    intervals = list(filled(tier.intervals, begin, end))
    yield '        class = "IntervalTier"'
    yield f"        name = {_quoted(tier.name)}"
    yield f"        xmin = {_seconds(begin)}"
    yield f"        xmax = {_seconds(end)}"
    yield f"        intervals: size = {len(intervals)}"
    for place, interval in enumerate(intervals, 1):
        yield f"        intervals [{place}]:"
        yield f"            xmin = {_seconds(interval.start)}"
        yield f"            xmax = {_seconds(interval.end)}"
        yield f"            text = {_quoted(interval.text)}"


def filled(intervals: Sequence[TierInterval], begin: int, end: int) -> Iterator[TierInterval]:
    """The intervals, with empty ones in the gaps between ``begin`` and ``end``.

    >>> [(part.start, part.end, part.text) for part in filled([TierInterval(10, 20, "a")], 0, 30)]
    [(0, 10, ''), (10, 20, 'a'), (20, 30, '')]
    """
    reached = begin
    for interval in intervals:
        if interval.start > reached:
            yield TierInterval(reached, interval.start, "")
        yield interval
        reached = interval.end
    if reached < end:
        yield TierInterval(reached, end, "")


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.3f}"


def _quoted(text: str) -> str:
    """Text in Praat's quotes, which are doubled inside; invalid Unicode becomes U+FFFD."""
    plain = " ".join(text.replace("\0", " ").split())
    return '"' + plain.replace('"', '""').encode("utf-8", "replace").decode("utf-8") + '"'


def _of_clip(scored: ScoresDocument, clip: ClipNote, folder: Path) -> bytes:  # noqa: ARG001
    return textgrid(scored, clip).encode("utf-8")


TEXTGRID = FolderFormat(
    name="textgrid",
    about="a Praat TextGrid per clip, with a tier per target, and the words: for phoneticians",
    suffix=".TextGrid",
    make=_of_clip,
)
