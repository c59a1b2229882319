"""A time limit that counts only while this process runs.

Suspended time (a closed laptop, a paused machine, a job stopped with Ctrl-Z) does not count. The caller checks the
deadline about once a second; a longer gap between two checks counts as ``LONGEST_GAP``. The trade-off: a caller that
computes for a minute between two checks is charged two seconds for it, so the limit errs towards patience.
"""

from time import monotonic

LOOK_SECONDS = 1.0
"""How often to check while waiting."""

LONGEST_GAP = 2.0
"""The most that the time between two checks counts, in seconds."""


class Deadline:
    """A countdown.

    Args:
        seconds: until it expires; it starts now.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._left = seconds
        self._checked = monotonic()

    def left(self) -> float:
        """Seconds left; 0 or less when it has expired. Counts as a check."""
        now = monotonic()
        self._left -= min(now - self._checked, LONGEST_GAP)
        self._checked = now
        return self._left

    def until_next_look(self) -> float:
        """How long to wait until the next check, at most what is left. Counts as a check."""
        return max(0.0, min(self.left(), LOOK_SECONDS))
