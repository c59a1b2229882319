"""When a frame is wanted, against a slow and obvious reference."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.media.timeline import SECOND, RecentTimestamps, SamplingGrid, TimeBase, TimestampRepair, ticks

MILLISECONDS = st.lists(st.integers(0, 5000), min_size=1, max_size=60, unique=True)
RATES = st.sampled_from([0.3, 1.0, 3.3, 4.0, 10.0, 25.0, 29.97])


def reference(times: list[Fraction], rate: float) -> set[Fraction]:
    """For every moment k / rate up to the last frame, the earliest frame at or after it."""
    chosen, moment, step = set(), Fraction(0), 1 / Fraction(str(rate))
    while moment <= max(times):
        chosen.add(min(time for time in times if time >= moment))
        moment += step
    return chosen


@given(MILLISECONDS, RATES, RATES)
def test_each_moment_is_served_by_the_first_frame_at_or_after_it(milliseconds, slow, fast):
    times = sorted(Fraction(millisecond, 1000) for millisecond in milliseconds)
    grid = SamplingGrid({"slow": slow, "fast": fast})
    due = {time: grid.due(ticks(float(time))) for time in times}
    assert {time for time in times if "slow" in due[time]} == reference(times, slow)
    assert {time for time in times if "fast" in due[time]} == reference(times, fast)


@given(MILLISECONDS, RATES, st.randoms(use_true_random=False))
def test_leaving_out_what_is_needless_changes_nothing_whatever_the_order_of_decoding(milliseconds, rate, random):
    """The rule by which packets are dropped, fed in any order, with every needless frame really dropped."""
    decoding = [ticks(millisecond / 1000) for millisecond in milliseconds]
    random.shuffle(decoding)
    grid, neighbours, kept = SamplingGrid({"only": rate}), RecentTimestamps(), []
    for time in decoding:
        neighbours.add(time)
        before = neighbours.before(time)
        if before is None or grid.between(before, time):
            kept.append(time)
    whole, left = SamplingGrid({"only": rate}), SamplingGrid({"only": rate})
    assert [time for time in sorted(kept) if left.due(time)] == [time for time in sorted(decoding) if whole.due(time)]


def test_a_frame_just_before_a_moment_does_not_serve_it():
    grid = SamplingGrid({"tenths": 10})
    assert grid.due(0)
    assert not grid.due(ticks(0.1) - 1)  # one tick, 1.5e-13 s, too early
    assert grid.due(ticks(0.1))


@pytest.mark.parametrize("rate", [0, -1, 1e-9])
def test_a_rate_that_is_not_positive_is_a_callers_mistake(rate):
    with pytest.raises(ValueError, match="vision"):
        SamplingGrid({"vision": rate})


@pytest.mark.parametrize(
    "base", [(1, 90_000), (1, 12_800), (1, 15_360), (1, 44_100), (1, 16_000), (1, 1000), (1001, 24_000), (1, 1_200_000)]
)
def test_usual_time_bases_are_read_without_rounding(base):
    assert Fraction(TimeBase(Fraction(*base)).read(123_457) or 0, SECOND) == 123_457 * Fraction(*base)


def test_a_missing_time_is_counted_on_from_the_one_before():
    clock = TimestampRepair(step=ticks(0.04))
    # 0, then 0.04 later, then stated 0.5, and again 0.04 later
    assert [clock.read(stated, None) for stated in (None, None)] == [0, ticks(0.04)]
    assert clock.read(ticks(0.5), ticks(0.04)) == ticks(0.5)
    assert clock.read(None, None) == ticks(0.54)
    assert clock.guessed == 3


def test_time_that_jumps_back_goes_on_where_it_stopped_but_mere_disorder_stays():
    clock = TimestampRepair(step=ticks(0.1))
    stated = (0.0, 1.0, 0.9, 0.0, 0.1)
    # 0.9 is disorder (0.1 s back); 0.0 is a restart: one step after 1.0, and 0.1 follows it
    assert [clock.read(ticks(time), ticks(0.1)) for time in stated] == [ticks(t) for t in (0.0, 1.0, 0.9, 1.1, 1.2)]
    assert clock.restarts == 1
