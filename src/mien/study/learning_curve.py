"""A learning curve: r against the number of training clips, for each combination of the other axes.

With the axis ``split.train_clips``, and ``split.train_clips_seed`` for several draws of the clips. A draw is a
repetition: r of each is the mean over seeds, and intervals are Student's t over draws, paired for differences. Draws of
one size come from the same training clips, so that large draws overlap, and their intervals are too narrow.

Shapes: ``E`` emotions.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.metrics import Interval, mean_defined
from mien.study.results import DRAWS, SIZES, CellResult, Results, student

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """One size on one curve.

    Attributes:
        series: the labels of the other axes.
        clips: training clips.
        people: their participants, the mean over draws; ``nan`` if unknown.
        draws: number of draws.
        r: mean r over draws, with its interval.
        emotions: ``(E,)`` mean r over draws.
        difference: from the reference's curve, paired by draw; ``None`` on that curve itself.
    """

    series: str
    clips: int
    people: float
    draws: int
    r: Interval
    emotions: Array
    difference: Interval | None = None


def learning_curve(results: Results) -> list[Point]:
    """The points of all curves, by curve and then by size; empty unless the number of training clips is an axis."""
    if SIZES not in results.plan.axes:
        return []
    cells: dict[tuple[str, int], dict[str, CellResult]] = {}
    for outcome in results.outcomes:
        if not outcome.failed:
            place = cells.setdefault((_series(outcome), outcome.trained_on), {})
            place[_draw(outcome)] = outcome
    home = _series(results.outcome(results.plan.reference))
    return [_point(place, found, cells.get((home, place[1]), {}), place[0] == home) for place, found in cells.items()]


def _series(outcome: CellResult) -> str:
    return " · ".join(label for axis, label in outcome.cell.labels if axis not in (SIZES, DRAWS))


def _draw(outcome: CellResult) -> str:
    """The label of a draw; all clips are one draw, whatever its seed."""
    return "" if outcome.cell.settings.split.train_clips is None else dict(outcome.cell.labels).get(DRAWS, "")


def _point(
    place: tuple[str, int], draws: Mapping[str, CellResult], reference: Mapping[str, CellResult], is_home: bool
) -> Point:
    r = {draw: float(mean_defined(outcome.mean_r)) for draw, outcome in draws.items()}
    both = [draw for draw in draws if draw in reference]
    apart = np.array([r[draw] - float(mean_defined(reference[draw].mean_r)) for draw in both])
    people = [math.nan if outcome.people is None else outcome.people for outcome in draws.values()]
    return Point(
        series=place[0],
        clips=place[1],
        people=float(np.mean(people)),
        draws=len(r),
        r=student(np.array(list(r.values())))[0],
        emotions=np.mean([outcome.r.mean(0) for outcome in draws.values()], 0),
        difference=None if is_home or not both else student(apart)[0],
    )
