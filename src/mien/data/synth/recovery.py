"""How much of what was planted comes back: word errors of a transcript, signals recovered from features.

Plain yardsticks over arrays, for tests and the bench; nothing here knows which model made the features.

Shapes: ``N`` clips, ``F`` feature width, ``E`` emotions.
"""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

PENALTIES = tuple(10.0**power for power in range(-1, 6))
"""Ridge penalties tried, in units of the features' variance."""


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """Substitutions, insertions and deletions that turn ``said`` into ``heard``, and the number of words said.

    Case and punctuation do not count.

    >>> word_errors("I am so happy today.", "i am happy to day")
    (3, 5)
    """
    wanted, got = (
        re.sub(r"[^a-z' ]", " ", text.lower().replace("cannot", "can not")).split() for text in (said, heard)
    )
    costs = list(range(len(got) + 1))
    for row, word in enumerate(wanted, 1):
        diagonal, costs[0] = costs[0], row
        for column, other in enumerate(got, 1):
            replaced = diagonal + (word != other)
            diagonal, costs[column] = costs[column], min(costs[column] + 1, costs[column - 1] + 1, replaced)
    return costs[-1], len(wanted)


def recovered(
    features: Floats, signals: Floats, groups: Sequence[int] | npt.NDArray[np.int64], folds: int = 5
) -> Floats:
    """Pearson r per emotion between signals and what ridge regression reads from features of unseen people.

    Args:
        features: ``(N, F)`` one vector per clip.
        signals: ``(N, E)`` what was planted.
        groups: ``(N,)`` participants; nobody is in two folds.
        folds: of the cross-validation. The penalty is chosen within the training folds.

    Returns:
        ``(E,)`` correlations; ``nan`` for a signal that is constant.
    """
    fold_of = {group: place % folds for place, group in enumerate(dict.fromkeys(np.asarray(groups).tolist()))}
    fold = np.array([fold_of[group] for group in np.asarray(groups).tolist()])
    read = np.empty(signals.shape)
    for held_out in range(folds):
        train, test = fold != held_out, fold == held_out
        inner = fold[train] == (held_out + 1) % folds
        errors = [
            _error(
                features[train][~inner], signals[train][~inner], features[train][inner], signals[train][inner], penalty
            )
            for penalty in PENALTIES
        ]
        best = PENALTIES[int(np.argmin(errors))]
        read[test] = _ridge(features[train], signals[train], features[test], best)
    return np.array([_pearson(read[:, which], signals[:, which]) for which in range(signals.shape[1])])


def _ridge(seen: Floats, known: Floats, unseen: Floats, penalty: float) -> Floats:
    """Predictions for ``unseen`` by ridge regression in its dual form, on standardised features."""
    mean, deviation = seen.mean(0), seen.std(0) + 1e-6
    a, b = (seen - mean) / deviation, (unseen - mean) / deviation
    kernel = a @ a.T + penalty * a.shape[1] * np.eye(len(a))
    return known.mean(0) + b @ (a.T @ np.linalg.solve(kernel, known - known.mean(0)))


def _error(seen: Floats, known: Floats, unseen: Floats, wanted: Floats, penalty: float) -> float:
    return float(((_ridge(seen, known, unseen, penalty) - wanted) ** 2).mean())


def _pearson(one: Floats, other: Floats) -> float:
    spread = one.std() * other.std()
    return float(((one - one.mean()) * (other - other.mean())).mean() / spread) if spread > 0 else float("nan")
