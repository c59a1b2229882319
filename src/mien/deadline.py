"""Time that work on a clip may take, counted only while this process runs.

A laptop that was closed, a machine that was paused, a job stopped with Ctrl-Z: that time is not the clip's fault.
Whoever waits looks at the deadline every second or so; when a look comes much later than that, the gap was not waited
but slept through, and counts as ``LONGEST_GAP``. The trade-off: a caller that computes for a minute between two looks
is charged ten seconds for it, so the limit errs towards patience.
"""

from time import monotonic

LOOK_SECONDS = 1.0
"""How often whoever waits should look."""

LONGEST_GAP = 10.0
"""What the time between two looks counts at most, seconds."""


class Deadline:
    """A number of seconds that runs out.

    Args:
        seconds: how many; the first look is now.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._left = seconds
        self._looked = monotonic()

    def left(self) -> float:
        """Seconds left; 0 or less when time is up. This is a look."""
        now = monotonic()
        self._left -= min(now - self._looked, LONGEST_GAP)
        self._looked = now
        return self._left

    def until_next_look(self) -> float:
        """How long to wait before looking again: not longer than what is left. This is a look."""
        return max(0.0, min(self.left(), LOOK_SECONDS))
