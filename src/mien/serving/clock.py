"""The two clocks of a server.

    wall    seconds since 1970: what is shown, and by which uploads, media and results grow old
    steady  seconds since the machine started, which nobody can set: leases, and the life of workers

The processes that share an SQLite database are on one machine, so its time since the start is the same for all; it goes
on while the machine sleeps. PostgreSQL has no such clock: there, both are the clock of its machine, and the queue
limits what setting it can do.
"""

import time


def wall_seconds() -> float:
    """Seconds since 1970; may be set at any time."""
    return time.time()


def steady_seconds() -> float:
    """Seconds since the machine started, also while it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
