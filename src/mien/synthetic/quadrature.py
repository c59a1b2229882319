"""Integrals over a Gaussian: the mean of a function of several normal variables.

The points are fixed, so the same integral always has the same result, and the error is a smooth function of the
integrand rather than noise. The trade-off: quasi-random points in six dimensions are less exact than a product rule in
one, but robust to kinks and to any mixing of the variables.

Shapes: ``N`` integrals, ``Q`` points, ``L`` variables, ``E`` results. Links have the variables in front, ``(L, N, Q)``,
so that every operation runs over contiguous memory: eight times faster than with them last.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Link = Callable[[Array, float], Array]
"""Latents ``(L, ...)``, of which the last is only known up to a normal error of the given standard deviation →
expected labels ``(E, ...)``."""

BLOCK_POINTS = 8192
"""Points at a time, over several integrals: they fit into a processor's cache."""


def points(count: int, width: int) -> Array:
    """``(count, width)`` points of the standard normal distribution, their mean 0 and their covariance exactly I.

    An additive recurrence on the generalised golden ratio, mirrored at the origin.

    Args:
        count: number of points, even.
        width: number of variables.

    Source: M. Roberts, "The unreasonable effectiveness of quasirandom sequences" (2018).
    """
    ratio = 2.0
    for _ in range(60):
        ratio = (1 + ratio) ** (1 / (width + 1))
    uniform = (0.5 + np.arange(1, count // 2 + 1)[:, None] * ratio ** -np.arange(1.0, width + 1)) % 1
    half = np.vectorize(NormalDist().inv_cdf, otypes=[np.float64])(uniform)
    both = np.concatenate([half, -half])
    return both @ np.linalg.inv(np.linalg.cholesky(both.T @ both / len(both))).T


def normal_cdf(x: Array) -> Array:
    """The standard normal distribution function, to 1.5e-7.

    Source: M. Abramowitz, I. Stegun, *Handbook of Mathematical Functions* (1964), 7.1.26.

    >>> normal_cdf(np.array([-1.959964, 0.0])).round(6).tolist()
    [0.025, 0.5]
    """
    t = 1 / (1 + 0.3275911 / 2**0.5 * np.abs(x))
    tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    half = tail * np.exp(-x * x / 2) / 2
    return np.where(x > 0, 1 - half, half)


def root(covariance: Array) -> Array:
    """The symmetric matrix R with R R = covariance: it exists where that is singular, and changes smoothly with it."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def expectation(link: Link, means: Array, spread: Array, nodes: Array, workers: int = 2) -> Array:
    """``(N, E)`` expected labels when the latents of clip n are N(``means[n]``, ``spread``).

    Args:
        link: see ``Link``.
        means: ``(N, L)``.
        spread: ``(L, L)``.
        nodes: ``(Q, L - 1)`` from ``points``; the part of the last latent that is independent of the others is left to
            the link, which has that integral in closed form.
        workers: threads; they do not change the result.
    """
    factor = np.linalg.cholesky(spread + 1e-12 * np.eye(len(spread)))
    offsets = (factor[:, :-1] @ nodes.T).astype(np.float32)  # (L, Q)
    block = max(1, BLOCK_POINTS // len(nodes))
    blocks = np.split(means.T.astype(np.float32), range(block, len(means), block), axis=1)
    with ThreadPoolExecutor(workers) as pool:
        return np.concatenate(list(pool.map(partial(_average, link, offsets, float(factor[-1, -1])), blocks)))


def _average(link: Link, offsets: Array, loose: float, means: Array) -> npt.NDArray[np.float64]:
    """``(L, n)`` means → ``(n, E)`` averages over the points."""
    return link(means[:, :, None] + offsets[:, None], loose).mean(2, dtype=np.float64).T
