"""Map a function over items, in this process or in several.

    for item, outcome in run(make, items, workers=2): ...

``make`` is a frozen, picklable record that is called once in each worker and returns the function to run, so a worker
loads its models once. Results are yielded as they complete. A worker that dies or hangs is replaced, and its item is
returned as a ``Failed``: one item never stops the others. A distributed engine can be put behind this function without
other changes.

Workers are spawned processes that do not import the main script, so a script needs no ``if __name__ == "__main__"``;
``make`` and the items must be importable, and not defined in the main script.

The trade-off: pebble instead of the standard pool, which breaks when a worker dies. Its time limits are not used,
because they count time in which the machine was suspended; see ``deadline.py``.
"""

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain
from multiprocessing import popen_spawn_posix, spawn
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any, Protocol, TypeVar, runtime_checkable

from mien.deadline import Deadline
from mien.sandbox import deny_network, offline

Item = TypeVar("Item")
Result = TypeVar("Result", covariant=True)

QUEUED_PER_WORKER = 2
ITEMS_PER_PROCESS = 400
"""A worker is replaced after this many items, to bound the memory that native libraries leak."""

LOOK_SECONDS = 1.0
"""How often running items and the pool are polled."""


class WorkerFactory(Hashable, Protocol[Result]):
    """A frozen record, called once in each process, that returns the function to run."""

    def __call__(self) -> Callable[[Any], Result]:
        """Load models and return the function."""
        ...


@runtime_checkable
class Closes(Protocol):
    """A function that holds processes or files until it is closed; in a worker it is released with the process."""

    def close(self) -> None:
        """Release them."""
        ...


@dataclass(frozen=True)
class Failed:
    """An item for which the worker died or ran out of time; ``reason`` is shown to the user."""

    reason: str


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


def share_of_cores(workers: int) -> int:
    """Cores for each of so many processes, at least one; 0 processes are this one."""
    return max(1, cores() // max(1, workers))


def run(
    make: WorkerFactory[Result],
    items: Iterable[Item],
    *,
    workers: int,
    seconds_each: Callable[[Item], float] | None = None,
) -> Iterator[tuple[Item, Result | Failed]]:
    """Run a function over items.

    Args:
        make: returns the function, once in each process; if it has ``close``, it is closed after the last item.
        items: picklable; consumed lazily.
        workers: processes; 0 runs in this one, where a crash of native code is not survived and there is no time limit.
        seconds_each: time limit of an item; ``None`` has none.

    Yields:
        ``(item, result)`` in the order of completion. Exceptions raised by the function are raised here.
    """
    if workers == 0:
        with offline() as call:
            function = call(make)
            try:
                for item in items:
                    yield item, call(function, item)
            finally:
                if isinstance(function, Closes):
                    call(function.close)
    else:
        yield from _run_in_processes(make, items, workers, seconds_each)


def _run_in_processes(
    make: WorkerFactory[Result], items: Iterable[Item], workers: int, seconds_each: Callable[[Item], float] | None
) -> Iterator[tuple[Item, Result | Failed]]:
    """Run in a pool; if it breaks (an idle worker was killed), a new pool gets its unfinished items, once per item."""
    Path.cwd()  # a deleted working directory is reported here, not by workers that cannot start
    queue, retried = iter(items), []
    while (left := (yield from _run_in_pool(make, chain(retried, queue), workers, seconds_each))) is not None:
        lost = [item for item in left if any(item is other for other in retried)]
        yield from ((item, Failed("worker processes died twice")) for item in lost)
        retried = [item for item in left if not any(item is other for other in lost)]


@dataclass
class _Task:
    """An item in the pool; its time limit starts when it is first seen running."""

    item: Any
    seconds: float | None
    deadline: Deadline | None = None

    def is_late(self, future: Future[Any]) -> bool:
        """Whether it exceeded its time limit."""
        if self.seconds is None or not future.running():
            return False
        if self.deadline is None:
            self.deadline = Deadline(self.seconds)
        return self.deadline.left() <= 0


def _run_in_pool(
    make: WorkerFactory[Result], queue: Iterator[Item], workers: int, seconds_each: Callable[[Item], float] | None
) -> Generator[tuple[Item, Result | Failed], None, list[Item] | None]:
    """Run until the queue is empty, or until the pool breaks; returns the unfinished items then, else ``None``."""
    from pebble import ProcessPool  # noqa: PLC0415 - only with workers

    waiting: dict[Future[Result], _Task] = {}
    pool = ProcessPool(workers, ITEMS_PER_PROCESS, initializer=_begin, context=_Context())
    try:
        while True:
            while len(waiting) < workers * QUEUED_PER_WORKER and (item := next(queue, None)) is not None:
                task = _Task(item, None if seconds_each is None else seconds_each(item))
                try:
                    waiting[pool.schedule(_call, args=(make, item))] = task
                except RuntimeError:  # the pool has just broken
                    return [item, *(task.item for task in waiting.values())]
            if not waiting:
                return None
            yield from _completed(waiting)
            if not pool.active:
                return [task.item for task in waiting.values()]
    finally:
        pool.stop()
        pool.join()


def _completed(waiting: dict[Future[Result], _Task]) -> Iterator[tuple[Any, Result | Failed]]:
    """Remove and yield tasks that are done or late, within ``LOOK_SECONDS``; those that broke with the pool stay."""
    wait(waiting, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
    for future, task in list(waiting.items()):
        if future.done():
            if not isinstance(future.exception(), BrokenProcessPool):
                del waiting[future]
                yield task.item, _outcome(future)
        elif task.is_late(future) and future.cancel():  # the pool ends the worker of a cancelled future
            del waiting[future]
            yield task.item, Failed(f"gave up after {task.seconds:g} s")


def _outcome(future: Future[Result]) -> Result | Failed:
    from pebble import ProcessExpired  # noqa: PLC0415

    try:
        return future.result()
    except ProcessExpired as error:
        return Failed(f"the worker process died (exit code {error.exitcode})")


def _call(make: WorkerFactory[Result], item: Any) -> Result:
    return _made(make)(item)


@functools.cache
def _made(make: WorkerFactory[Result]) -> Callable[[Any], Result]:
    return make()


def _begin() -> None:
    """Initialize a worker, before anything is loaded."""
    deny_network()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit when the parent was killed, so that an orphan does not write beside a new run."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _preparation(name: str) -> dict[str, Any]:
    """Preparation data of a new process without the main script, which the standard library would import in it."""
    data = spawn.get_preparation_data(name)
    return {key: value for key, value in data.items() if not key.startswith("init_main")}


_launch = FunctionType(
    vars(popen_spawn_posix.Popen)["_launch"].__code__,
    {**vars(popen_spawn_posix), "spawn": SimpleNamespace(**{**vars(spawn), "get_preparation_data": _preparation})},
)
"""The standard library's ``_launch`` with ``_preparation``; the module, which other threads use, is unchanged."""


class _Popen(popen_spawn_posix.Popen):
    """Starts a worker with SIGINT blocked: Ctrl-C is for the parent."""

    def _launch(self, process_obj: BaseProcess) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # inherited by the new process
        try:
            _launch(self, process_obj)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: BaseProcess) -> _Popen:
        return _Popen(process_obj)


class _Context(SpawnContext):
    Process = _Process
