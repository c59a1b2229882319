"""Metrics by subgroup of people, if the manifest has groups.

Two metrics per group: r measures whether the model follows the ratings within the group, the mean error whether it
scores the group too high or too low. Small groups have wide intervals; groups are not compared with each other, since
their clips may differ in content.

Shapes: ``N`` clips, ``E`` emotions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.metrics import (
    FEWEST,
    Interval,
    bootstrap_mean,
    bootstrap_pearson,
    count_clusters,
    interval,
    over_emotions,
    pearson,
)
from mien.schema import Clip


@dataclass(frozen=True, slots=True)
class GroupResult:
    """The metrics of one group.

    Attributes:
        group: its name.
        clips: number of rated clips.
        participants: number of participants; ``None`` unless known for every clip.
        r: mean Pearson over the emotions for which it is defined within the group; ``nan`` if there is none.
        error: mean of score minus rating over clips, then emotions, in the unit of the ratings; above 0 is too high.
    """

    group: str
    clips: int
    participants: int | None
    r: Interval
    error: Interval


def by_group(
    scores: npt.ArrayLike, labels: npt.ArrayLike, clips: Sequence[Clip], resamples: int = 10_000, seed: int = 0
) -> tuple[GroupResult, ...]:
    """Metrics of each group, sorted by name; none if no clip has a group.

    Args:
        scores: ``(N, E)``.
        labels: ``(N, E)``, ``nan`` where unrated.
        clips: the ``N`` clips.
        resamples, seed: of the bootstrap, within each group: over participants where all are known, else over clips.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    names = sorted({clip.group for clip in clips if clip.group})
    return tuple(_one(name, scores, labels, clips, resamples, seed) for name in names)


def participants_of(clips: Sequence[Clip]) -> list[str] | None:
    """The participant of each clip; ``None`` unless known for every clip."""
    people = [clip.participant for clip in clips if clip.participant]
    return people if len(people) == len(clips) else None


def interval_notes(participants: Sequence[str | None], labels: npt.ArrayLike) -> list[str]:
    """What intervals over these clips rest on, where it is not participants, or too few of them.

    Args:
        participants: of each clip; ``None`` or empty if unknown.
        labels: ``(N, E)``, ``nan`` where unrated.
    """
    known, count = [name for name in participants if name], len(participants)
    notes = []
    if len(known) < count:
        named = f"known of {len(known):,} of {count:,} clips only" if known else "unknown"
        notes.append(f"participants are {named}: intervals resample clips and may be too narrow")
    clusters = count_clusters(labels, known if len(known) == count else None)
    if few := int((clusters < FEWEST).sum()):
        unit = "participants" if len(known) == count else "clips"
        notes.append(
            f"no interval and no p for {few} of {len(clusters)} emotions and for their mean: they need {FEWEST} "
            f"{unit} with a rating, and {int(clusters.min())} are there"
        )
    return notes


def _one(
    name: str, scores: npt.NDArray, labels: npt.NDArray, clips: Sequence[Clip], resamples: int, seed: int
) -> GroupResult:
    rows = [row for row, clip in enumerate(clips) if clip.group == name]
    p, y, people = scores[rows], labels[rows], participants_of([clips[row] for row in rows])
    error = bootstrap_mean(p - y, people, resamples, seed)
    r = bootstrap_pearson(p, y, people, resamples, seed)
    known = ~np.isnan(y)
    off = [(p - y)[known[:, e], e].mean() if known[:, e].any() else np.nan for e in range(y.shape[1])]
    clusters = count_clusters(y, people)
    return GroupResult(
        name,
        len(rows),
        len(set(people)) if people else None,
        interval(*over_emotions(pearson(p, y), r, clusters)),
        interval(*over_emotions(off, error, clusters)),
    )
