"""With an inner split, the reported r is that of new people, by simulation with known truth; and so is that of nested
cross-validation, of which the intervals hold what they promise with 20 and with 8 people.

The small sample r of any model is a little below its true r where clips come from few people; a ridge regression, of
which nothing is chosen on anything, shows by how much. ``make soak`` draws many corpora.
"""

import numpy as np
import pytest

from tests.test_calibration import near_nominal
from tests.training.simulated import FAST, SETS, World, mean_and_error, nested, optimism, ridge_folds

LARGEST = 0.005
"""Accepted optimism of a reported r."""


def test_where_the_best_epoch_is_chosen_on_few_clips_r_is_too_high_and_with_an_inner_split_it_is_not() -> None:
    weak = World(signal=0.1)
    valid = np.array(list(optimism(4, weak, "valid", small=FAST)))
    inner = np.array(list(optimism(3, weak, "inner", SETS, small=FAST)))
    chosen, _ = mean_and_error(valid[:, 0] - valid[:, 1])
    assert chosen > 0.03
    honest, error = mean_and_error(inner[:, 0] - inner[:, 1])
    assert abs(honest) < LARGEST + 2 * error < 0.03


def test_pooled_r_is_fair_relative_to_the_level_of_each_fold_and_its_widened_interval_holds() -> None:
    """By a ridge, which needs no time: 60 corpora of 8 people."""
    rows = np.array(list(ridge_folds(60, 8, World(signal=0.4), 4, resamples=400)), float)
    (raw, _), (fair, error) = mean_and_error(rows[:, 0]), mean_and_error(rows[:, 1])
    assert raw < -0.02 and abs(fair) < LARGEST + 2 * error
    assert 1 - rows[:, 4].mean() > 0.95 - 2 * np.sqrt(0.05 * 0.95 / 60) > 1 - rows[:, 2].mean()


@pytest.mark.soak
@pytest.mark.timeout(14_400)
def test_the_optimism_of_58_validation_clips_is_gone_with_an_inner_split() -> None:
    rows = np.array(list(optimism(200, World(), "valid")))
    chosen, error = mean_and_error(rows[:, 0] - rows[:, 1])
    assert chosen - 2 * error > LARGEST  # what the inner split is for
    rows = np.array(list(optimism(200, World(), "inner", SETS)))
    for values in (rows[:, 0], rows[:, 0] - rows[:, 1]):
        honest, error = mean_and_error(values)
        assert honest - 2 * error < LARGEST


@pytest.mark.soak
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("people", [8, 20])
def test_nested_cross_validation_is_unbiased_and_its_interval_holds_what_it_promises(people: int) -> None:
    rows = np.array(list(nested(200, people, World(signal=0.4))), float)
    apart, error = mean_and_error(rows[:, 0] - rows[:, 2])
    assert abs(apart) < LARGEST + 2 * error
    assert near_nominal(rows[:, 1].mean(), 200)
