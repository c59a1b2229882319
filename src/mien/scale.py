"""One function: run this over these items – here, or in several processes.

    for item, outcome in run(make, items, workers=2): ...

``make`` is a frozen, picklable record that, called once in each worker, gives the function to run; a worker keeps what
it has loaded. Results come as they are ready. A worker that dies or hangs is replaced, and the item it was at is
returned as a ``Failed``: one item never stops the others. A distributed engine can stand behind this function without
anything else changing.

The trade-off: pebble, and not the standard pool, because the standard one is lost with its first dead worker.
"""

import functools
import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result", covariant=True)

QUEUED_PER_WORKER = 2
ITEMS_PER_PROCESS = 400
"""A worker is replaced after this many items, so that what native libraries never give back cannot pile up."""

LOOK_SECONDS = 1.0
"""How long nothing may come before it is seen whether the pool is still there."""


class Make(Hashable, Protocol[Result]):
    """A frozen record that makes the function to run; called once in each process."""

    def __call__(self) -> Callable[[Any], Result]:
        """Load what is needed and return the function."""
        ...


@dataclass(frozen=True)
class Failed:
    """An item whose worker died or ran out of time; ``reason`` is told to the user."""

    reason: str


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    make: Make[Result], items: Iterable[Item], *, workers: int, seconds_each: Callable[[Item], float] | None = None
) -> Iterator[tuple[Item, Result | Failed]]:
    """Run a function over items.

    Args:
        make: gives the function, once in each process.
        items: picklable; taken as they are needed.
        workers: processes; 0 runs in this one, where a fault of the machine's code cannot be survived and no time limit
            holds.
        seconds_each: how long an item may take before it is given up; ``None`` waits for ever.

    Yields:
        ``(item, result)`` in the order of completion. An exception raised by the function is raised here.
    """
    if workers == 0:
        function = make()
        yield from ((item, function(item)) for item in items)
    else:
        yield from _run_in_processes(make, items, workers, seconds_each)


def _run_in_processes(
    make: Make[Result], items: Iterable[Item], workers: int, seconds_each: Callable[[Item], float] | None
) -> Iterator[tuple[Item, Result | Failed]]:
    """A pool of which an idle worker was killed is beyond help: another takes over, once, what it had been given."""
    queue, again = iter(items), []
    while (left := (yield from _run_in_pool(make, chain(again, queue), workers, seconds_each))) is not None:
        lost = [item for item in left if any(item is other for other in again)]
        yield from ((item, Failed("worker processes died twice")) for item in lost)
        again = [item for item in left if not any(item is other for other in lost)]


def _run_in_pool(
    make: Make[Result], queue: Iterator[Item], workers: int, seconds_each: Callable[[Item], float] | None
) -> Generator[tuple[Item, Result | Failed], None, list[Item] | None]:
    """Run until the queue is empty; or until the pool breaks: what was taken from the queue and not answered."""
    from pebble import ProcessPool  # noqa: PLC0415 - only when processes are wanted

    waiting: dict[Future[Result], tuple[Item, float | None]] = {}
    context = multiprocessing.get_context("spawn")
    pool = ProcessPool(max_workers=workers, max_tasks=ITEMS_PER_PROCESS, context=context)
    try:
        while True:
            while len(waiting) < workers * QUEUED_PER_WORKER and (item := next(queue, None)) is not None:
                seconds = None if seconds_each is None else seconds_each(item)
                try:
                    waiting[pool.schedule(_call, args=(make, item), timeout=seconds)] = (item, seconds)
                except RuntimeError:  # it has just broken
                    return [item, *(item for item, _ in waiting.values())]
            if not waiting:
                return None
            done, _ = wait(waiting, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                if not isinstance(future.exception(), BrokenProcessPool):
                    item, seconds = waiting.pop(future)
                    yield item, _outcome(future, seconds)
            if not pool.active:
                return [item for item, _ in waiting.values()]
    finally:
        pool.stop()
        pool.join()


def _outcome(future: Future[Result], seconds: float | None) -> Result | Failed:
    from pebble import ProcessExpired  # noqa: PLC0415

    try:
        return future.result()
    except TimeoutError:
        return Failed(f"gave up after {seconds:g} s")
    except ProcessExpired as error:
        return Failed(f"the worker process died (exit code {error.exitcode})")


def _call(make: Make[Result], item: Any) -> Result:
    return _made(make)(item)


@functools.cache
def _made(make: Make[Result]) -> Callable[[Any], Result]:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return make()


def _end_with_parent() -> None:
    """A process whose parent was killed has nobody to work for, and must not write beside the next one."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)
