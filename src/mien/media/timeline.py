"""When is a picture wanted: exact arithmetic on presentation times, without any decoding.

A container's frame rate is a rumour (25 to 1000 for the same webcam), so nothing here knows one: every decision is
made from presentation times. Times are whole numbers of ticks, ``SECOND`` to the second: a number that all time bases
in use divide, so that nothing is rounded and no rounding moves a picture.

The rule. A rate ``r`` asks for one picture at each of 0, 1/r, 2/r … seconds. Each is served by the first picture whose
time is at or after it; one picture may serve several rates, and where pictures come more slowly than asked, several
moments of one rate: it is then handed out once.
"""

from bisect import bisect_left, insort
from collections.abc import Mapping
from fractions import Fraction

SECOND = 2**16 * 3**3 * 5**7 * 7**2
"""Ticks in a second: a multiple of 90000, 44100, 48000, 1000000, 65536, 15360, 24000 …"""

RESTART = SECOND // 2
"""A step back in time longer than this is a clock that started again; a shorter one is disorder."""


def ticks(seconds: float) -> int:
    """A time that somebody wrote down, as the decimal they meant, to the microsecond.

    >>> ticks(0.1) * 10 == SECOND
    True
    """
    return round(seconds * 1_000_000) * (SECOND // 1_000_000)


class TimeBase:
    """Turns a track's own time stamps into ticks.

    >>> TimeBase(Fraction(1, 25)).read(50) == 2 * SECOND
    True
    """

    def __init__(self, time_base: Fraction | None) -> None:
        self._multiply, self._divide = (time_base.numerator * SECOND, time_base.denominator) if time_base else (0, 0)

    def read(self, stamp: int | None) -> int | None:
        """The time in ticks; ``None`` when none is told."""
        if stamp is None or not self._divide:
            return None
        return (stamp * self._multiply + self._divide // 2) // self._divide


class SamplingGrid:
    """The moments at which pictures are wanted.

    Args:
        rates: pictures per second, by name.

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
        """The rates for which a picture at this time is the next one wanted; they count as served by it."""
        reached = {name: time * many // of for name, (many, of) in self._scales.items()}
        due = frozenset(name for name, moment in reached.items() if moment > self._served[name])
        self._served |= {name: reached[name] for name in due}
        return due

    def between(self, earlier: int, later: int) -> bool:
        """Whether any moment lies after ``earlier`` and at or before ``later``."""
        return any(later * many // of > earlier * many // of for many, of in self._scales.values())


class RecentTimestamps:
    """The presentation times met last, to find the one before any of them whatever the order of decoding.

    H.264 and HEVC reorder at most 16 pictures, so a few dozen times are enough to remember.
    """

    def __init__(self, remembered: int = 64) -> None:
        self._times: list[int] = []
        self._remembered = remembered

    def before(self, time: int) -> int | None:
        """The greatest remembered time that is earlier."""
        place = bisect_left(self._times, time)
        return self._times[place - 1] if place else None

    def add(self, time: int) -> bool:
        """Remember a time; false if it was there already."""
        place = bisect_left(self._times, time)
        if place < len(self._times) and self._times[place] == time:
            return False
        insort(self._times, time)
        del self._times[: -self._remembered]
        return True


class TimestampRepair:
    """Presentation times as a stream of one track tells them, with what it leaves out filled in.

    Attributes:
        guessed: how many times were missing, and were counted on from the one before.
        restarts: how often time jumped back and was made to go on where it had stopped.
        step: ticks from one picture (or block of sound) to the next, as last known.
    """

    def __init__(self, step: int) -> None:
        self.guessed = 0
        self.restarts = 0
        self.step = step
        self._last: int | None = None
        self._shift = 0

    def read(self, told: int | None, step: int | None) -> int:
        """The time of what was decoded just now, from what the file tells of it and how long it says it lasts."""
        now = self._next() if told is None else told + self._shift
        self.guessed += told is None
        if told is not None and self._last is not None and now < self._last - RESTART:
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
