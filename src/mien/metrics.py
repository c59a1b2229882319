"""Agreement of predictions with labels, with bootstrap intervals. NumPy in, floats out; no torch.

The score of the EMI challenge is Pearson's r per emotion over *all clips of the split*, then the plain mean. Averaging
r over mini-batches, pooling the emotions into one column, or counting an undefined column as 1.0 give other numbers.
Here an undefined r is ``nan``, and means are over those that are defined.

The trade-off: a clustered bootstrap of a correlation needs only six sums per cluster and emotion, so ten thousand
resamples are one matrix product of resampling counts with those sums; clips are not visited again.

Percentile intervals of few clusters are too narrow (they hold the true r in 86 % of cases with five), so their level is
expanded by the number of clusters, p-values likewise, and below ``FEWEST`` clusters neither is given. The tables of
``tests/test_calibration.py`` show coverage and type I error with known truth.

Shapes: ``N`` clips, ``E`` emotions, ``C`` clusters (participants), ``R`` resamples, ``...`` any leading axes (models).
Labels that are ``nan`` (unrated) are left out, emotion by emotion.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


FEWEST = 6
"""Below so many clusters (participants, or clips where participants are unknown) no interval and no p is given: they
have too few distinct resamples, and of five differences even 5:0 is p = .06."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with a percentile interval of its bootstrap distribution; ``nan`` ends where it has none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The difference of two models on the same clips.

    Attributes:
        difference: score of the second minus score of the first, with its interval.
        p: two-sided bootstrap p; ``nan`` with fewer than ``FEWEST`` clusters.
        clips: rated clips.
        participants: of these clips; ``None`` where unknown, and clips are resampled.
    """

    difference: Interval
    p: float
    clips: int
    participants: int | None


def pearson(predicted: npt.ArrayLike, labels: npt.ArrayLike) -> Array:
    """Pearson correlation of each emotion over all clips.

    Args:
        predicted: ``(..., N, E)``.
        labels: ``(N, E)`` or the shape of ``predicted``; ``nan`` where unrated.

    Returns:
        ``(..., E)`` in [-1, 1]; ``nan`` where it is undefined: fewer than two rated clips, a constant column, or a
        prediction that is not finite.

    Source: K. Pearson, Proc. R. Soc. 58 (1895) 240.

    >>> pearson([[0.0], [1.0], [2.0]], [[1.0], [3.0], [2.0]]).tolist()
    [0.5]
    """
    p, y, count = _without_unrated(predicted, labels)
    covariance, p_variance, y_variance = _moments(p, y, count)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = covariance / np.sqrt(p_variance * y_variance)
    defined = _varies(p, labels) & _varies(y, labels) & np.isfinite(p).all(-2)
    return np.where(defined, np.clip(r, -1, 1), np.nan)


def concordance(predicted: npt.ArrayLike, labels: npt.ArrayLike) -> Array:
    """Concordance correlation coefficient of each emotion: Pearson's r, lowered by a difference in mean or variance.

    ``2 cov / (var_p + var_y + (mean_p - mean_y)²)``. Shapes as in ``pearson``; ``nan`` where both columns are constant
    or fewer than two clips are rated; 0 where only one is constant.

    Source: L. Lin, Biometrics 45 (1989) 255.

    >>> concordance([[0.0], [1.0]], [[1.0], [2.0]]).round(3).tolist()  # 2 * .25 / (.25 + .25 + 1)
    [0.333]
    """
    p, y, count = _without_unrated(predicted, labels)
    covariance, p_variance, y_variance = _moments(p, y, count)
    with np.errstate(invalid="ignore", divide="ignore"):
        bias = p.sum(-2) / count - y.sum(-2) / count
        varies = _varies(p, labels), _varies(y, labels)
        ccc = 2 * np.where(varies[0] & varies[1], covariance, 0) / (p_variance + y_variance + bias**2)
    return np.where((count >= 2) & (varies[0] | varies[1]), ccc, np.nan)


def mean_absolute_error(predicted: npt.ArrayLike, labels: npt.ArrayLike) -> Array:
    """Mean absolute error of each emotion, in the unit of the labels; ``nan`` when nothing is rated."""
    p, y, count = _without_unrated(predicted, labels)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.abs(p - y).sum(-2) / count


def root_mean_square_error(predicted: npt.ArrayLike, labels: npt.ArrayLike) -> Array:
    """Root mean square error of each emotion, in the unit of the labels; ``nan`` when nothing is rated."""
    p, y, count = _without_unrated(predicted, labels)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(((p - y) ** 2).sum(-2) / count)


def mean_defined(values: npt.ArrayLike) -> Array:
    """The mean over the last axis, without values that are not finite; ``nan`` when none is.

    >>> float(mean_defined([0.25, np.nan, 0.75]))
    0.5
    """
    values = np.asarray(values, np.float64)
    known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, values, 0).sum(-1) / known.sum(-1)


def resample(clusters: int, resamples: int, seed: int) -> Iterator[npt.NDArray[np.int32]]:
    """Draws with replacement in blocks ``(r, C)`` that together are ``(R, C)``; equal seeds give equal draws."""
    generator = np.random.default_rng(seed)
    block = max(1, 500_000 // clusters)  # counting is 5 times faster in a block that fits into the CPU cache
    for begin in range(0, resamples, block):
        yield generator.integers(0, clusters, (min(block, resamples - begin), clusters), np.int32)


def bootstrap_pearson(
    predicted: npt.ArrayLike,
    labels: npt.ArrayLike,
    clusters: Sequence[str] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Array:
    """Pearson's r of every emotion in every resample of the clips, whole clusters at a time.

    Args:
        predicted, labels: ``(N, E)``.
        clusters: the participant of each clip, as clips of one are not independent. ``None`` resamples clips.
        resamples: ``R``.
        seed: equal seeds draw equal resamples, so two models evaluated on the same clips can be paired.

    Returns:
        ``(R, E)``; ``nan`` where a resample has no variance.

    Source: A. Davison, D. Hinkley, *Bootstrap Methods and their Application* (1997) §3.8 (resampling whole clusters).
    """
    sums, n_clusters = _cluster_sums(predicted, labels, clusters)
    table = sums.reshape(n_clusters, -1)
    total = np.concatenate([_counts(draws) @ table for draws in resample(n_clusters, resamples, seed)])
    total = total.reshape(resamples, *sums.shape[1:])  # (R, E, 6)
    n, p, y, pp, yy, py = np.moveaxis(total, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        p_variance, y_variance = pp - p * p / n, yy - y * y / n
        r = (py - p * y / n) / np.sqrt(p_variance * y_variance)
    tiny = 1e-12 * np.abs(sums).sum(0)[..., [3, 4]]  # (E, 2): below it a variance is a rounding error
    return np.where((p_variance > tiny[:, 0]) & (y_variance > tiny[:, 1]), np.clip(r, -1, 1), np.nan)


def bootstrap_mean(
    values: npt.ArrayLike, clusters: Sequence[str] | None = None, resamples: int = 10_000, seed: int = 0
) -> Array:
    """The mean of each column in every resample of the rows, whole clusters at a time.

    Args:
        values: ``(N, E)``; ``nan`` where missing.
        clusters, resamples, seed: as in ``bootstrap_pearson``, and the same resamples.

    Returns:
        ``(R, E)``; ``nan`` where a resample has no value.
    """
    v = np.asarray(values, np.float64)
    known = ~np.isnan(v)
    sums, n_clusters = _by_cluster(np.stack([known, np.where(known, v, 0)], -1), clusters)
    table = sums.reshape(n_clusters, -1)
    total = np.concatenate([_counts(draws) @ table for draws in resample(n_clusters, resamples, seed)])
    n, total_v = np.moveaxis(total.reshape(resamples, *sums.shape[1:]), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return total_v / n


def count_clusters(labels: npt.ArrayLike, clusters: Sequence[str] | None = None) -> npt.NDArray[np.int64]:
    """``(E,)`` number of clusters with a rated clip, by emotion.

    Args:
        labels: ``(N, E)``; ``nan`` where unrated.
        clusters: as in ``bootstrap_pearson``.

    >>> count_clusters([[0.1], [0.2], [np.nan]], ["a", "a", "b"]).tolist()
    [1]
    """
    known = ~np.isnan(np.asarray(labels, np.float64))
    return (_by_cluster(known.astype(np.float64), clusters)[0] > 0).sum(0)


def mean_over(values: npt.ArrayLike, emotions: npt.ArrayLike) -> Array:
    """The mean over the last axis of the same emotions in every row; ``nan`` where one of them is not finite.

    For resamples: one that lacks, say, every clip with Empathic Pain must not count as a mean of the others.

    Args:
        values: ``(..., E)``.
        emotions: ``(E,)``, true for those in the mean.

    >>> mean_over([[0.2, 0.4, np.nan], [0.2, np.nan, np.nan]], [True, True, False]).round(2).tolist()
    [0.3, nan]
    """
    chosen = np.asarray(values, np.float64)[..., np.asarray(emotions, bool)]
    return chosen.mean(-1) if chosen.shape[-1] else np.full(chosen.shape[:-1], np.nan)


def over_emotions(values: npt.ArrayLike, drawn: Array, clusters: npt.NDArray[np.int64]) -> tuple[float, Array, int]:
    """The mean over emotions, with what ``interval`` and ``bootstrap_p`` need for it.

    Args:
        values: ``(E,)``; ``nan`` where undefined: such emotions are in no mean.
        drawn: ``(R, E)`` resampled values.
        clusters: ``(E,)`` from ``count_clusters``.

    Returns:
        The mean, ``(R,)`` resampled means of the same emotions, and the clusters of the emotion with the fewest.
    """
    emotions = np.isfinite(np.asarray(values, np.float64))
    count = int(clusters[emotions].min()) if emotions.any() else 0
    return float(mean_over(values, emotions)), mean_over(drawn, emotions), count


def percentile_level(clusters: int, df: float | None = None, level: float = 0.95) -> float:
    """The percentile level at which a bootstrap interval has the width of Student's t.

    Args:
        clusters: resampled units, at least 2.
        df: degrees of freedom; ``clusters - 1`` by default.
        level: of the interval.

    Source: T. Hesterberg, The American Statistician 69 (2015) 371, §4.3 (expanded percentile interval).

    >>> [round(percentile_level(n), 4) for n in (6, 20, 1000)]
    [0.9951, 0.9682, 0.9504]
    """
    special = _scipy_special()
    reach = np.sqrt(clusters / (clusters - 1)) * special.stdtrit(df or clusters - 1, (1 + level) / 2)
    return float(1 - 2 * special.ndtr(-reach))


def interval(
    value: float, distribution: npt.ArrayLike, clusters: int, level: float = 0.95, df: float | None = None
) -> Interval:
    """The expanded percentile interval of a bootstrap distribution.

    Args:
        value: of the sample.
        distribution: resampled values; those that are not finite are left out.
        clusters: resampled units.
        level: of the interval.
        df: as in ``percentile_level``.

    Returns:
        ``nan`` ends with fewer than ``FEWEST`` clusters, or if no resample is defined.
    """
    known = _finite(distribution)
    if clusters < FEWEST or not len(known):
        return Interval(value, float("nan"), float("nan"))
    expanded = percentile_level(clusters, df, level)
    low, high = np.quantile(known, [(1 - expanded) / 2, (1 + expanded) / 2])
    return Interval(value, float(low), float(high))


def bootstrap_p(distribution: npt.ArrayLike, clusters: int) -> float:
    """Two-sided p of zero: 1 minus the level of the expanded percentile interval that ends at zero.

    With R resamples and very many clusters, 2 / (R + 1) at least and 1 at most.

    Args:
        distribution: resampled differences; those that are not finite are left out.
        clusters: resampled units.

    Returns:
        ``nan`` with fewer than ``FEWEST`` clusters, or if no resample is defined.
    """
    known = _finite(distribution)
    if clusters < FEWEST or not len(known):
        return float("nan")
    special = _scipy_special()
    rarer = min((known <= 0).sum(), (known >= 0).sum())
    tail = min(0.5, (int(rarer) + 1) / (len(known) + 1))
    return float(2 * special.stdtr(clusters - 1, special.ndtri(tail) * np.sqrt((clusters - 1) / clusters)))


def paired_test(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    labels: npt.ArrayLike,
    clusters: Sequence[str] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedTest:
    """Test whether the second model is better than the first on these clips.

    Args:
        first, second, labels: ``(N, E)``, the same clips in the same order.
        clusters, resamples, seed: as in ``bootstrap_pearson``; both models see the same resamples.

    Returns:
        The difference in mean r over the emotions for which r is defined in both.
    """
    apart = pearson(second, labels) - pearson(first, labels)
    drawn = [bootstrap_pearson(p, labels, clusters, resamples, seed) for p in (first, second)]
    value, spread, count = over_emotions(apart, drawn[1] - drawn[0], count_clusters(labels, clusters))
    rated = int((~np.isnan(np.asarray(labels, np.float64)).all(-1)).sum())
    return PairedTest(interval(value, spread, count), bootstrap_p(spread, count), rated, count if clusters else None)


def _without_unrated(predicted: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Array, Array, Array]:
    """Predictions and labels with 0 where unrated, and the number of rated clips ``(..., E)``."""
    p, y = np.asarray(predicted, np.float64), np.asarray(labels, np.float64)
    if p.shape[-2:] != y.shape[-2:]:
        raise ValueError(f"predictions {p.shape} and labels {y.shape} must have the same clips and emotions")
    known = ~np.isnan(y)
    return np.where(known, p, 0), np.where(known, y, 0), known.sum(-2).astype(np.float64)


def _moments(p: Array, y: Array, count: Array) -> tuple[Array, Array, Array]:
    """Covariance and variances of centred columns; unrated entries are 0 before centring and are left out after it."""
    with np.errstate(invalid="ignore", divide="ignore"):
        p_mean, y_mean = p.sum(-2) / count, y.sum(-2) / count
        rows = p.shape[-2]
        # Sums over centred columns include unrated rows, each of which adds mean²; it is subtracted again.
        unrated = rows - count
        p0, y0 = p - p_mean[..., None, :], y - y_mean[..., None, :]
        covariance = (np.einsum("...ne,...ne->...e", p0, y0) - unrated * p_mean * y_mean) / count
        p_variance = (np.einsum("...ne,...ne->...e", p0, p0) - unrated * p_mean**2) / count
        y_variance = (np.einsum("...ne,...ne->...e", y0, y0) - unrated * y_mean**2) / count
    return covariance, p_variance, y_variance


def _varies(values: npt.ArrayLike, labels: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether the rated values of each column differ by more than rounding, 1e-12 of the largest."""
    x, known = np.asarray(values, np.float64), ~np.isnan(np.asarray(labels, np.float64))
    inf = np.inf
    high, low = np.where(known, x, -inf).max(-2, initial=-inf), np.where(known, x, inf).min(-2, initial=inf)
    with np.errstate(invalid="ignore"):  # infinite scores do not vary: no metric is defined for them
        return high - low > 1e-12 * np.maximum(np.abs(high), np.abs(low))


def _cluster_sums(predicted: npt.ArrayLike, labels: npt.ArrayLike, clusters: Sequence[str] | None) -> tuple[Array, int]:
    """Per cluster and emotion ``(C, E, 6)``: n, Σp, Σy, Σp², Σy², Σpy of centred values (against cancellation)."""
    p, y, count = _without_unrated(predicted, labels)
    known = (~np.isnan(np.asarray(labels, np.float64))).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        p, y = (np.where(known > 0, x - x.sum(0) / count, 0) for x in (p, y))
    return _by_cluster(np.stack([known, p, y, p * p, y * y, p * y], -1), clusters)


def _by_cluster(terms: Array, clusters: Sequence[str] | None) -> tuple[Array, int]:
    """Terms ``(N, …)`` summed within clusters ``(C, …)``, and the number of clusters."""
    if clusters is None:
        return terms, len(terms)
    _, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums = np.zeros((int(index.max()) + 1, *terms.shape[1:]))
    np.add.at(sums, index, terms)
    return sums, len(sums)


def _finite(values: npt.ArrayLike) -> Array:
    known = np.asarray(values, np.float64)
    return known[np.isfinite(known)]


def _scipy_special() -> Any:
    from scipy import special  # noqa: PLC0415 - a fifth of a second, and most commands need no interval

    return special


def _counts(draws: npt.NDArray[np.int32]) -> Array:
    """``(r, C)`` number of times that each resample drew each cluster."""
    resamples, clusters = draws.shape
    cells = draws + (np.arange(resamples, dtype=np.int32) * clusters)[:, None]
    return np.bincount(cells.ravel(), minlength=resamples * clusters).reshape(resamples, clusters).astype(np.float64)
