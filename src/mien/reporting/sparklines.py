"""Sparklines: a small chart per clip, curves over time, or bars for a clip without windows.

All have one scale, 100 units wide and 100 high; the page stretches them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

from mien.reporting.blocks import Key
from mien.reporting.player import Part, Player

MAX_CLIPS = 60
"""Clips that are drawn, at most."""


@dataclass(frozen=True)
class Spark:
    """The sparkline of a clip.

    Attributes:
        clip: its name.
        place: its place in the player; ``None`` when it is not in it.
        summary: duration and highest score, in words.
        outlines: an SVG path per target, empty without a score.
        bars: whether the paths are bars.
    """

    clip: str
    place: int | None
    summary: str
    outlines: tuple[str, ...]
    bars: bool


@dataclass(frozen=True)
class Sparklines:
    """The sparklines of clips; ``zero`` is the height of the score 0, from the top."""

    kind: ClassVar[str] = "sparklines"
    legend: Sequence[Key]
    sparks: Sequence[Spark]
    zero: float


def spark_of(player: Player, place: int | None, targets: Sequence[str], scale: tuple[float, float]) -> Spark:
    """The sparkline of a clip."""
    width = 100 / len(targets)
    if player.windowed:
        outlines = [_curve(player, target, scale) for target in range(len(targets))]
    else:
        outlines = [_bar(score, width * at, width, scale) for at, score in enumerate(player.scores)]
    return Spark(player.clip, place, summary(player, targets), tuple(outlines), not player.windowed)


def summary(player: Player, targets: Sequence[str]) -> str:
    """A clip's duration and its highest score."""
    known = [(score, name) for score, name in zip(player.scores, targets, strict=True) if score is not None]
    if not known:
        return f"{player.seconds:.1f} s"
    score, name = max(known)
    return f"{player.seconds:.1f} s, highest: {name} {_signed(score)}"


def height(score: float, scale: tuple[float, float]) -> float:
    """The height of a score, from the top.

    >>> height(0.25, (0.0, 1.0))
    75.0
    """
    low, high = scale
    return round(100 - 100 * (score - low) / (high - low), 2)


def _curve(player: Player, target: int, scale: tuple[float, float]) -> str:
    """Lines through the middles of the windows, level at both ends, broken where a score is missing."""
    known = groupby(player.parts, lambda part: part.scores[target] is not None)
    return "".join(_line(list(run), target, player.seconds, scale) for available, run in known if available)


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
    return f"{score:z.2f}".replace("-", "−")
