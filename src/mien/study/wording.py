"""Formats of numbers and differences in the tables, text and answers of a study."""

import math

import numpy as np

from mien.metrics import Interval, mean_defined
from mien.study.results import CellResult, Difference, Results


def spread(outcome: CellResult) -> str:
    """Mean r over seeds ± standard deviation over seeds."""
    mean = float(mean_defined(outcome.mean_r))
    deviation = f"{np.nanstd(outcome.mean_r, ddof=1):.4f}" if len(outcome.r) > 1 else "–"
    return f"{mean:z.4f} ± {deviation}"


def ends(interval: Interval) -> str:
    """Both ends of an interval; empty if undefined.

    >>> ends(Interval(0.5, 0.4, 0.6))
    '[0.4000, 0.6000]'
    """
    return "" if math.isnan(interval.low) else f"[{interval.low:z.4f}, {interval.high:z.4f}]"


def changed(difference: Difference) -> str:
    """The labels of a cell that differ from those of the cell it is compared with."""
    other = dict(difference.other.labels)
    return " · ".join(label for axis, label in difference.cell.labels if other[axis] != label)


def instead_of(difference: Difference) -> str:
    """The labels that differ, of the cell and of the one that it is compared with."""
    mine = dict(difference.cell.labels)
    theirs = " · ".join(label for axis, label in difference.other.labels if mine[axis] != label)
    return f"{changed(difference)} instead of {theirs}"


def favours_trained(results: Results) -> str:
    """What it means for ridge cells, if there are any, that validation clips choose the epochs of trained cells."""
    if all(cell.method != "ridge" for cell in results.plan.cells):
        return ""
    return (
        " Ridge chooses nothing on them, so differences from ridge favour the trained cells; set train.select=inner "
        "to compare them fairly."
    )
