"""When is a picture wanted: exact arithmetic on presentation times, without any decoding.

A container's frame rate is a rumour (25 to 1000 for the same webcam), so nothing here knows one: every decision is
made from presentation times, as exact fractions of a second, so that no rounding moves a picture.

The rule. A rate ``r`` asks for one picture at each of 0, 1/r, 2/r … seconds. Each is served by the first picture whose
time is at or after it; one picture may serve several rates, and where pictures come more slowly than asked, several
moments of one rate: it is then handed out once.
"""

from bisect import bisect_left, insort
from collections.abc import Mapping
from fractions import Fraction

RESTART = Fraction(1, 2)
"""A step back in time longer than this, in seconds, is a clock that started again; a shorter one is disorder."""


def exact(seconds: float) -> Fraction:
    """A time or rate that somebody wrote down, as the decimal they meant, to the microsecond.

    >>> exact(0.1)
    Fraction(1, 10)
    """
    return Fraction(round(seconds * 1_000_000), 1_000_000)


def seconds_of(ticks: int | None, time_base: Fraction | None) -> Fraction | None:
    """A container's own time in seconds; ``None`` when it does not tell one."""
    return None if ticks is None or not time_base else ticks * time_base


class Grid:
    """The moments at which pictures are wanted.

    Args:
        rates: pictures per second, by name.

    Raises:
        ValueError: a rate is not positive.

    >>> grid = Grid({"slow": 2, "fast": 4})
    >>> [sorted(grid.due(Fraction(hundredth, 100))) for hundredth in (0, 20, 40, 60)]
    [['fast', 'slow'], [], ['fast'], ['fast', 'slow']]
    """

    def __init__(self, rates: Mapping[str, float]) -> None:
        self._rates = {name: exact(rate) for name, rate in rates.items()}
        if slow := [name for name, rate in self._rates.items() if rate <= 0]:
            raise ValueError(f"rates: {slow[0]} = {rates[slow[0]]}, but a rate is a positive number per second")
        self._served = dict.fromkeys(self._rates, -1)

    def due(self, seconds: Fraction) -> frozenset[str]:
        """The rates for which a picture at this time is the next one wanted; they count as served by it."""
        reached = {name: seconds * rate // 1 for name, rate in self._rates.items()}
        due = frozenset(name for name, moment in reached.items() if moment > self._served[name])
        self._served |= {name: reached[name] for name in due}
        return due

    def between(self, earlier: Fraction, later: Fraction) -> bool:
        """Whether any moment lies after ``earlier`` and at or before ``later``."""
        return any(later * rate // 1 > earlier * rate // 1 for rate in self._rates.values())


class Neighbours:
    """The presentation times met last, to find the one before any of them whatever the order of decoding.

    H.264 and HEVC reorder at most 16 pictures, so a few dozen times are enough to remember.
    """

    def __init__(self, remembered: int = 64) -> None:
        self._times: list[Fraction] = []
        self._remembered = remembered

    def before(self, seconds: Fraction) -> Fraction | None:
        """The greatest remembered time that is earlier."""
        place = bisect_left(self._times, seconds)
        return self._times[place - 1] if place else None

    def add(self, seconds: Fraction) -> bool:
        """Remember a time; false if it was there already."""
        place = bisect_left(self._times, seconds)
        if place < len(self._times) and self._times[place] == seconds:
            return False
        insort(self._times, seconds)
        del self._times[: -self._remembered]
        return True


class Clock:
    """Presentation times as a stream of one track tells them, with what it leaves out filled in.

    Attributes:
        guessed: how many times were missing, and were counted on from the one before.
        restarts: how often time jumped back and was made to go on where it had stopped.
        step: seconds from one picture (or block of sound) to the next, as last known.
    """

    def __init__(self, step: Fraction) -> None:
        self.guessed = 0
        self.restarts = 0
        self.step = step
        self._last: Fraction | None = None
        self._shift = Fraction(0)

    def read(self, told: Fraction | None, step: Fraction | None) -> Fraction:
        """The time of what was decoded just now, from what the file tells of it and how long it says it lasts."""
        now = self._next() if told is None else told + self._shift
        self.guessed += told is None
        if told is not None and self._last is not None and now < self._last - RESTART:
            self.restarts += 1
            self._shift += self._next() - now
            now = self._next()
        if step:
            self.step = step
        elif self._last is not None and now > self._last:
            self.step = now - self._last
        self._last = now if self._last is None else max(self._last, now)
        return now

    def _next(self) -> Fraction:
        return Fraction(0) if self._last is None else self._last + self.step
