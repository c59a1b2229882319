"""A seed that stops in a dip is named, with what its siblings reached; noise and common ends are not."""

import numpy as np

from mien.training.dips import dip_notes, stopped_in_a_dip
from mien.training.schedule import History


def history(*curves: list[float]) -> History:
    """Curves of different lengths as one history."""
    r = np.full((max(map(len, curves)), len(curves)), np.nan)
    for k, values in enumerate(curves):
        r[: len(values), k] = values
    return History(r, np.where(np.isnan(r), np.nan, 1.0), np.nanargmax(r, 0) + 1)


def dip(epochs: int, level: float = 0.715) -> list[float]:
    """A peak of .63 in epoch 3, a dip, and from epoch 8 a slow rise to ``level`` in epoch 50."""
    curve = [0.5, 0.6, 0.63, 0.62, 0.61, 0.60, 0.60, *np.linspace(0.61, level, 43)]
    return [float(r) for r in curve[:epochs]]


def test_seeds_that_stopped_in_a_dip_are_named_with_what_the_others_reached() -> None:
    made = history(dip(50), dip(50, 0.70), dip(9), dip(50, 0.71), dip(10))
    assert stopped_in_a_dip(made) == ([2, 4], [0, 1, 3])
    (note,) = dip_notes("stage 2", "stage2", made, (0, 1, 2, 3, 4))
    assert note == (
        "stage 2: seeds 2, 4 stopped at epochs 9-10 with r .63, their best in epoch 3; 3 of 5 seeds went on to "
        ".70 to .71 in epoch 50: raise stage2.patience (and stage2.plateau_patience)"
    )


def test_one_sibling_is_enough_when_all_others_stopped_in_the_dip() -> None:
    made = history(dip(9), dip(9), dip(9), dip(50))
    assert stopped_in_a_dip(made) == ([0, 1, 2], [3])
    (note,) = dip_notes("stage 1 text", "stage1", history(dip(9), dip(50)), (7, 8))
    assert note.startswith("stage 1 text: seed 7 stopped at epoch 9 with r .63, its best in epoch 3; 1 of 2 seeds went")
    assert "raise stage1.patience" in note


def test_nothing_is_said_of_seeds_that_differ_or_stop_together_or_gain_little() -> None:
    low = [0.3, 0.4, 0.45, 0.44, 0.44]
    assert stopped_in_a_dip(history(low, [r + 0.1 for r in low])) == ([], [])  # one is better, but not for longer
    assert stopped_in_a_dip(history(low, [r + 0.1 for r in (*low, 0.455)])) == ([], [])  # and rises by .005 only
    assert stopped_in_a_dip(history(dip(50), dip(45))) == ([], [])  # .71 against .715
    assert stopped_in_a_dip(history(dip(9))) == ([], [])
    assert dip_notes("stage 2", "stage2", history(dip(9), dip(9)), (0, 1)) == ()


def test_a_seed_whose_r_was_never_defined_is_not_said_to_have_stopped_in_a_dip() -> None:
    made = History(np.array([[np.nan, 0.1], [np.nan, 0.2]]), np.array([[1.0, 1.0], [np.nan, 1.0]]), np.array([0, 2]))
    assert stopped_in_a_dip(made) == ([], [])
