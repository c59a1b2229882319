"""How numbers and differences of a study are written: one way, in tables, text and answers."""

import math

import numpy as np

from mien.metrics import Interval
from mien.study.results import CellResult, Difference


def spread(outcome: CellResult) -> str:
    """Mean r over seeds ± standard deviation over seeds."""
    mean = float(np.nanmean(outcome.mean_r))
    deviation = f"{np.nanstd(outcome.mean_r, ddof=1):.4f}" if len(outcome.r) > 1 else "–"
    return f"{mean:.4f} ± {deviation}"


def ends(interval: Interval) -> str:
    """Both ends of an interval; nothing where it has none.

    >>> ends(Interval(0.5, 0.4, 0.6))
    '[0.4000, 0.6000]'
    """
    return "" if math.isnan(interval.low) else f"[{interval.low:.4f}, {interval.high:.4f}]"


def changed(difference: Difference) -> str:
    """What a cell has other than the one that it is compared with."""
    other = dict(difference.other.labels)
    return " · ".join(label for axis, label in difference.cell.labels if other[axis] != label)


def instead_of(difference: Difference) -> str:
    """What a cell has, and what stands there in the one that it is compared with."""
    mine = dict(difference.cell.labels)
    there = " · ".join(label for axis, label in difference.other.labels if mine[axis] != label)
    return f"{changed(difference)} instead of {there}"
