"""Length and distance of windows, checked; without torch, so that a server can check a request."""

import math
from dataclasses import dataclass

from mien.errors import SettingsError

OVERLAP = 4
"""Number of windows that cover each moment by default."""

Span = tuple[float, float]
"""Start and end in seconds."""


@dataclass(frozen=True)
class Windows:
    """Windows of length ``seconds``, one every ``hop`` seconds."""

    seconds: float
    hop: float

    def spans(self, length: float) -> list[Span]:
        """The windows of a clip: from 0 on, the last being the first that reaches its end, and ending there.

        Args:
            length: of the clip in seconds, not negative.

        Returns:
            At least one; all but the last are of full length. Lengths are compared to the microsecond.

        >>> Windows(4, 2).spans(9)
        [(0, 4), (2, 6), (4, 8), (6, 9)]
        >>> Windows(4, 2).spans(8), Windows(4, 2).spans(1.5)
        ([(0, 4), (2, 6), (4, 8)], [(0, 1.5)])
        """
        more = math.ceil(max(0.0, length - self.seconds - 1e-6) / self.hop)
        starts = [round(n * self.hop, 6) for n in range(more + 1)]
        return [*((start, round(start + self.seconds, 6)) for start in starts[:-1]), (starts[-1], length)]


def windows_of(seconds: float | None, hop: float | None = None) -> Windows | None:
    """Checked windows; without ``hop`` one begins every quarter of their length.

    Raises:
        SettingsError: a length is not above 0, windows would leave gaps, or a hop is given without a length.
    """
    if seconds is None:
        if hop is not None:
            raise SettingsError(f"a hop of {hop:g} s without windows; give the length of a window, e.g. --windows 4s")
        return None
    hop = seconds / OVERLAP if hop is None else hop
    if not (0 < seconds < math.inf and 0 < hop < math.inf):
        raise SettingsError(f"windows of {seconds:g} s every {hop:g} s: both must be above 0")
    if hop > seconds:
        raise SettingsError(
            f"windows of {seconds:g} s every {hop:g} s leave gaps; the hop may be {seconds:g} s at most"
        )
    return Windows(seconds, hop)
