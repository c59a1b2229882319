"""A scored clip as tiers: named rows of labelled intervals, as in ELAN and Praat.

Intervals of a tier cannot overlap in either program, but windows do (4 s long, one each second). So the overlap of two
windows is split in its middle: the interval is shorter than the scored window, and its text is still the score of the
whole window. Windows that do not overlap stay as they are.

Times are whole milliseconds from the start of the *file*, not of the clip, so that they match the video.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from mien.errors import DataError
from mien.scores.document import ClipNote, Scores


@dataclass(frozen=True, slots=True)
class TierInterval:
    """A labelled interval; ``start`` and ``end`` in milliseconds, ``start < end``."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Tier:
    """Intervals in order of time, without overlap; ``kind`` is ``score``, ``speech`` or ``about``."""

    name: str
    kind: str
    intervals: tuple[TierInterval, ...]


def tiers(clip: ClipNote, targets: Sequence[str]) -> tuple[Tier, ...]:
    """A tier per target (its windows, or the whole clip if there are none), then ``transcript`` and ``words``.

    Scores have four decimals; missing scores have no interval.

    Raises:
        DataError: windows are not in order of time, or nested.
    """
    begin, end = extent(clip)
    if clip.windows:
        spans = apart([(begin + _ms(w.start), begin + _ms(w.end)) for w in clip.windows], clip.clip)
        parts: list[tuple[tuple[int, int], Scores]] = [
            (span, window.scores) for span, window in zip(spans, clip.windows, strict=True)
        ]
    else:
        parts = [((begin, end), clip.scores)]
    made = [Tier(target, "score", _scored(parts, target)) for target in targets]
    if clip.transcript:
        made.append(Tier(free_name("transcript", targets), "speech", (TierInterval(begin, end, clip.transcript),)))
    if clip.words:
        made.append(Tier(free_name("words", targets), "speech", _word_intervals(clip)))
    return tuple(made)


def extent(clip: ClipNote) -> tuple[int, int]:
    """Start and end of a clip in its file, milliseconds; the end includes its last window and word."""
    begin = _ms(clip.start)
    ends = [clip.seconds or 0.0, *(window.end for window in clip.windows), *(word.end for word in clip.words)]
    return begin, begin + max(1, _ms(max(ends)))


def apart(spans: Sequence[tuple[int, int]], clip: str) -> list[tuple[int, int]]:
    """Split the overlaps of spans in their middle.

    >>> apart([(0, 4000), (1000, 5000), (2000, 6000)], "a clip")  # borders in the middle of 1-4 s and of 2-5 s
    [(0, 2500), (2500, 3500), (3500, 6000)]
    >>> apart([(0, 1000), (1500, 2000)], "a clip")
    [(0, 1000), (1500, 2000)]

    Raises:
        DataError: spans are not in order of time, nested, or less than a millisecond long after the split.
    """
    for (start, end), (later, later_end) in pairwise(spans):
        if later < start or later_end < end or (later, later_end) == (start, end):
            raise DataError(
                f"{clip}: window {later / 1000:g}-{later_end / 1000:g} s after {start / 1000:g}-{end / 1000:g} s; "
                "windows must be in order of time and not nested"
            )
    borders = [(end + later) // 2 for (_, end), (later, _) in pairwise(spans)]
    starts = [max(start, border) for (start, _), border in zip(spans, [0, *borders], strict=True)]
    ends = [min(end, border) for (_, end), border in zip(spans, [*borders, spans[-1][1]], strict=True)]
    if any(start >= end for start, end in zip(starts, ends, strict=True)):
        raise DataError(f"{clip}: windows less than 2 ms apart; annotation files count whole milliseconds")
    return list(zip(starts, ends, strict=True))


def _scored(parts: Sequence[tuple[tuple[int, int], Scores]], target: str) -> tuple[TierInterval, ...]:
    values = [(span, scores.get(target)) for span, scores in parts]
    return tuple(TierInterval(*span, f"{value:z.4f}") for span, value in values if value is not None)


def _word_intervals(clip: ClipNote) -> tuple[TierInterval, ...]:
    """Words without overlap: a word starts no earlier than the last one ends, and lasts at least 1 ms."""
    begin = _ms(clip.start)
    made, before = [], begin
    for word in clip.words:
        start = max(begin + _ms(word.start), before)
        before = max(begin + _ms(word.end), start + 1)
        made.append(TierInterval(start, before, word.text.strip()))
    return tuple(made)


def free_name(name: str, taken: Sequence[str]) -> str:
    """A tier name that is not taken: ``words_`` if there is a ``words``."""
    while name in taken:
        name += "_"
    return name


def _ms(seconds: float) -> int:
    return round(1000 * seconds)
