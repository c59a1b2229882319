"""Tests that permute: what would be found if signs or groups were nobody's doing. NumPy in, p-values out.

They assume no distribution, only that people are exchangeable under the claim that is tested: a person's difference
could as well have had the other sign, a person could as well have been in the other group. A thousand permutations at
a time are one matrix product.

Shapes: ``N`` people, ``E`` targets, ``r`` permutations in a block.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_BLOCK = 1000
"""Sign flips or permutations at a time."""


def sign_flip_p(differences: npt.ArrayLike, flips: int = 10_000, seed: int = 0) -> Array:
    """Two-sided p of each column's mean under the claim that each row could as well have had the other sign.

    Args:
        differences: ``(N, E)``, a row per participant; ``nan`` where there is none.
        flips: drawn at random; all sign patterns are taken, and p is exact, when there are not more of them.
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
    """Two-sided p of the difference of two groups' means under the claim that rows could as well be of the other.

    Args:
        first, second: ``(N, E)`` and ``(N', E)``, a row per participant; ``nan`` where there is none.
        permutations, seed: of the rows' groups.

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
    """``(E,)`` how many of ``(r, E)`` are as far from zero as what was found, up to rounding."""
    return (np.abs(drawn) >= np.abs(found) * (1 - 1e-9)).sum(0)


def _mean_gap(labels: Array, table: Array) -> Array:
    """``(r, E)`` mean of the rows labelled 0 minus mean of those labelled 1; 0 where one group has no known row."""
    (one, ones), (other, others) = (np.split(weights @ table, 2, axis=1) for weights in (labels, 1 - labels))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(other / others - one / ones, nan=0.0)
