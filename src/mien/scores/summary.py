"""Compare conditions: means and differences of scores with their uncertainty, with people as the unit.

Clips of one person are not independent, so each person counts once: scores are averaged per person and condition first.
Conditions are compared within people, between people, or both (``differences.py``); all people with a condition count.
Intervals are bootstrap intervals over people, at a level adjusted for few people; below ``metrics.FEWEST`` people in a
condition there is neither interval nor p. All p-values of a summary are corrected together by Benjamini and Hochberg,
so q < .05 keeps the false discovery rate below 5 %.

A baseline removes each person's own level: the person's mean in the baseline condition is subtracted from each score.
The baseline is then 0 for everybody, so another condition is compared with it only in people with both: the zeros of
the others are no measurements and would count as people without any spread.

The trade-off: a person with one clip weighs as much as one with twenty. Inference about people needs that; it loses
some precision when the number of clips per person varies much.

Shapes: ``N`` clips, ``P`` people, ``C`` conditions, ``E`` targets.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from mien.errors import DataError
from mien.metrics import FEWEST, Interval, bootstrap_mean, interval
from mien.scores.differences import condition_difference
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
from mien.wording import plural


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
        design: ``within`` people, ``between`` people, or ``mixed``.
        people: number of people with either condition; with both, if one is the subtracted baseline.
        clips: number of their clips in the two conditions.
        both: number of people with both conditions.
        difference: with its 95 % interval.
        effect: standardised difference: Cohen's dz within people, else d; ``nan`` if all values are equal.
        p: two-sided; like the ends of the interval ``nan`` with fewer than ``FEWEST`` people in a condition.
        q: p corrected for all contrasts of the summary.
    """

    first: str
    second: str
    target: str
    design: str
    people: int
    clips: int
    both: int
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
    contrasts = [
        contrast for pair in pairs for contrast in _contrasts(cells, pair, scored.targets, baseline, resamples, seed)
    ]
    notes += [note for pair in pairs for note in _incomplete(cells, pair, baseline)]
    notes += _few_people([*means, *contrasts])
    return Summary(scored.targets, baseline, tuple(means), _discoveries(contrasts), excluded, tuple(notes))


def _means(cells: Cells, c: int, targets: Sequence[str], resamples: int, seed: int) -> list[GroupMean]:
    found = []
    for e, target in enumerate(targets):
        values = cells.means[np.isfinite(cells.means[:, c, e]), c, e]
        if len(values):
            drawn = bootstrap_mean(values[:, None], resamples=resamples, seed=seed)[:, 0]
            mean = interval(float(values.mean()), drawn, len(values))
        else:
            mean = Interval(math.nan, math.nan, math.nan)
        found.append(GroupMean(cells.conditions[c], target, int(cells.clips[:, c, e].sum()), len(values), mean))
    return found


def _contrasts(
    cells: Cells, pair: tuple[int, int], targets: Sequence[str], baseline: str | None, resamples: int, seed: int
) -> list[Contrast]:
    first, second = (cells.conditions[c] for c in pair)
    found = []
    for e, target in enumerate(targets):
        values = cells.means[:, pair, e]  # (P, 2)
        used = np.isfinite(values).all(1) if first == baseline else np.isfinite(values).any(1)
        d = condition_difference(values[used], resamples, seed, float(cells.largest[e]))
        clips = int(cells.clips[:, pair, e][used].sum())
        found.append(Contrast(first, second, target, d.design, d.people, clips, d.both, d.interval, d.effect, d.p))
    return found


def _incomplete(cells: Cells, pair: tuple[int, int], baseline: str | None) -> list[str]:
    """A note on a comparison in which some people have both conditions and others one."""
    has = np.isfinite(cells.means[:, pair]).any(-1)  # (P, 2)
    both, either = int(has.all(-1).sum()), int(has.any(-1).sum())
    if both in (0, either):
        return []
    first, second = (cells.conditions[c] for c in pair)
    if first == baseline:
        return [f"{second} - {first}: {either - both} of {either} people without a score in {second}, left out"]
    return [f"{second} - {first}: {both} of {either} people have both conditions, the others one; all are used (mixed)"]


def _few_people(rows: Sequence[GroupMean | Contrast]) -> list[str]:
    """Why some rows have no interval and no p."""
    few = sum(row.people > 0 and math.isnan(_interval_of(row).low) for row in rows)
    if not few:
        return []
    reason = f"with fewer than {FEWEST} people in a condition neither is reliable"
    return [f"no interval and no p in {few} of {plural(len(rows), 'row')}: {reason}"]


def _interval_of(row: GroupMean | Contrast) -> Interval:
    return row.mean if isinstance(row, GroupMean) else row.difference


def _discoveries(contrasts: Sequence[Contrast]) -> tuple[Contrast, ...]:
    """Add q to each contrast, by Benjamini and Hochberg over all of them."""
    from scipy.stats import false_discovery_control  # noqa: PLC0415 - a second to import

    known = [contrast.p for contrast in contrasts if math.isfinite(contrast.p)]
    corrected = iter(false_discovery_control(known).tolist() if known else ())
    return tuple(replace(each, q=next(corrected)) if math.isfinite(each.p) else each for each in contrasts)
