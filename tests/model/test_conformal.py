"""Intervals by band of the score: coverage where the score is high, on made data whose errors grow with it."""

import numpy as np
import pytest

from mien.model.conformal import BAND_CLIPS, band_begins, conformal_quantile, half_widths_of


def heavy(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scores of which few are high, and ratings whose errors grow with the score, as real ones do: ``(n, 1)`` each."""
    scores = rng.beta(0.7, 5, (n, 1)).astype(np.float32)
    ratings = np.clip(scores + rng.normal(size=(n, 1)) * (0.02 + 0.5 * scores), 0, 1)
    return scores, ratings


def test_coverage_holds_for_high_scores_as_for_low_ones() -> None:
    rng, inside, constant, n = np.random.default_rng(0), np.zeros(2), np.zeros(2), np.zeros(2)
    for _ in range(100):
        scores, ratings = heavy(1500, rng)
        half = half_widths_of(scores, np.abs(ratings - scores), 0.9)
        flat = conformal_quantile(np.abs(ratings - scores)[:, 0], 0.9)
        new, rated = heavy(2000, rng)
        error = np.abs(rated - new)
        for place, part in enumerate((new < 0.3, new >= 0.3)):
            n[place] += part.sum()
            inside[place] += (error <= half.at(new))[part].sum()
            constant[place] += (error <= flat)[part].sum()
    assert abs(inside[0] / n[0] - 0.9) < 0.01
    assert inside[1] / n[1] > 0.85  # within the highest band, errors still grow
    assert constant[1] / n[1] < 0.6  # one width for all fails where it matters


@pytest.mark.parametrize("n", [8, 9, 58, 299])
def test_few_clips_have_one_band_and_too_few_have_no_bound(n: int) -> None:
    scores, ratings = heavy(n, np.random.default_rng(1))
    half = half_widths_of(scores, np.abs(ratings - scores), 0.9)
    assert half.widths.shape == (1, 1) and half.edges.shape == (0, 1)
    assert np.isinf(half.widths).all() == (n < 9)


def test_every_band_has_twice_the_clips_of_the_one_above_and_equal_scores_share_one() -> None:
    for scores in (
        np.sort(np.random.default_rng(0).random(5000)),
        np.sort(np.random.default_rng(0).integers(0, 9, 5000)),
    ):
        begins = [0, *band_begins(scores.astype(np.float32)), 5000]
        sizes = np.diff(begins)[::-1]
        assert sizes[0] >= BAND_CLIPS and (sizes[1:] >= 2 * BAND_CLIPS).all()
        assert all(scores[at - 1] < scores[at] for at in begins[1:-1])


def test_unrated_clips_are_left_out_emotion_by_emotion() -> None:
    rng = np.random.default_rng(2)
    scores = rng.random((400, 2)).astype(np.float32)
    errors = rng.random((400, 2))
    errors[50:, 1] = np.nan
    half = half_widths_of(scores, errors, 0.9)
    assert half.widths.shape == (2, 2) and np.isinf(half.edges[0, 1])
    assert len(set(half.at(scores)[:, 1].tolist())) == 1
