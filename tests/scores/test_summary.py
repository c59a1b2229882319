"""Summaries: numbers by hand, a planted difference is found, none is invented, and excluded clips are reported."""

import math

import numpy as np
import pytest

from mien.errors import DataError
from mien.metrics import bootstrap_mean, resample
from mien.scores.people import ScoredClips
from mien.scores.permutation import permutation_p, sign_flip_p
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
    rows: list[Row] = [("A", "x", 1.0), ("A", "y", 2.0), ("B", "x", 5.0), ("B", "y", 7.0), ("C", "x", 0.0),
                       ("C", "y", 3.0), ("D", "y", 9.0)]  # fmt: skip
    made = summarize(scored(rows), resamples=1000)
    (contrast,) = made.contrasts
    # differences 1, 2, 3: mean 2, standard deviation 1, so dz 2; of 8 sign patterns 2 reach a sum of 6, so p = .25
    assert (contrast.first, contrast.second, contrast.design, contrast.people) == ("x", "y", "within", 3)
    assert (contrast.difference.value, contrast.effect, contrast.p, contrast.q) == pytest.approx((2, 2, 0.25, 0.25))
    assert "y - x: 1 of 4 people have one of the conditions only and are excluded" in made.notes


def test_a_baseline_is_taken_off_and_who_has_none_is_named() -> None:
    rows: list[Row] = [("A", "x", 5.0), ("A", "neutral", 4.0), ("B", "x", 2.0), ("B", "neutral", -1.0), ("C", "x", 9.0)]
    made = summarize(scored(rows), "neutral", resamples=200)
    # 5 - 4 = 1 and 2 - -1 = 3: mean 2
    assert [(mean.condition, mean.mean.value) for mean in made.means] == [("x", 2.0)]
    assert made.contrasts[0].difference.value == 2.0
    assert "1 people have no clip in the baseline 'neutral' and are excluded: C" in made.notes
    with pytest.raises(DataError, match=r"no clip is in the baseline 'rest' \(conditions: x, neutral\)"):
        summarize(scored(rows), "rest")


def test_people_of_different_conditions_are_compared_between() -> None:
    rows: list[Row] = [(None, "x", 0.0), (None, "x", 2.0), (None, "y", 3.0), (None, "y", 5.0)]
    made = summarize(scored(rows), resamples=1000)
    # means 1 and 4; each group has variance 2, so d = 3 / sqrt(2)
    assert (made.contrasts[0].design, made.contrasts[0].people) == ("between", 4)
    assert made.contrasts[0].difference.value == 3
    assert made.contrasts[0].effect == pytest.approx(3 / math.sqrt(2))
    assert "4 clips have no participant; each counts as a separate person (first: c0)" in made.notes


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


@pytest.mark.parametrize(("people", "between"), [(8, False), (20, False), (40, True)])
def test_no_difference_is_invented(people: int, between: bool) -> None:
    """200 corpora without a difference: p < .05 in 5 % of them (3 standard errors: .4 % to 9.6 %), intervals hold 0."""
    found = [summarize(drawn(seed, people, 0, between), resamples=400).contrasts[0] for seed in range(200)]
    assert np.mean([contrast.p < 0.05 for contrast in found]) < 0.096
    assert np.mean([contrast.difference.low <= 0 <= contrast.difference.high for contrast in found]) > 0.904


def test_resampled_means_equal_the_plain_loop_on_the_same_draws() -> None:
    values = np.random.default_rng(0).normal(size=(30, 2))
    values[::4, 1] = np.nan
    draws = np.concatenate(list(resample(30, 50, 3)))
    drawn = bootstrap_mean(values, resamples=50, seed=3)
    np.testing.assert_allclose(drawn, [np.nanmean(values[draw], 0) for draw in draws])


def test_permutation_tests_by_hand_and_without_enough_people() -> None:
    # 4 rows, exact: of 16 patterns of 1, 1, 1, 1 only ++++ and ---- reach a sum of 4
    assert sign_flip_p([[1.0]] * 4)[0] == 2 / 16
    assert sign_flip_p([[0.0]] * 30, 500)[0] == 1
    # 2 of 6 ways to split 0, 1, 8, 9 in two pairs are as far apart as 0, 1 | 8, 9
    assert permutation_p([[0.0], [1.0]], [[8.0], [9.0]], 20_000)[0] == pytest.approx(1 / 3, abs=0.02)
    assert np.isnan(sign_flip_p([[1.0], [np.nan]])[0]) and np.isnan(permutation_p([[1.0]], [[2.0], [3.0]])[0])
