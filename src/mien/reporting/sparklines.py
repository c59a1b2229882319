"""Small multiples: a clip in a glance, as curves over its time, or as bars where there are no windows.

All are drawn to one scale, 100 wide and 100 high, and stretched to their place by the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

from mien.reporting.blocks import Key
from mien.reporting.player import Part, Player

SHOWN = 60
"""Clips that are drawn, at most."""


@dataclass(frozen=True)
class Spark:
    """A clip in a glance.

    Attributes:
        clip: its name.
        place: its place in the player; ``None`` when it is not there.
        says: its length and its strongest score, in words.
        outlines: an SVG path per target, empty where there is no score.
        bars: whether the paths are bars.
    """

    clip: str
    place: int | None
    says: str
    outlines: tuple[str, ...]
    bars: bool


@dataclass(frozen=True)
class Sparklines:
    """Clips in a glance, beside each other; ``zero`` is where the score 0 lies, from the top."""

    kind: ClassVar[str] = "sparks"
    legend: Sequence[Key]
    sparks: Sequence[Spark]
    zero: float


def spark_of(player: Player, place: int | None, targets: Sequence[str], scale: tuple[float, float]) -> Spark:
    """A clip in a glance."""
    width = 100 / len(targets)
    if player.windowed:
        outlines = [_curve(player, target, scale) for target in range(len(targets))]
    else:
        outlines = [_bar(score, width * at, width, scale) for at, score in enumerate(player.scores)]
    return Spark(player.clip, place, says(player, targets), tuple(outlines), not player.windowed)


def says(player: Player, targets: Sequence[str]) -> str:
    """A clip's length and its strongest score."""
    known = [(score, name) for score, name in zip(player.scores, targets, strict=True) if score is not None]
    if not known:
        return f"{player.seconds:.1f} s"
    score, name = max(known)
    return f"{player.seconds:.1f} s, most {name} {_signed(score)}"


def height(score: float, scale: tuple[float, float]) -> float:
    """Where a score lies, from the top.

    >>> height(0.25, (0.0, 1.0))
    75.0
    """
    low, high = scale
    return round(100 - 100 * (score - low) / (high - low), 2)


def _curve(player: Player, target: int, scale: tuple[float, float]) -> str:
    """Lines through the middles of what the windows speak for, level at both ends, broken where there is no score."""
    known = groupby(player.parts, lambda part: part.scores[target] is not None)
    return "".join(_line(list(run), target, player.seconds, scale) for there, run in known if there)


def _line(run: Sequence[Part], target: int, seconds: float, scale: tuple[float, float]) -> str:
    points = [((part.since + part.until) / 2, part.scores[target] or 0.0) for part in run]
    points = [(run[0].since, points[0][1]), *points, (run[-1].until, points[-1][1])]
    return "M" + "L".join(f"{100 * at / seconds:.1f} {height(score, scale):g}" for at, score in points)


def _bar(score: float | None, left: float, width: float, scale: tuple[float, float]) -> str:
    if score is None:
        return ""
    top, zero = height(score, scale), height(0.0, scale)
    return f"M{left + 0.15 * width:.1f} {zero:g}V{top:g}h{0.7 * width:.1f}V{zero:g}Z"


def _signed(score: float) -> str:
    return f"{score:.2f}".replace("-", "−")
