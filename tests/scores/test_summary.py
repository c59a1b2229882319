"""Summaries: numbers by hand, a planted difference is found, none is invented, and excluded clips are reported."""

import math

import numpy as np
import pytest
from scipy import stats

from mien.errors import DataError
from mien.metrics import Interval, bootstrap_mean, resample
from mien.scores.differences import condition_difference, standard_error
from mien.scores.people import ScoredClips
from mien.scores.permutation import sign_flip_p
from mien.scores.summary import summarize

Row = tuple[str | None, str | None, float]


def scored(rows: list[Row], errors: dict[int, str] | None = None) -> ScoredClips:
    """One target; (participant, condition, score) of each clip."""
    return ScoredClips(
        ("Joy",), tuple(f"c{n}" for n in range(len(rows))), np.array([[score] for _, _, score in rows]),
        tuple(who for who, _, _ in rows), tuple(under for _, under, _ in rows),
        tuple((errors or {}).get(n) for n in range(len(rows))),
    )  # fmt: skip


def drawn(seed: int, people: int, gain: float = 0.0, between: bool = False) -> ScoredClips:
    rng = np.random.default_rng(seed)
    level = rng.normal(size=people)
    pairs = [(p, k) for p in range(people) for k in range(2) if not between or p % 2 == k]
    return scored([(f"p{p}", "ab"[k], float(level[p] + rng.normal() + gain * k)) for p, k in pairs])


def test_a_person_counts_once_whatever_the_number_of_clips() -> None:
    made = summarize(scored([("A", "x", 1.0), ("A", "x", 2.0), ("A", "x", 3.0), ("B", "x", 6.0)]), resamples=200)
    # A's mean is 2, B's is 6: their mean is 4, while the mean of the clips is 3
    assert (made.means[0].mean.value, made.means[0].clips, made.means[0].people) == (4.0, 4, 2)


def test_differences_within_people_by_hand() -> None:
    gains = [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]
    rows: list[Row] = [(f"p{n}", "xy"[k], 10.0 * n + k * gain) for n, gain in enumerate(gains) for k in range(2)]
    (contrast,) = summarize(scored(rows), resamples=1000).contrasts
    # differences 1, 2, 3, 1, 2, 3: mean 2, variance 4/5, so dz = 2 / sqrt(.8); of 64 sign patterns 2 reach a sum of 12
    assert (contrast.first, contrast.second, contrast.design, contrast.people, contrast.clips) == (
        "x", "y", "within", 6, 12
    )  # fmt: skip
    found = (contrast.difference.value, contrast.effect, contrast.p, contrast.q)
    assert found == pytest.approx((2, 2 / math.sqrt(0.8), 2 / 64, 2 / 64))


def test_few_people_get_a_difference_but_no_p_and_no_interval_and_are_told_why() -> None:
    rows: list[Row] = [(f"p{n}", "xy"[k], float(n * k)) for n in range(5) for k in range(2)]
    made = summarize(scored(rows), resamples=1000)
    (contrast,) = made.contrasts
    assert contrast.difference.value == 2  # the mean of 0, 1, 2, 3, 4
    values = (contrast.p, contrast.q, contrast.difference.low, made.means[0].mean.high)
    assert all(math.isnan(value) for value in values)
    assert made.notes == (
        "no interval and no p in 3 of 3 rows: with fewer than 6 people in a condition neither is reliable",
    )


def test_one_person_in_both_conditions_does_not_throw_away_the_others() -> None:
    """30 people in one condition, 30 in the other, two of them in both: the difference is 2, Cohen's d is 2."""
    rng = np.random.default_rng(0)
    rows: list[Row] = [(f"p{n}", "x", float(rng.normal())) for n in range(30)]
    rows += [(f"p{n}", "y", float(2 + rng.normal())) for n in range(28, 58)]
    made = summarize(scored(rows), resamples=1000)
    (contrast,) = made.contrasts
    means = [np.mean([score for _, where, score in rows if where == name]) for name in "xy"]
    assert (contrast.design, contrast.people, contrast.both) == ("mixed", 58, 2)
    assert contrast.difference.value == pytest.approx(means[1] - means[0])
    assert contrast.p < 1e-6 and contrast.difference.low > 1
    assert made.notes == ("y - x: 2 of 58 people have both conditions, the others one; all are used (mixed)",)


def test_the_statistic_for_any_design_is_that_of_scipy_where_scipy_has_it() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=9), 3 * rng.normal(size=14)
    between = np.full((23, 2), np.nan)
    between[:9, 0], between[9:, 1] = first, second
    welch = stats.ttest_ind(second, first, equal_var=False)
    assert condition_difference(between, 100).p == pytest.approx(welch.pvalue)
    pairs = rng.normal(size=(9, 2))
    paired = stats.ttest_rel(pairs[:, 1], pairs[:, 0])
    error, df = standard_error(pairs[:, 0], pairs[:, 1], pairs)
    assert (df, np.diff(pairs.mean(0)).item() / error) == pytest.approx((paired.df, paired.statistic))


def test_a_design_with_one_person_missing_hardly_differs_from_the_complete_one() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(30, 1)) + 0.3 * rng.normal(size=(30, 2)) + [0, 0.3]
    complete, mixed = condition_difference(rows), condition_difference(np.vstack([rows, [np.nan, rows.mean()]]))
    assert (complete.design, mixed.design) == ("within", "mixed")
    assert complete.p < 0.001 and mixed.p < 0.01


def test_a_baseline_is_taken_off_and_who_has_none_is_named() -> None:
    rows: list[Row] = [("A", "x", 5.0), ("A", "neutral", 4.0), ("B", "x", 2.0), ("B", "neutral", -1.0), ("C", "x", 9.0)]
    made = summarize(scored(rows), "neutral", resamples=200)
    # 5 - 4 = 1 and 2 - -1 = 3: mean 2
    assert [(mean.condition, mean.mean.value) for mean in made.means] == [("x", 2.0)]
    assert made.contrasts[0].difference.value == 2.0
    assert "1 person without a clip in the baseline 'neutral', excluded: C" in made.notes
    with pytest.raises(DataError, match=r"no clip is in the baseline 'rest' \(conditions: x, neutral\)"):
        summarize(scored(rows), "rest")


def test_people_of_different_conditions_are_compared_between() -> None:
    rows: list[Row] = [(None, "x", 0.0), (None, "x", 2.0), (None, "y", 3.0), (None, "y", 5.0)]
    made = summarize(scored(rows), resamples=1000)
    # means 1 and 4; each group has variance 2, so d = 3 / sqrt(2)
    assert (made.contrasts[0].design, made.contrasts[0].people) == ("between", 4)
    assert made.contrasts[0].difference.value == 3
    assert made.contrasts[0].effect == pytest.approx(3 / math.sqrt(2))
    assert "4 clips without a participant; each counts as a separate person (first: c0)" in made.notes


def test_clips_that_do_not_count_are_counted_by_reason() -> None:
    rows: list[Row] = [("A", "x", 1.0), ("A", None, 1.0), ("B", "x", math.nan), ("B", "x", math.nan), ("C", "x", 2.0)]
    made = summarize(scored(rows, {2: "c2.mp4: not a video", 3: "c3.mp4: not a video"}), resamples=200)
    assert [(entry.reason, entry.clips, entry.first) for entry in made.excluded] == [
        ("without a condition", 1, "c1"), ("not a video", 2, "c2")
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"no clip has both a score and a condition \(1 without a score\)"):
        summarize(scored([("A", "x", math.nan)]))


def test_a_planted_difference_is_found() -> None:
    within, between = summarize(drawn(0, 40, 1.5), resamples=2000), summarize(drawn(0, 80, 2.5, True), resamples=2000)
    for made in (within, between):
        assert made.contrasts[0].q < 0.01 and made.contrasts[0].difference.low > 0


def test_resampled_means_equal_the_plain_loop_on_the_same_draws() -> None:
    values = np.random.default_rng(0).normal(size=(30, 2))
    values[::4, 1] = np.nan
    draws = np.concatenate(list(resample(30, 50, 3)))
    drawn = bootstrap_mean(values, resamples=50, seed=3)
    np.testing.assert_allclose(drawn, [np.nanmean(values[draw], 0) for draw in draws])


def test_sign_flips_by_hand() -> None:
    # 4 rows, exact: of 16 patterns of 1, 1, 1, 1 only ++++ and ---- reach a sum of 4
    assert sign_flip_p([1.0] * 4) == 2 / 16
    assert sign_flip_p([0.0] * 30, 500) == 1


def after_baseline(seed: int, lacking: int, people: int = 20) -> ScoredClips:
    """A gain of .05 over a neutral clip, both with an error of .05: dz = .05 / sqrt(2 · .05²) = .71."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for p, level in enumerate(rng.normal(0.4, 0.1, people)):
        rows.append((f"p{p}", "neutral", float(level + rng.normal(0, 0.05))))
        if p >= lacking:
            rows.append((f"p{p}", "film", float(level + 0.05 + rng.normal(0, 0.05))))
    return scored(rows)


@pytest.mark.parametrize("lacking", [0, 1, 10])
def test_the_effect_after_a_baseline_does_not_depend_on_how_many_people_lack_the_other_condition(lacking: int) -> None:
    made = [summarize(after_baseline(seed, lacking), "neutral", resamples=50).contrasts[0] for seed in range(60)]
    # Hedges: dz of n people is too large by 1 / (1 - 3 / (4 (n - 1) - 1)), 1.04 for 20 and 1.09 for 10
    dz = 0.05 / math.sqrt(2 * 0.05**2)
    n = 20 - lacking
    assert np.mean([contrast.effect for contrast in made]) == pytest.approx(dz / (1 - 3 / (4 * n - 5)), abs=0.12)
    assert {(contrast.design, contrast.people, contrast.both, contrast.clips) for contrast in made} == {
        ("within", n, n, 2 * n)
    }


def test_a_baseline_is_compared_in_the_people_with_both_and_the_others_are_counted() -> None:
    made = summarize(after_baseline(0, 3), "neutral", resamples=200)
    assert made.notes == ("film - neutral: 3 of 20 people without a score in film, left out",)
    (contrast,) = made.contrasts
    assert (made.means[0].people, made.means[0].mean.value) == (17, contrast.difference.value)
    plain = np.array([row[0] for row in after_baseline(0, 3).scores])
    pairs = plain[3:].reshape(-1, 2)  # after three neutral clips alone
    assert contrast.p == sign_flip_p(pairs[:, 1] - pairs[:, 0], 200)


THIRD = sum([0.1] * 3) / 3
"""Not 0.1, but 1.4e-17 more: the mean of three scores of 0.1 each."""


@pytest.mark.parametrize("design", ["within", "between", "mixed"])
def test_equal_scores_are_equal_whatever_the_rounding_of_their_means(design: str) -> None:
    rows = np.tile([0.1, THIRD], (16, 1))
    assert rows[0, 0] != rows[0, 1]
    if design != "within":
        rows[:8, 1] = np.nan
        rows[8 if design == "between" else 12 :, 0] = np.nan
    found = condition_difference(rows, 500)
    assert (found.design, found.interval, found.p) == (design, Interval(0, 0, 0), 1)
    assert math.isnan(found.effect)


def test_a_difference_that_is_the_same_in_all_people_has_no_effect_size_but_for_rounding() -> None:
    level = np.linspace(0.1, 0.9, 8)
    rows = np.stack([level, level + 0.1], 1)
    assert np.ptp(rows[:, 1] - rows[:, 0]) > 0
    found = condition_difference(rows, 500)
    assert math.isnan(found.effect) and found.interval.value == pytest.approx(0.1)
    assert found.p == 2 / 2**8


def test_gains_and_losses_that_cancel_are_no_difference() -> None:
    """Half of six people gain .1 and half lose .1: every pattern of signs has a mean as far from 0."""
    found = condition_difference([[0.2, 0.3], [0.2, 0.1]] * 3)
    assert (found.interval.value, found.p) == (0, 1)


def test_rounding_of_a_baseline_is_no_difference() -> None:
    rows: list[Row] = [(f"p{n}", "neutral", 0.1) for n in range(8)]
    rows += [(f"p{n}", "film", 0.1) for n in range(8) for _ in range(3)]
    made = summarize(scored(rows), "neutral", 500)
    (mean,), (contrast,) = made.means, made.contrasts
    assert (mean.mean, contrast.difference, contrast.p) == (Interval(0, 0, 0), Interval(0, 0, 0), 1)
    assert math.isnan(contrast.effect)


def test_a_small_constant_gain_over_a_baseline_has_no_effect_size() -> None:
    """The rounding of scores near .9 is large beside a gain of .00001; it is not a spread of it."""
    rows: list[Row] = []
    for n, level in enumerate(np.linspace(0.1, 0.9, 8)):
        rows += [(f"p{n}", "neutral", float(level)), (f"p{n}", "film", float(level + 1e-5))]
    (contrast,) = summarize(scored(rows), "neutral", 500).contrasts
    assert contrast.difference.value == pytest.approx(1e-5) and math.isnan(contrast.effect)
