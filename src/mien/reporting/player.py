"""The player of a clip as data: curves over time, available modalities, attention, words.

Times are seconds from the start of the clip, which may be later than that of its video (``Player.start``). A clip
without windows is its own only window: its curves are level.

Shapes: ``W`` windows, ``E`` targets in the order of the document.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import mean, median_low
from typing import Any

from mien.schema import DOUBTFUL_PROBABILITY
from mien.scores.document import AttentionNote, ClipNote, Scores, ScoresDocument, WindowNote, WordNote
from mien.scores.exports.tiers import apart, extent

FINEST = 200
"""Steps of attention that are shown of a clip, at most; more are merged."""
DIGITS = 4

Numbers = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A window from ``start`` to ``end``, drawn from ``since`` to ``until``: up to the middle of an overlap with the
    next. ``scores``, ``lower`` and ``upper`` are ``(E,)``."""

    start: float
    end: float
    since: float
    until: float
    scores: Numbers
    lower: Numbers
    upper: Numbers


@dataclass(frozen=True, slots=True)
class Weight:
    """Attention of a step from ``since`` to ``until``: ``share`` is 1 for the largest."""

    since: float
    until: float
    share: float


@dataclass(frozen=True, slots=True)
class Strip:
    """A modality in time.

    Attributes:
        there: times at which it is available.
        reason: why it is missing from the whole clip; else empty.
        weights: attention over time, where that is known.
    """

    modality: str
    there: tuple[tuple[float, float], ...]
    reason: str
    weights: tuple[Weight, ...]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A word with its times and its probability."""

    text: str
    since: float
    until: float
    probability: float
    doubtful: bool


@dataclass(frozen=True, slots=True)
class Player:
    """A scored clip in time.

    Attributes:
        clip: its name.
        start: its start in the video, seconds.
        seconds: its duration.
        windowed: whether it has windows.
        parts: its windows in order of time, or the whole clip.
        scores: of the whole clip, ``(E,)``.
        strips: one per modality of the model.
        words: words with times; ``transcript`` is the text where words have none.
        shapley, left_out: by modality, ``(E,)`` contributions; empty when they were not computed.
        baseline: score without any modality, ``(E,)``; empty when it was not computed.
        notes: on its file, its people and its words.
    """

    clip: str
    start: float
    seconds: float
    windowed: bool
    parts: tuple[Part, ...]
    scores: Numbers
    strips: tuple[Strip, ...]
    words: tuple[Spoken, ...]
    transcript: str
    baseline: Numbers
    shapley: dict[str, Numbers]
    left_out: dict[str, Numbers]
    notes: tuple[str, ...]


def player_of(clip: ClipNote, scored: ScoresDocument) -> Player:
    """A scored clip in time.

    Raises:
        DataError: its windows are not in order of time, or nested.
    """
    begin, end = extent(clip)
    seconds, targets, why = (end - begin) / 1000, scored.targets, clip.why
    parts = _parts(clip, seconds, targets)
    return Player(
        clip.clip, clip.start, seconds, bool(clip.windows), parts, _numbers(clip.scores, targets),
        tuple(_strip(name, clip, parts) for name in scored.model.modalities),
        tuple(map(_spoken, clip.words)),
        clip.transcript or "",
        _numbers(why.nothing, targets) if why else (),
        {name: _numbers(values, targets) for name, values in why.shapley.items()} if why else {},
        {name: _numbers(values, targets) for name, values in why.left_out.items()} if why else {},
        tuple(clip.notes),
    )  # fmt: skip


def weights_of(attention: AttentionNote, seconds: float) -> tuple[Weight, ...]:
    """Attention over time.

    A step extends to the middle between it and its neighbours, but at most half the median distance of steps: gaps
    without steps (no face) stay empty.

    >>> note = AttentionNote(seconds=[0.5, 1.5, 5.5], weights=[0.25, 0.25, 0.5])
    >>> [(w.since, w.until, w.share) for w in weights_of(note, 6.0)]
    [(0.0, 1.0, 0.5), (1.0, 2.0, 0.5), (5.0, 6.0, 1.0)]
    """
    times = attention.seconds
    usual = median_low(later - time for time, later in pairwise(times)) if len(times) > 1 else seconds
    gaps = [usual, *(min(usual, later - time) for time, later in pairwise(times)), usual]
    cells = [
        (max(0.0, time - before / 2), min(seconds, time + after / 2), weight)
        for time, before, after, weight in zip(times, gaps[:-1], gaps[1:], attention.weights, strict=True)
    ]
    many = -(-len(cells) // FINEST) or 1
    merged = [_merged(cells[first : first + many]) for first in range(0, len(cells), many)]
    most = max((weight for *_, weight in merged), default=0.0) or 1.0
    return tuple(Weight(_short(since), _short(until), _short(weight / most)) for since, until, weight in merged)


def scale_of(players: Iterable[Player]) -> tuple[float, float]:
    """Limits of the score axis, for all curves: from 0 or below to a little above the highest score."""
    known = [score for player in players for part in (*player.parts, player) for score in part.scores]
    values = [0.0, *(score for score in known if score is not None)]
    room = 0.1 * (max(values) - min(values)) or 1.0
    return min(values) - (room if min(values) < 0 else 0.0), max(values) + room


def plain(player: Player) -> dict[str, Any]:
    """A player as plain values for JSON."""
    return asdict(player)


def _parts(clip: ClipNote, seconds: float, targets: Sequence[str]) -> tuple[Part, ...]:
    if not clip.windows:
        return (_part(clip, (0.0, seconds), (0.0, seconds), targets),)
    spans = apart([(round(1000 * w.start), round(1000 * w.end)) for w in clip.windows], clip.clip)
    return tuple(
        _part(window, (window.start, window.end), (since / 1000, until / 1000), targets)
        for window, (since, until) in zip(clip.windows, spans, strict=True)
    )


def _part(
    part: ClipNote | WindowNote, span: tuple[float, float], own: tuple[float, float], targets: Sequence[str]
) -> Part:
    (start, end), (since, until) = span, own
    ends = _numbers(part.lower, targets), _numbers(part.upper, targets)
    return Part(_short(start), _short(end), _short(since), _short(until), _numbers(part.scores, targets), *ends)


def _strip(modality: str, clip: ClipNote, parts: Sequence[Part]) -> Strip:
    available = [modality in window.present for window in clip.windows or [clip]]
    there = tuple((part.since, part.until) for part, here in zip(parts, available, strict=True) if here)
    attention = clip.why.attention.get(modality) if clip.why else None
    weights = weights_of(attention, parts[-1].until) if attention else ()
    return Strip(modality, there, clip.absent.get(modality, ""), weights)


def _spoken(word: WordNote) -> Spoken:
    doubtful = word.doubtful or word.probability < DOUBTFUL_PROBABILITY  # documents of version 1 only have the latter
    return Spoken(word.text.strip(), _short(word.start), _short(word.end), round(word.probability, 2), doubtful)


def _merged(cells: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    return cells[0][0], cells[-1][1], mean(weight for *_, weight in cells)


def _numbers(values: Scores, targets: Sequence[str]) -> Numbers:
    return tuple(None if (value := values.get(target)) is None else _short(value) for target in targets)


def _short(value: float) -> float:
    return round(value, DIGITS)
