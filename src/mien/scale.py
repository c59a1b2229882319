"""One function: run this over these items – here, or in several processes.

    for item, outcome in run(make, items, workers=2): ...

``make`` is a frozen, picklable record that, called once in each worker, gives the function to run; a worker keeps what
it has loaded. Results come as they are ready. A worker that dies or hangs is replaced, and the item it was at is
returned as a ``Failed``: one item never stops the others. A distributed engine can stand behind this function without
anything else changing.

Workers are new processes that import modules of mien and nothing of the program that started them: a script needs no
``if __name__ == "__main__"``. So ``make`` and the items must be importable, and not defined in such a script.

The trade-off: pebble, and not the standard pool, because the standard one is lost with its first dead worker. Its time
limits are not used, because they go by a clock that jumps; see ``deadline.py``.
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
"""A worker is replaced after this many items, so that what native libraries never give back cannot pile up."""

LOOK_SECONDS = 1.0
"""How often running items and the pool itself are looked at when nothing comes."""


class WorkerFactory(Hashable, Protocol[Result]):
    """A frozen record that makes the function to run; called once in each process."""

    def __call__(self) -> Callable[[Any], Result]:
        """Load what is needed and return the function."""
        ...


@runtime_checkable
class Closes(Protocol):
    """A function that holds processes or files until it is closed; in a worker it ends with its process."""

    def close(self) -> None:
        """Release them."""
        ...


@dataclass(frozen=True)
class Failed:
    """An item whose worker died or ran out of time; ``reason`` is told to the user."""

    reason: str


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    make: WorkerFactory[Result],
    items: Iterable[Item],
    *,
    workers: int,
    seconds_each: Callable[[Item], float] | None = None,
) -> Iterator[tuple[Item, Result | Failed]]:
    """Run a function over items.

    Args:
        make: gives the function, once in each process; one that has ``close`` is closed after the last item.
        items: picklable; taken as they are needed.
        workers: processes; 0 runs in this one, where a fault of the machine's code cannot be survived and no time limit
            holds.
        seconds_each: how long an item may take before it is given up; ``None`` waits for ever.

    Yields:
        ``(item, result)`` in the order of completion. An exception raised by the function is raised here.
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
    """A pool of which an idle worker was killed is beyond help: another takes over, once, what it had been given."""
    Path.cwd()  # a directory that was deleted is reported here, not by workers that cannot start in it
    queue, again = iter(items), []
    while (left := (yield from _run_in_pool(make, chain(again, queue), workers, seconds_each))) is not None:
        lost = [item for item in left if any(item is other for other in again)]
        yield from ((item, Failed("worker processes died twice")) for item in lost)
        again = [item for item in left if not any(item is other for other in lost)]


@dataclass
class _Task:
    """An item that was given to the pool; its time counts from when it is first seen running."""

    item: Any
    seconds: float | None
    deadline: Deadline | None = None

    def is_late(self, future: Future[Any]) -> bool:
        """Whether its time is up."""
        if self.seconds is None or not future.running():
            return False
        if self.deadline is None:
            self.deadline = Deadline(self.seconds)
        return self.deadline.left() <= 0


def _run_in_pool(
    make: WorkerFactory[Result], queue: Iterator[Item], workers: int, seconds_each: Callable[[Item], float] | None
) -> Generator[tuple[Item, Result | Failed], None, list[Item] | None]:
    """Run until the queue is empty; or until the pool breaks: what was taken from the queue and not answered."""
    from pebble import ProcessPool  # noqa: PLC0415 - only when processes are wanted

    waiting: dict[Future[Result], _Task] = {}
    pool = ProcessPool(workers, ITEMS_PER_PROCESS, initializer=_begin, context=_Context())
    try:
        while True:
            while len(waiting) < workers * QUEUED_PER_WORKER and (item := next(queue, None)) is not None:
                task = _Task(item, None if seconds_each is None else seconds_each(item))
                try:
                    waiting[pool.schedule(_call, args=(make, item))] = task
                except RuntimeError:  # it has just broken
                    return [item, *(task.item for task in waiting.values())]
            if not waiting:
                return None
            yield from _answered(waiting)
            if not pool.active:
                return [task.item for task in waiting.values()]
    finally:
        pool.stop()
        pool.join()


def _answered(waiting: dict[Future[Result], _Task]) -> Iterator[tuple[Any, Result | Failed]]:
    """Take out what is done or late, within ``LOOK_SECONDS``; what broke with the pool stays."""
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
    """What every worker does first: before it has loaded what it works with."""
    deny_network()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A process whose parent was killed has nobody to work for, and must not write beside the next one."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _preparation(name: str) -> dict[str, Any]:
    """What a new process is told, without its parent's script, which the standard library would run again in it."""
    data = spawn.get_preparation_data(name)
    return {key: value for key, value in data.items() if not key.startswith("init_main")}


_launch = FunctionType(
    vars(popen_spawn_posix.Popen)["_launch"].__code__,
    {**vars(popen_spawn_posix), "spawn": SimpleNamespace(**{**vars(spawn), "get_preparation_data": _preparation})},
)
"""The standard library's way to start a process, with ``_preparation``; nothing that other threads use is changed."""


class _Popen(popen_spawn_posix.Popen):
    """Starts a worker with Ctrl-C held back, so that it never complains of one that was meant for its parent."""

    def _launch(self, process_obj: BaseProcess) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # of this thread, and what it starts
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
