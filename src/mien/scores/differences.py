"""The difference of two conditions over people, within people, between people, or mixed.

    within    all people have both conditions     sign-flip test of their differences
    between   none has both                       Welch's t
    mixed     some have both, others one          Welch's t for partially overlapping samples

The estimate is always the mean over all people of the second condition minus that of the first, so nobody is left out.
The trade-off: permuting people between groups needs no normal distribution, but takes groups of unequal size and spread
for a difference in means (type I error .20 at .05); even permutations of Welch's t do with fewer than ten people.

Means of equal scores differ in the last digits when their numbers of clips do. Differences and spreads below
``ROUNDING`` of the largest score are therefore 0: they would be tested, and divided by each other, like real ones.

Shapes: ``P`` people, 2 conditions.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.metrics import FEWEST, Interval, bootstrap_mean, interval
from mien.scores.permutation import sign_flip_p

Array = npt.NDArray[np.float64]

WITHIN, BETWEEN, MIXED = "within", "between", "mixed"

ROUNDING = 1e-12
"""Of the largest score; far above the rounding errors of a mean, and far below any difference of interest."""


@dataclass(frozen=True)
class ConditionDifference:
    """The second condition minus the first.

    Attributes:
        design: ``within``, ``between`` or ``mixed``.
        people: number of people with either condition.
        both: number of people with both.
        interval: the difference with its 95 % interval.
        effect: standardised difference: Cohen's dz within people, else d; ``nan`` if all values are equal.
        p: two-sided; like the ends of the interval ``nan`` with fewer than ``FEWEST`` people in a condition.
    """

    design: str
    people: int
    both: int
    interval: Interval
    effect: float
    p: float


def condition_difference(
    values: npt.ArrayLike, resamples: int = 10_000, seed: int = 0, largest: float = 0.0
) -> ConditionDifference:
    """Compare two conditions.

    Args:
        values: ``(P, 2)``, a row per person; ``nan`` if a person does not have a condition.
        resamples, seed: of the bootstrap over people and of sign flips.
        largest: absolute score before a baseline was subtracted, if it is larger than all ``values``.
    """
    rows = np.asarray(values, np.float64)
    known = np.isfinite(rows)
    rows, known = rows[known.any(1)], known[known.any(1)]
    paired = known.all(1)
    first, second = (rows[known[:, c], c] for c in (0, 1))
    design = WITHIN if paired.all() else MIXED if paired.any() else BETWEEN
    fewer = min(len(first), len(second))
    tiny = ROUNDING * float(np.abs(rows[known]).max(initial=largest))
    value = float(without_rounding(second.mean() - first.mean(), tiny)) if fewer else math.nan
    apart = without_rounding(rows[paired, 1] - rows[paired, 0], tiny)
    effect = _ratio(value, _deviation(apart) if design == WITHIN else _pooled_deviation(first, second), tiny)
    found, p = Interval(value, math.nan, math.nan), math.nan
    if fewer >= FEWEST:
        error, df = standard_error(first, second, rows[paired])
        drawn = without_rounding(_resampled(rows, design, resamples, seed), tiny)
        found = interval(value, drawn, fewer, df=df)
        if design == WITHIN:  # in whole units, so that sums of equal differences are equal
            p = sign_flip_p(np.round(apart / tiny) if tiny else apart, resamples, seed)
        else:
            p = _student_p(value, error, df, tiny)
    return ConditionDifference(design, len(rows), int(paired.sum()), found, effect, p)


def without_rounding(differences: npt.ArrayLike, tiny: npt.ArrayLike) -> Array:
    """Differences with 0 for those of at most ``tiny``."""
    apart = np.asarray(differences, np.float64)
    return np.where(np.abs(apart) <= tiny, 0.0, apart)


def standard_error(first: Array, second: Array, pairs: Array) -> tuple[float, float]:
    """Standard error of the difference in means, and its degrees of freedom, for samples that may share people.

    That of Welch if they share none, that of paired differences if they share all. The covariance of fewer than two
    pairs is unknown and taken as 0.

    Args:
        first, second: ``(N,)`` and ``(N',)``, all people with that condition; at least two each.
        pairs: ``(B, 2)``, the people with both.

    Source: B. Derrick, B. Russ, D. Toher, P. White, J. Modern Applied Statistical Methods 16 (2017) 137, T_new2.

    >>> error, df = standard_error(np.array([1.0, 3.0, 5.0]), np.array([2.0, 6.0]), np.empty((0, 2)))
    >>> round(error**2, 3), round(df, 2)  # 4 / 3 + 8 / 2, and Welch's formula
    (5.333, 1.68)
    """
    variances = [float(values.var(ddof=1)) / len(values) for values in (first, second)]
    shared, n = len(pairs), (len(first), len(second))
    covariance = float(np.cov(pairs.T)[0, 1]) if shared >= 2 else 0.0
    error = math.sqrt(max(sum(variances) - 2 * covariance * shared / (n[0] * n[1]), 0.0))
    weight = sum(v**2 / (count - 1) for v, count in zip(variances, n, strict=True))
    welch = sum(variances) ** 2 / weight if weight > 0 else float(min(n) - 1)
    single = n[0] + n[1] - 2 * shared
    df = shared - 1 + (welch - shared + 1) / (single + 2 * shared) * single
    return error, df


def _resampled(rows: Array, design: str, resamples: int, seed: int) -> Array:
    """``(R,)`` differences over resampled people; between people, each group is resampled by itself."""
    if design != BETWEEN:
        means = bootstrap_mean(rows, resamples=resamples, seed=seed)
        return means[:, 1] - means[:, 0]
    first, second = (
        bootstrap_mean(rows[np.isfinite(rows[:, c])][:, [c]], resamples=resamples, seed=seed + c)[:, 0] for c in (0, 1)
    )
    return second - first


def _student_p(value: float, error: float, df: float, tiny: float) -> float:
    from scipy.special import stdtr  # noqa: PLC0415 - a fifth of a second

    if error <= tiny:
        return 1.0 if value == 0 else 0.0
    return float(2 * stdtr(df, -abs(value) / error))


def _deviation(values: Array) -> float:
    return float(values.std(ddof=1)) if len(values) >= 2 else math.nan


def _pooled_deviation(first: Array, second: Array) -> float:
    """Standard deviation within two groups."""
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in (first, second) if len(group))
    count = len(first) + len(second) - 2
    return math.sqrt(squares / count) if count > 0 else math.nan


def _ratio(value: float, spread: float, tiny: float) -> float:
    return value / spread if spread > tiny else math.nan
