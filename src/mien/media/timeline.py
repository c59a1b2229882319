"""Which frames are sampled: exact arithmetic on presentation times, without decoding.

Frame rates in headers are unreliable (25 to 1000 for the same webcam) and are not used: every decision is based on
presentation times. Times are integers in ticks, ``SECOND`` to the second: all common time bases divide this number, so
that times are exact and rounding never selects another frame.

Rule: a rate ``r`` asks for one frame at each of 0, 1/r, 2/r … seconds, namely the first frame at or after that time. A
frame may serve several rates. Where frames are sparser than requested, a frame serves several times of one rate and is
returned once.
"""

from bisect import bisect_left, insort
from collections.abc import Mapping
from fractions import Fraction

SECOND = 2**16 * 3**3 * 5**7 * 7**2
"""Ticks in a second: a multiple of 90000, 44100, 48000, 1000000, 65536, 15360, 24000 …"""

RESTART = SECOND // 2
"""A longer step back in time is a restart of the clock; a shorter one is out-of-order data."""


def ticks(seconds: float) -> int:
    """Seconds in ticks, rounded to the microsecond, so that decimal fractions are exact.

    >>> ticks(0.1) * 10 == SECOND
    True
    """
    return round(seconds * 1_000_000) * (SECOND // 1_000_000)


class TimeBase:
    """Converts a track's timestamps to ticks.

    >>> TimeBase(Fraction(1, 25)).read(50) == 2 * SECOND
    True
    """

    def __init__(self, time_base: Fraction | None) -> None:
        self._multiply, self._divide = (time_base.numerator * SECOND, time_base.denominator) if time_base else (0, 0)

    def read(self, stamp: int | None) -> int | None:
        """The time in ticks; ``None`` without a timestamp."""
        if stamp is None or not self._divide:
            return None
        return (stamp * self._multiply + self._divide // 2) // self._divide


class SamplingGrid:
    """The times at which frames are requested.

    Args:
        rates: frames per second, by name.

    Raises:
        ValueError: a rate is not positive.

    >>> grid = SamplingGrid({"slow": 2, "fast": 4})
    >>> [sorted(grid.due(ticks(seconds))) for seconds in (0, 0.2, 0.4, 0.6)]
    [['fast', 'slow'], [], ['fast'], ['fast', 'slow']]
    """

    def __init__(self, rates: Mapping[str, float]) -> None:
        exact_rates = {name: Fraction(round(rate * 1e6), 10**6) for name, rate in rates.items()}
        if slow := [name for name, rate in exact_rates.items() if rate <= 0]:
            raise ValueError(f"rates: {slow[0]} = {rates[slow[0]]}, but a rate is a positive number per second")
        self._scales = {name: (rate.numerator, rate.denominator * SECOND) for name, rate in exact_rates.items()}
        self._served = dict.fromkeys(exact_rates, -1)

    def due(self, time: int) -> frozenset[str]:
        """The rates for which a frame at this time is the next one; they are then marked as served."""
        reached = {name: time * many // of for name, (many, of) in self._scales.items()}
        due = frozenset(name for name, moment in reached.items() if moment > self._served[name])
        self._served |= {name: reached[name] for name in due}
        return due

    def between(self, earlier: int, later: int) -> bool:
        """Whether a requested time lies after ``earlier`` and at or before ``later``."""
        return any(later * many // of > earlier * many // of for many, of in self._scales.values())


class RecentTimestamps:
    """The most recent presentation times, in order, whatever the order of decoding.

    H.264 and HEVC reorder at most 16 frames, so a few dozen times are enough.
    """

    def __init__(self, remembered: int = 64) -> None:
        self._times: list[int] = []
        self._remembered = remembered

    def before(self, time: int) -> int | None:
        """The latest stored time before ``time``."""
        place = bisect_left(self._times, time)
        return self._times[place - 1] if place else None

    def add(self, time: int) -> bool:
        """Store a time; false if it is stored already."""
        place = bisect_left(self._times, time)
        if place < len(self._times) and self._times[place] == time:
            return False
        insort(self._times, time)
        del self._times[: -self._remembered]
        return True


class TimestampRepair:
    """Presentation times of one track, with missing ones filled in.

    Attributes:
        guessed: number of missing times, which were continued from the one before.
        restarts: how often the clock restarted; times then continue where they had stopped.
        step: ticks from one frame (of video or audio) to the next, as last known.
    """

    def __init__(self, step: int) -> None:
        self.guessed = 0
        self.restarts = 0
        self.step = step
        self._last: int | None = None
        self._shift = 0

    def read(self, stated: int | None, step: int | None) -> int:
        """The time of a decoded frame, from its timestamp and duration, where the file states them."""
        now = self._next() if stated is None else stated + self._shift
        self.guessed += stated is None
        if stated is not None and self._last is not None and now < self._last - RESTART:
            self.restarts += 1
            self._shift += self._next() - now
            now = self._next()
        if step and step > 0:
            self.step = step
        elif self._last is not None and now > self._last:
            self.step = now - self._last
        self._last = now if self._last is None else max(self._last, now)
        return now

    def _next(self) -> int:
        return 0 if self._last is None else self._last + self.step
