"""Results on the validation clips, as plain numbers for the metadata of a model (``provenance.json``, the card).

Unless an inner split did, the validation clips also chose the best epoch and calibrated the scores, so these results
are slightly optimistic; those of ``mien evaluate`` on another split are not.

Shapes: ``K`` models, ``N`` clips, ``E`` emotions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.evaluation.subgroups import by_group, interval_notes, participants_of
from mien.metrics import (
    Interval,
    bootstrap_mean,
    bootstrap_pearson,
    count_clusters,
    interval,
    mean_defined,
    over_emotions,
    pearson,
)
from mien.schema import RATING_SCALE, Clip
from mien.storage.documents import plain

LEVEL = 0.95
RESAMPLES = 10_000


def results_record(
    scores: npt.NDArray[np.float32],
    rated: npt.NDArray[np.float32],
    clips: Sequence[Clip],
    targets: Sequence[str],
    r: Mapping[str, npt.NDArray[np.float64]],
) -> dict[str, Any]:
    """The ``results`` of ``provenance.json``.

    Args:
        scores: ``(K, N, E)``; the mean over the models is evaluated, clipped to the rating scale, as users get it.
        rated: ``(N, E)``, ``nan`` where unrated.
        clips: the ``N`` validation clips.
        targets: names of the emotions.
        r: Pearson ``(K, E)`` by model: each modality alone, fused, the mean of all models.

    Returns:
        ``r`` as rows of numbers with their mean; ``scores``: r and mean absolute error per emotion and over all, with
        bootstrap intervals over participants where all are known, else over clips; ``groups``, if there are any.
    """
    mean, people = np.clip(scores.mean(0), *RATING_SCALE), participants_of(clips)
    drawn = bootstrap_pearson(mean, rated, people, RESAMPLES)
    off = np.abs(mean - rated)  # nan where unrated
    spread, point = bootstrap_mean(off, people, RESAMPLES), pearson(mean, rated)
    error = np.array([column[~np.isnan(column)].mean() if (~np.isnan(column)).any() else np.nan for column in off.T])
    clusters = count_clusters(rated, people)
    rows = [
        _row(name, int((~np.isnan(rated[:, e])).sum()), int(clusters[e]) if people else None,
             interval(float(point[e]), drawn[:, e], int(clusters[e])),
             interval(float(error[e]), spread[:, e], int(clusters[e])))
        for e, name in enumerate(targets)
    ]  # fmt: skip
    whole, off_whole = (interval(*over_emotions(*of, clusters)) for of in ((point, drawn), (error, spread)))
    rows.append(_row("mean", len(clips), len(set(people)) if people else None, whole, off_whole))
    return {
        "targets": [*targets],
        "r": {name: _cells([*values.mean(0), mean_defined(values).mean()]) for name, values in r.items()},
        "clips": len(clips),
        "participants": len(set(people)) if people else None,
        "notes": interval_notes([clip.participant for clip in clips], rated),
        "level": LEVEL,
        "resamples": RESAMPLES,
        "scores": rows,
        "groups": [
            {"group": one.group, "clips": one.clips, "participants": one.participants, "r": _ends(one.r),
             "error": _ends(one.error)}
            for one in by_group(mean, rated, clips, RESAMPLES)
        ],
    }  # fmt: skip


def _row(target: str, rated: int, people: int | None, r: Interval, error: Interval) -> dict[str, Any]:
    return {"target": target, "rated": rated, "participants": people, "r": _ends(r), "error": _ends(error)}


def _ends(values: Interval) -> list[float | None]:
    """Value, low and high end."""
    return _cells([values.value, values.low, values.high])


def _cells(values: Sequence[float]) -> list[float | None]:
    """Numbers for JSON, which has no nan."""
    return plain([round(float(value), 6) for value in values])
