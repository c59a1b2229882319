"""Seeds that stopped in a dip: validation r of the others went on rising after their patience was used up.

On a few hundred clips, r often peaks within a few epochs, falls, and rises again for dozens of epochs; a seed with too
little patience stops before that. Its siblings show it, and nothing else does.
"""

from collections.abc import Sequence

import numpy as np

from mien.training.schedule import History

MARGIN = 0.02
"""By how much r of a sibling must rise after a seed has stopped, and end above that seed's best r."""


def stopped_in_a_dip(history: History) -> tuple[list[int], list[int]]:
    """Models that stopped too early, and the siblings that show it.

    A model is named if it has stopped, and a sibling rose by more than ``MARGIN`` after that, to more than ``MARGIN``
    above its best r. So nothing is said when all stop together, nor when the last epochs gain less.

    Args:
        history: of a training.

    Returns:
        Indices of the models, and of the siblings, in order.
    """
    r = np.where(np.isfinite(history.r), history.r, -np.inf)
    last = _last_epochs(history)
    stopped, risen = set(), set()
    for k in range(r.shape[1]):
        for other in np.flatnonzero(last > last[k]):
            before, end = r[: last[k], other].max(initial=-np.inf), r[:, other].max()
            if np.isfinite(r[:, k].max()) and end > max(before, r[:, k].max()) + MARGIN:
                stopped.add(k)
                risen.add(int(other))
    return sorted(stopped), sorted(risen - stopped)


def dip_notes(name: str, setting: str, history: History, seeds: Sequence[int]) -> tuple[str, ...]:
    """One note that names the seeds which stopped in a dip; none if no seed did.

    Args:
        name: of the training.
        setting: section of its settings, ``stage1`` or ``stage2``.
        history: its course.
        seeds: of its models.
    """
    stopped, risen = stopped_in_a_dip(history)
    if not stopped:
        return ()
    last, best = _last_epochs(history), np.nanmax(np.where(np.isfinite(history.r), history.r, -np.inf), 0)
    one = len(stopped) == 1
    return (
        f"{name}: {_seeds([seeds[k] for k in stopped])} stopped at {_range('epoch', last[stopped])} with r "
        f"{_between(best[stopped])}, {'its' if one else 'their'} best in {_range('epoch', history.best[stopped])}; "
        f"{len(risen)} of {len(seeds)} seeds went on to {_between(best[risen])} in "
        f"{_range('epoch', history.best[risen])}: raise {setting}.patience (and {setting}.plateau_patience)",
    )


def _last_epochs(history: History) -> np.ndarray:
    """``(K,)`` the epoch after which each model stopped, or the last one."""
    trained = np.isfinite(history.factors)
    return np.where(trained, np.arange(1, len(trained) + 1)[:, None], 0).max(0, initial=0)


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _range(noun: str, numbers: np.ndarray) -> str:
    low, high = int(numbers.min()), int(numbers.max())
    return f"{noun} {low}" if low == high else f"{noun}s {low}-{high}"


def _between(r: np.ndarray) -> str:
    low, high = f"{r.min():.2f}".replace("0.", ".", 1), f"{r.max():.2f}".replace("0.", ".", 1)
    return low if low == high else f"{low} to {high}"
