"""Metrics agree with scipy and torchmetrics, and the fast bootstrap with a plain loop."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from torchmetrics.functional import concordance_corrcoef

from mien import metrics


def random_pair(seed: int = 0, clips: int = 300, emotions: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random((clips, emotions))
    return labels + rng.normal(size=labels.shape), labels


def test_pearson_agrees_with_scipy() -> None:
    predicted, labels = random_pair()
    expected = [pearsonr(predicted[:, e], labels[:, e]).statistic for e in range(6)]
    np.testing.assert_allclose(metrics.pearson(predicted, labels), expected, atol=1e-12)


def test_concordance_agrees_with_torchmetrics() -> None:
    predicted, labels = random_pair()
    # torchmetrics divides the covariance by n - 1 and the variances alike, so the two differ by O(1/n) in the bias term
    expected = concordance_corrcoef(torch.from_numpy(predicted), torch.from_numpy(labels))
    np.testing.assert_allclose(metrics.concordance(predicted, labels), expected.numpy(), rtol=1 / 300)


def test_concordance_by_hand() -> None:
    # p = 0, 2; y = 1, 2: means 1, 1.5; variances 1, .25; covariance .5 → 2 * .5 / (1 + .25 + .25) = 2/3
    assert metrics.concordance([[0.0], [2.0]], [[1.0], [2.0]])[0] == pytest.approx(2 / 3)


def test_errors_by_hand() -> None:
    predicted, labels = [[0.0], [1.0], [9.0]], [[3.0], [5.0], [np.nan]]  # errors 3 and 4; the third is unrated
    assert metrics.mean_absolute_error(predicted, labels)[0] == 3.5
    assert metrics.root_mean_square_error(predicted, labels)[0] == pytest.approx(np.sqrt(12.5))


def test_an_undefined_correlation_is_nan_and_the_mean_is_over_the_others() -> None:
    predicted, labels = random_pair(emotions=3)
    labels[:, 1] = 0.1  # not exactly representable: its computed variance is not exactly zero
    predicted[:, 2] = 0.7
    r = metrics.pearson(predicted, labels)
    assert np.isnan(r).tolist() == [False, True, True]
    assert metrics.mean_defined(r) == r[0]


def test_unrated_clips_do_not_count() -> None:
    predicted, labels = random_pair()
    with_holes = labels.copy()
    with_holes[200:, 2] = np.nan
    r = metrics.pearson(predicted, with_holes)
    assert r[2] == pytest.approx(pearsonr(predicted[:200, 2], labels[:200, 2]).statistic)
    assert r[1] == metrics.pearson(predicted, labels)[1]


def test_a_prediction_that_is_not_finite_has_no_correlation() -> None:
    predicted, labels = random_pair()
    predicted[5, 0] = np.nan
    assert np.isnan(metrics.pearson(predicted, labels)).tolist() == [True] + [False] * 5


def test_leading_axes_are_models() -> None:
    predicted, labels = random_pair()
    both = metrics.pearson(np.stack([predicted, -predicted]), labels)
    np.testing.assert_allclose(both[0], -both[1])


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="same clips"):
        metrics.pearson(np.zeros((3, 2)), np.zeros((4, 2)))


@given(st.floats(0.1, 100), st.floats(-50, 50), st.integers(0, 1000))
def test_pearson_is_invariant_to_scale_and_offset(scale: float, offset: float, seed: int) -> None:
    predicted, labels = random_pair(seed, 30, 2)
    np.testing.assert_allclose(
        metrics.pearson(scale * predicted + offset, labels), metrics.pearson(predicted, labels), atol=1e-9
    )


@pytest.mark.parametrize("people", [40, None])
def test_bootstrap_equals_the_plain_loop_on_the_same_draws(people: int | None) -> None:
    predicted, labels = random_pair(clips=120, emotions=3)
    labels[::7, 1] = np.nan
    clusters = [f"p{i % people:02d}" for i in range(120)] if people else None
    fast = metrics.bootstrap_pearson(predicted, labels, clusters, resamples=50, seed=3)
    place = np.array([int(c[1:]) for c in clusters]) if clusters else np.arange(120)
    draws = np.concatenate(list(metrics.resample(people or 120, 50, seed=3)))
    for r, draw in zip(fast, draws, strict=True):
        rows = np.concatenate([np.flatnonzero(place == cluster) for cluster in draw])
        np.testing.assert_allclose(r, metrics.pearson(predicted[rows], labels[rows]), atol=1e-12)


def test_ten_thousand_resamples_of_the_validation_split_are_quick() -> None:
    predicted, labels = random_pair(clips=4588)
    clusters = [f"p{i % 557}" for i in range(4588)]

    def seconds() -> float:
        begin = time.perf_counter()
        metrics.bootstrap_pearson(predicted, labels, clusters)
        return time.perf_counter() - begin

    assert min(seconds() for _ in range(3)) < 1.0  # 0.1 to 0.2 s on two quiet cores; the plain loop takes 20


def test_clustering_widens_an_interval_when_people_differ() -> None:
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(30), 20)
    labels = rng.normal(size=(30, 1))[person] + 0.1 * rng.normal(size=(600, 1))
    predicted = (
        labels + rng.normal(size=(30, 1))[person]
    )  # errors go with the person: 30 clips' worth of evidence, not 600
    clustered = metrics.bootstrap_pearson(predicted, labels, [str(p) for p in person], 2000)
    single = metrics.bootstrap_pearson(predicted, labels, None, 2000)
    assert clustered.std() > 2 * single.std()


def test_paired_test_finds_a_difference_and_no_difference() -> None:
    rng = np.random.default_rng(1)
    labels = rng.random((400, 6))
    good, bad = (labels + noise * rng.normal(size=labels.shape) for noise in (0.3, 1.0))
    found = metrics.paired_test(bad, good, labels, resamples=2000)
    assert found.difference.low > 0
    assert found.p < 0.01
    assert metrics.paired_test(good, good, labels, resamples=500).p == 1.0


def test_p_is_below_five_percent_exactly_where_the_interval_ends_short_of_zero() -> None:
    rng = np.random.default_rng(0)
    for clusters in (6, 9, 40):
        for shift in np.linspace(1.5, 4, 40):
            drawn = rng.normal(size=4000) + shift
            found, p = metrics.interval(shift, drawn, clusters), metrics.bootstrap_p(drawn, clusters)
            if abs(p - 0.05) > 0.008:  # quantiles lie between resamples
                assert (found.low > 0) == (p < 0.05), (clusters, shift, p)


def test_many_clusters_give_the_plain_percentile_interval_and_p() -> None:
    drawn = np.random.default_rng(0).normal(size=10_000) + 2
    found = metrics.interval(2, drawn, 10**6)
    np.testing.assert_allclose([found.low, found.high], np.quantile(drawn, [0.025, 0.975]), atol=1e-3)
    plain = 2 * ((drawn <= 0).sum() + 1) / (len(drawn) + 1)
    assert metrics.bootstrap_p(drawn, 10**6) == pytest.approx(plain, rel=1e-3)


def test_too_few_participants_get_no_interval_and_no_p() -> None:
    """Three clips of two people once gave p = .0003 and r = 1.000 [1.000, 1.000]."""
    labels = np.array([[0.1], [0.5], [0.9]])
    tested = metrics.paired_test(-labels, labels, labels, ["a", "a", "b"])
    assert (tested.difference.value, tested.clips, tested.participants) == (2, 3, 2)
    assert np.isnan([tested.p, tested.difference.low, tested.difference.high]).all()
    five, six = (metrics.interval(0.0, np.linspace(-1, 1, 99), n) for n in (5, 6))
    assert np.isnan(five.low) and six.low < 0


def test_a_mean_over_emotions_is_of_the_same_emotions_in_every_resample() -> None:
    """Only two of twenty people are ever rated above 0 for the second emotion: one resample in eight lacks both."""
    rng = np.random.default_rng(3)
    who = np.repeat(np.arange(20), 4)
    labels = np.column_stack([rng.random(80), (who < 2) * rng.random(80)])
    predicted = np.column_stack([labels[:, 0], rng.random(80)])  # r = 1 for the first, about 0 for the second
    people = [f"p{person}" for person in who]
    drawn = metrics.bootstrap_pearson(predicted, labels, people, 4000)
    lacking = np.isnan(drawn[:, 1])
    assert 0.08 < lacking.mean() < 0.16  # (18 / 20) ** 20 = .12
    r = metrics.pearson(predicted, labels)
    value, means, clusters = metrics.over_emotions(r, drawn, metrics.count_clusters(labels, people))
    assert (value, clusters) == (pytest.approx(r.mean()), 20)
    np.testing.assert_array_equal(np.isnan(means), lacking)  # before, these counted as r = 1
    assert metrics.interval(value, means, clusters).high < 0.9


def test_two_models_are_compared_on_emotions_that_are_defined_in_both() -> None:
    predicted, labels = random_pair(emotions=2)
    constant = np.column_stack([predicted[:, 0], np.full(300, 0.5)])
    assert metrics.paired_test(predicted, constant, labels, resamples=200).difference.value == 0


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 0.7])
def test_the_concordance_of_constants_is_undefined_and_that_with_one_constant_is_0(value: float) -> None:
    """The mean of seven equal numbers can differ from them in the last digit, and so can a column of such means."""
    constant, other = np.full((7, 1), value), np.full((7, 1), 0.3)
    rounded = constant.copy()
    rounded[::2] *= 1 + np.finfo(float).eps
    assert np.isnan(metrics.concordance([constant, other, rounded], constant)).all()
    assert np.isnan(metrics.pearson(rounded, np.arange(7.0)[:, None])).all()
    assert np.isnan(metrics.concordance(np.full((7, 1), np.inf), constant)).all()
    varied = np.arange(7.0)[:, None]
    assert metrics.concordance(rounded, varied).tolist() == [0]
    assert metrics.concordance(varied, rounded).tolist() == [0]
