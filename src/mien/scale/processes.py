"""Worker processes on this machine.

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
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from multiprocessing import popen_spawn_posix, spawn
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType, FunctionType, SimpleNamespace
from typing import Any

from mien.deadline import Deadline
from mien.sandbox import deny_network
from mien.scale.work import Failed, Item, Seconds, WorkerFactory

ITEMS_PER_PROCESS = 400
"""A worker is replaced after this many items, to bound the memory that native libraries leak."""

LOOK_SECONDS = 1.0
"""How often running items and the pool are polled."""


class Processes:
    """Worker processes with the same function, kept until they are closed."""

    def __init__(self, make: WorkerFactory[Any], workers: int) -> None:
        """Start so many workers; each makes its function when it gets its first item.

        Raises:
            ValueError: the number is negative.
        """
        if workers < 1:
            raise ValueError(f"workers = {workers}, but it is a number of processes, or 0 for none")
        Path.cwd()  # a deleted working directory is reported here, not by workers that cannot start
        self._make, self._workers = make, workers
        self._context = _Context()
        self._pool = _start(workers, self._context)

    def run(self, items: Iterable[Item], seconds_each: Seconds | None, ahead: int = 1) -> Iterator[tuple[Item, Any]]:
        """Run over items; if the pool breaks (an idle worker was killed), a new one gets the rest, once per item."""
        queue, retried = iter(items), []
        while (left := (yield from self._run_in_pool(chain(retried, queue), seconds_each, ahead))) is not None:
            lost = [item for item in left if any(item is other for other in retried)]
            yield from ((item, Failed("worker processes died twice")) for item in lost)
            retried = [item for item in left if not any(item is other for other in lost)]
            self.close()
            self._pool = _start(self._workers, self._context)

    def close(self) -> None:
        """End the workers."""
        self._pool.stop()
        self._context.end_lost()
        self._pool.join()

    def _run_in_pool(
        self, queue: Iterator[Item], seconds_each: Seconds | None, ahead: int
    ) -> Generator[tuple[Item, Any], None, list[Item] | None]:
        """Run until the queue is empty, or until the pool breaks; returns the unfinished items then, else ``None``."""
        waiting: dict[Future[Any], _Task] = {}
        done: Iterator[tuple[Any, Any]] = iter(())
        while True:
            refused = self._fill(waiting, queue, seconds_each, ahead)
            if refused is not None:
                return [refused, *(task.item for task in waiting.values())]
            if not waiting:
                return None
            if (result := next(done, None)) is not None:
                yield result
            elif self._pool.active:
                done = _completed(waiting)
            else:
                return [task.item for task in waiting.values()]

    def _fill(
        self, waiting: dict[Future[Any], "_Task"], queue: Iterator[Item], seconds_each: Seconds | None, ahead: int
    ) -> Item | None:
        """Give the pool as many items as may wait in it; returns the one that it refuses if it has just broken.

        Done after each result and not after a batch of them, because whoever takes the results may be slow.
        """
        while len(waiting) < self._workers * (1 + ahead) and (item := next(queue, None)) is not None:
            task = _Task(item, None if seconds_each is None else seconds_each(item))
            try:
                waiting[self._pool.schedule(_call, args=(self._make, item))] = task
            except RuntimeError:
                return item
        return None


def _start(workers: int, context: "_Context") -> Any:
    from pebble import ProcessPool  # noqa: PLC0415 - only with workers

    return ProcessPool(workers, ITEMS_PER_PROCESS, initializer=_begin, context=context)


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


def _completed(waiting: dict[Future[Any], _Task]) -> Iterator[tuple[Any, Any]]:
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


def _outcome(future: Future[Any]) -> Any:
    from pebble import ProcessExpired  # noqa: PLC0415

    try:
        return future.result()
    except ProcessExpired as error:
        return Failed(f"the worker process died (exit code {error.exitcode})")


def _call(make: WorkerFactory[Any], item: Any) -> Any:
    return _made(make)(item)


@functools.cache
def _made(make: WorkerFactory[Any]) -> Callable[[Any], Any]:
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

    def start(self) -> None:
        """Start, and only then be interrupted: a worker that is not known yet would be ended by nobody."""
        with _interrupted_later():
            super().start()


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM, where the program handles them, until the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers run in the main thread, and do not interrupt this one
        return
    came: list[tuple[int, FrameType | None]] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    held = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in held:
        signal.signal(number, lambda *given: came.append(given))
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
        for number, frame in came[:1]:
            held[signal.Signals(number)](number, frame)


class _Context(SpawnContext):
    """Makes workers, and remembers them: one that is interrupted before the pool knows it is ended here."""

    def __init__(self) -> None:
        super().__init__()
        self._made: list[_Process] = []

    def Process(self, *arguments: Any, **options: Any) -> _Process:  # type: ignore[override] - a class in its parent
        """A worker that has not started."""
        self._made = [process for process in self._made if process.is_alive()]
        self._made.append(_Process(*arguments, **options))
        return self._made[-1]

    def end_lost(self) -> None:
        """End the workers of a pool that has been stopped, also those that it does not know."""
        for process in self._made:
            if process.is_alive():
                process.terminate()
