"""Permutation tests: sign flips for paired data, permuted labels for two groups. NumPy in, p-values out.

They assume no distribution, only exchangeability under the null hypothesis: of the sign of each person's difference, or
of group labels between people. A block of a thousand permutations is one matrix product.

Shapes: ``N`` people, ``E`` targets, ``r`` permutations in a block.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_BLOCK = 1000
"""Sign flips or permutations at a time."""


def sign_flip_p(differences: npt.ArrayLike, flips: int = 10_000, seed: int = 0) -> Array:
    """Two-sided p of each column's mean; null hypothesis: each row's sign is exchangeable.

    Args:
        differences: ``(N, E)``, a row per participant; ``nan`` if missing.
        flips: number of random sign patterns; if there are no more patterns than that, all are used and p is exact.
        seed: of the draws.

    Returns:
        ``(E,)``; ``nan`` where fewer than two rows are known.

    Source: R. Fisher, *The Design of Experiments* (1935) §21; B. Phipson, G. Smyth, SAGMB 9 (2010) 39 (never 0).

    >>> sign_flip_p([[1.0], [2.0], [3.0]]).tolist()  # of 8 patterns, only +++ and --- reach a sum of 6
    [0.25]
    """
    rows = np.asarray(differences, np.float64)
    known = np.isfinite(rows)
    rows = np.where(known, rows, 0)
    exact = 2 ** min(len(rows), 62) <= flips
    count = 2 ** len(rows) if exact else flips
    reached = np.zeros(rows.shape[1])
    generator = np.random.default_rng(seed)
    for begin in range(0, count, _BLOCK):
        size = (min(_BLOCK, count - begin), len(rows))
        bits = (np.arange(begin, begin + size[0])[:, None] >> np.arange(len(rows))) & 1 if exact else (
            generator.integers(0, 2, size, np.int8)
        )  # fmt: skip
        reached += _reaches((2.0 * bits.astype(np.float64) - 1) @ rows, rows.sum(0))
    p = reached / count if exact else (reached + 1) / (count + 1)
    return np.where(known.sum(0) >= 2, p, np.nan)


def permutation_p(first: npt.ArrayLike, second: npt.ArrayLike, permutations: int = 10_000, seed: int = 0) -> Array:
    """Two-sided p of the difference between two groups' means; null hypothesis: group labels are exchangeable.

    Args:
        first, second: ``(N, E)`` and ``(N', E)``, a row per participant; ``nan`` if missing.
        permutations, seed: number and seed of the random labellings.

    Returns:
        ``(E,)``; ``nan`` where a group has fewer than two known rows.

    Source: as ``sign_flip_p``.
    """
    groups = [np.asarray(rows, np.float64) for rows in (first, second)]
    rows = np.concatenate(groups)
    known = np.isfinite(rows)
    table = np.concatenate([np.where(known, rows, 0), known], 1)
    label = np.repeat([1.0, 0.0], [len(group) for group in groups])
    reached = np.zeros(rows.shape[1])
    generator = np.random.default_rng(seed)
    for begin in range(0, permutations, _BLOCK):
        labels = generator.permuted(np.tile(label, (min(_BLOCK, permutations - begin), 1)), axis=1)
        reached += _reaches(_mean_gap(labels, table), _mean_gap(label[None], table)[0])
    enough = [np.isfinite(group).sum(0) >= 2 for group in groups]
    return np.where(enough[0] & enough[1], (reached + 1) / (permutations + 1), np.nan)


def _reaches(drawn: Array, found: Array) -> Array:
    """``(E,)`` number of rows of ``(r, E)`` at least as far from zero as the observed statistic, up to rounding."""
    return (np.abs(drawn) >= np.abs(found) * (1 - 1e-9)).sum(0)


def _mean_gap(labels: Array, table: Array) -> Array:
    """``(r, E)`` mean of rows labelled 0 minus mean of rows labelled 1; 0 if a group has no known row."""
    (one, ones), (other, others) = (np.split(weights @ table, 2, axis=1) for weights in (labels, 1 - labels))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(other / others - one / ones, nan=0.0)
