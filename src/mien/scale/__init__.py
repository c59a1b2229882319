"""Map a function over items: in this process, in several, or on a cluster.

    for item, outcome in run(make, items, workers=2): ...
    for item, outcome in run(make, items, workers=Cluster("10.0.0.1:6379")): ...

``make`` is a frozen, picklable record that is called once in each worker and returns the function to run, so a worker
loads its models once. Results are yielded as they complete. A worker that dies or hangs is replaced, and its item is
returned as a ``Failed``: one item never stops the others.

    work.py         the factory, and what it makes
    processes.py    worker processes on this machine
    cluster.py      the same workers on the machines of a Ray cluster
"""

import os
from collections.abc import Generator, Iterable
from contextlib import closing

from mien.sandbox import offline
from mien.scale.cluster import Cluster, run_on_cluster
from mien.scale.processes import Processes
from mien.scale.work import Closes, Failed, Item, Result, Seconds, WorkerFactory

__all__ = [
    "Closes", "Cluster", "Failed", "Pool", "WorkerFactory", "cores", "follows", "launched", "run", "share_of_cores",
]  # fmt: skip

Pool = int | Cluster
"""Worker processes: their number on this machine, 0 for none, or a cluster."""


def launched() -> int:
    """How many processes a launcher such as torchrun started for one training; 1 without a launcher."""
    told = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in told) else 1


def follows() -> bool:
    """Whether this is not the first of several processes that train together."""
    return launched() > 1 and int(os.environ["RANK"]) > 0


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_of_cores(workers: Pool) -> int:
    """Cores for each of so many processes, at least one; 0 processes are this one."""
    return workers.cores if isinstance(workers, Cluster) else max(1, cores() // max(1, workers))


def run(
    make: WorkerFactory[Result],
    items: Iterable[Item],
    *,
    workers: Pool,
    seconds_each: Seconds | None = None,
    ahead: int = 1,
) -> Generator[tuple[Item, Result | Failed]]:
    """Run a function over items.

    Args:
        make: returns the function, once in each process; if it has ``close``, it is closed after the last item.
        items: picklable; consumed lazily.
        workers: processes, or a cluster; 0 runs in this one, where a crash of native code is not survived and there is
            no time limit.
        seconds_each: time limit of an item; ``None`` has none.
        ahead: items that wait at each worker, so that it is never idle; with 0 the next item is taken when a worker is
            free and its last result has been yielded, for items that depend on results.

    Yields:
        ``(item, result)`` in the order of completion. Exceptions raised by the function are raised here.
    """
    if isinstance(workers, Cluster):
        yield from run_on_cluster(make, items, workers, seconds_each, ahead)
    elif workers:
        with closing(Processes(make, workers)) as processes:
            yield from processes.run(items, seconds_each, ahead)
    else:
        with offline() as call:
            function = call(make)
            try:
                for item in items:
                    yield item, call(function, item)
            finally:
                if isinstance(function, Closes):
                    call(function.close)
