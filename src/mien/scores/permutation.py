"""Sign-flip test of paired differences; SciPy does the permuting."""

import numpy as np
import numpy.typing as npt


def sign_flip_p(differences: npt.ArrayLike, flips: int = 10_000, seed: int = 0) -> float:
    """Two-sided p of the mean; null hypothesis: the sign of each difference is exchangeable.

    Args:
        differences: ``(N,)``, one per person.
        flips: number of random sign patterns; if there are no more patterns than that, all are used and p is exact.
        seed: of the draws.

    Source: R. Fisher, *The Design of Experiments* (1935) §21; B. Phipson, G. Smyth, SAGMB 9 (2010) 39 (never 0).

    >>> sign_flip_p([1.0, 2.0, 3.0])  # of 8 patterns, only +++ and --- reach a sum of 6
    0.25
    """
    from scipy.stats import permutation_test  # noqa: PLC0415 - a second to import

    rows, rng = (np.asarray(differences, np.float64),), np.random.default_rng(seed)
    options = {"permutation_type": "samples", "n_resamples": flips, "vectorized": True, "rng": rng}
    return float(permutation_test(rows, lambda values, axis: values.mean(axis=axis), **options).pvalue)
