import pytest

from mien import deadline
from mien.deadline import LONGEST_GAP, LOOK_SECONDS, Deadline


def test_time_suspended_counts_as_one_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(deadline, "monotonic", lambda: now)
    waiting = Deadline(60)
    for _ in range(20):
        now += 1
        assert waiting.left() > 0
    assert waiting.left() == 40
    now += 8 * 3600  # the lid was closed
    assert waiting.left() == 40 - LONGEST_GAP
    now += 5
    assert waiting.until_next_look() == LOOK_SECONDS
    now, rest = now + 10, 0.5
    waiting = Deadline(rest)
    assert waiting.until_next_look() == rest
    now += 0.6
    assert waiting.until_next_look() == 0
    assert waiting.left() < 0
