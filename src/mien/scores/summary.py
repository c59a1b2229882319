"""Compare conditions: means and differences of scores with their uncertainty, with people as the unit.

Clips of one person are not independent, so each person counts once: scores are averaged per person and condition first.
Conditions that share people are compared *within* people (differences; sign-flip test), others *between* people
(permutation test). Intervals are bootstrap intervals over people, at a level adjusted for few people. All p-values of
a summary are corrected together by Benjamini and Hochberg, so q < .05 keeps the false discovery rate below 5 %.

A baseline removes each person's own level: the person's mean in the baseline condition is subtracted from each score.

The trade-off: a person with one clip weighs as much as one with twenty. Inference about people needs that; it loses
some precision when the number of clips per person varies much.

Shapes: ``N`` clips, ``P`` people, ``C`` conditions, ``E`` targets.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.errors import DataError, DependencyMissing
from mien.metrics import Interval, bootstrap_mean, interval, mean_defined
from mien.scores.people import (
    Cells,
    Excluded,
    ScoredClips,
    cells_of,
    excluded_clips,
    exclusion,
    less_baseline,
    unknown_participants,
)
from mien.scores.permutation import permutation_p, sign_flip_p

Array = npt.NDArray[np.float64]

FEW = 6
"""Below this number of people a bootstrap interval is too narrow at any level."""


@dataclass(frozen=True)
class GroupMean:
    """Mean of one target in one condition over people, with its 95 % interval; less the baseline, if there is one."""

    condition: str
    target: str
    clips: int
    people: int
    mean: Interval


@dataclass(frozen=True)
class Contrast:
    """``second`` minus ``first``, of one target.

    Attributes:
        first, second: the conditions.
        target: the score.
        design: ``within`` people with both conditions, or ``between`` people.
        people: number of people in both conditions (within), or in either (between).
        difference: with its 95 % interval.
        effect: standardised difference: Cohen's dz within people, d between them; ``nan`` if all values are equal.
        p: two-sided; ``nan`` with fewer than two people (per group).
        q: p corrected for all contrasts of the summary.
    """

    first: str
    second: str
    target: str
    design: str
    people: int
    difference: Interval
    effect: float
    p: float
    q: float = math.nan


@dataclass(frozen=True)
class Summary:
    """Means and contrasts of conditions.

    Attributes:
        targets: in order.
        baseline: the subtracted condition, or ``None``.
        means: by condition and target; without the baseline, which is 0 by construction.
        contrasts: all pairs of conditions, by target.
        excluded: by reason.
        notes: limitations, one line each.
    """

    targets: tuple[str, ...]
    baseline: str | None
    means: tuple[GroupMean, ...]
    contrasts: tuple[Contrast, ...]
    excluded: tuple[Excluded, ...]
    notes: tuple[str, ...]


def summarize(scored: ScoredClips, baseline: str | None = None, resamples: int = 10_000, seed: int = 0) -> Summary:
    """Means by condition and differences between conditions.

    Args:
        scored: the clips.
        baseline: condition to subtract from each person's scores; people without it are excluded.
        resamples: number of bootstrap resamples and of permutations.
        seed: equal seeds give equal results.

    Raises:
        DataError: all clips are excluded, or none is in the baseline condition.
        DependencyMissing: SciPy is not installed.
    """
    reasons = [exclusion(scored, place) for place in range(len(scored.clips))]
    excluded = excluded_clips(scored, reasons)
    included = [place for place, reason in enumerate(reasons) if reason is None]
    if not included:
        counts = "; ".join(f"{entry.clips} {entry.reason}" for entry in excluded) or "there are no clips"
        raise DataError(f"no clip has both a score and a condition ({counts})")
    cells = cells_of(scored, included, baseline)
    notes = unknown_participants(scored, included)
    if baseline is not None:
        cells, baseline_notes = less_baseline(cells, baseline)
        notes += baseline_notes
    means = [
        mean
        for c, name in enumerate(cells.conditions)
        if name != baseline
        for mean in _means(cells, c, scored.targets, resamples, seed)
    ]
    pairs = list(combinations(range(len(cells.conditions)), 2))
    contrasts = [contrast for pair in pairs for contrast in _contrasts(cells, pair, scored.targets, resamples, seed)]
    notes += [note for pair in pairs for note in _unpaired_people(cells, pair)]
    if any(0 < entry.people < FEW for entry in (*means, *contrasts)):
        notes.append(f"intervals over fewer than {FEW} people are too narrow")
    return Summary(scored.targets, baseline, tuple(means), _discoveries(contrasts), excluded, tuple(notes))


def _means(cells: Cells, c: int, targets: Sequence[str], resamples: int, seed: int) -> list[GroupMean]:
    values = cells.means[:, c]  # (P, E)
    people, clips = _people(values), cells.clips[:, c].sum(0)
    found = _intervals(_mean_known(values), _resampled(values, resamples, seed), people)
    return [
        GroupMean(cells.conditions[c], target, int(clips[e]), int(people[e]), found[e])
        for e, target in enumerate(targets)
    ]


def _contrasts(
    cells: Cells, pair: tuple[int, int], targets: Sequence[str], resamples: int, seed: int
) -> list[Contrast]:
    """Every target; within people if two or more have both conditions, else between people."""
    first, second = (cells.means[:, c] for c in pair)  # (P, E)
    paired = second - first
    if (_people(paired) >= 2).any():
        design, people, spread = "within", _people(paired), _spread(paired)
        p = sign_flip_p(paired, resamples, seed)
        found = _intervals(_mean_known(paired), _resampled(paired, resamples, seed), people)
    else:
        design, people, spread = "between", _people(first) + _people(second), _pooled(first, second)
        p = permutation_p(first, second, resamples, seed)
        drawn = _resampled(second, resamples, seed + 1) - _resampled(first, resamples, seed)
        fewer = np.minimum(_people(first), _people(second))
        found = _intervals(_mean_known(second) - _mean_known(first), drawn, fewer)
    one, other = (cells.conditions[c] for c in pair)
    return [
        Contrast(one, other, target, design, int(people[e]), found[e], _ratio(found[e].value, spread[e]), float(p[e]))
        for e, target in enumerate(targets)
    ]


def _resampled(values: Array, resamples: int, seed: int) -> Array:
    """``(R, E)`` means over resampled people, of those with any value."""
    rows = values[np.isfinite(values).any(-1)]
    return bootstrap_mean(rows, resamples=resamples, seed=seed) if len(rows) else np.full((1, values.shape[-1]), np.nan)


def _intervals(means: Array, drawn: Array, people: npt.NDArray[np.int64]) -> list[Interval]:
    """Each mean with its bootstrap interval; ``nan`` ends for fewer than two people."""
    return [
        interval(float(mean), column, _level(int(n))) if n >= 2 else Interval(float(mean), math.nan, math.nan)
        for mean, column, n in zip(means, drawn.T, people, strict=True)
    ]


def _level(people: int) -> float:
    """The percentile level that gives a 95 % interval of a mean of few values the width of Student's t.

    Source: T. Hesterberg, The American Statistician 69 (2015) 371, §4.3 (expanded percentile interval).
    """
    stats = _scipy_stats()
    reach = math.sqrt(people / (people - 1)) * stats.t.ppf(0.975, people - 1)
    return float(1 - 2 * stats.norm.cdf(-reach))


def _unpaired_people(cells: Cells, pair: tuple[int, int]) -> list[str]:
    """A note on people who are excluded from a paired comparison because they have one condition only."""
    has = np.isfinite(cells.means[:, pair]).any(-1)  # (P, 2)
    both, either = int(has.all(-1).sum()), int(has.any(-1).sum())
    if both < 2 or both == either:
        return []
    first, second = (cells.conditions[c] for c in pair)
    return [f"{second} - {first}: {either - both} of {either} people have one of the conditions only and are excluded"]


def _discoveries(contrasts: Sequence[Contrast]) -> tuple[Contrast, ...]:
    """Add q to each contrast, by Benjamini and Hochberg over all of them."""
    known = [contrast.p for contrast in contrasts if math.isfinite(contrast.p)]
    corrected = iter(_scipy_stats().false_discovery_control(known).tolist() if known else ())
    return tuple(replace(each, q=next(corrected)) if math.isfinite(each.p) else each for each in contrasts)


def _people(values: Array) -> npt.NDArray[np.int64]:
    """``(E,)`` number of known rows."""
    return np.isfinite(values).sum(0)


def _mean_known(values: Array) -> Array:
    return mean_defined(values.T)


def _spread(values: Array) -> Array:
    """``(E,)`` standard deviation of known rows; ``nan`` below two."""
    n = _people(values)
    squares = np.where(np.isfinite(values), values - _mean_known(values), 0) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n >= 2, np.sqrt(squares.sum(0) / (n - 1)), np.nan).astype(np.float64)


def _pooled(first: Array, second: Array) -> Array:
    """``(E,)`` standard deviation within two groups."""
    one, other = _people(first) - 1, _people(second) - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt((one * _spread(first) ** 2 + other * _spread(second) ** 2) / (one + other))


def _ratio(value: float, spread: float) -> float:
    return float(value / spread) if spread > 0 else math.nan


def _scipy_stats() -> Any:
    try:
        from scipy import stats  # noqa: PLC0415 - optional
    except ImportError as error:
        raise DependencyMissing(f"summaries need SciPy ({error}); pip install 'mien[study]'") from error
    return stats
