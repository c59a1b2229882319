"""The same function over the same items, by worker processes on the machines of a Ray cluster.

    mien (driver)  ──item──▶  actor on a node  ──item──▶  worker process (no network)
                   ◀─result─                   ◀─result─

An actor is small: it keeps one worker process (``processes.py``), which loads the models and is sandboxed as on one
machine; the actor itself needs its sockets. Items and results are small; workers read and write large data themselves,
in folders that all nodes see under the same path.

Dispatch is ours, because Ray's own loses what we promise: at most ``1 + ahead`` items are with an actor; after an error
it gets nothing until it answers again, so a dying node does not swallow the queue; and retries are counted per item.
An item that was being worked on when an actor died is tried again, and is ``Failed`` after the third death. A worker
process that dies or runs out of time fails its item at once, as on one machine.

Ray reports usage to its vendor and listens without authentication unless told otherwise; both are turned off here.
The trade-off: the driver is a single point. If it is killed, Ray ends the actors, and the same command continues.
"""

import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mien.errors import DependencyMissing, MienError, escape_control
from mien.scale.processes import Processes
from mien.scale.work import Failed, Item, Seconds, WorkerFactory

DEATHS = 3
"""An item during which so many workers died is reported and not tried again."""

PING_SECONDS = 1.0
"""An actor that does not answer is asked again after this time."""

SILENT_SECONDS = 300.0
"""When no actor has answered for so long, the run ends."""

ANSWER_SECONDS = 10.0
"""How long the head of a cluster may take to accept a connection."""

OBJECT_STORE_BYTES = 100_000_000
"""Ray's shared memory; small, because nothing large goes through it (and a container has 64 MB by default)."""


@dataclass(frozen=True)
class Cluster:
    """Workers on a Ray cluster.

    Attributes:
        address: of its head, e.g. ``10.0.0.1:6379``; by default ``RAY_ADDRESS``, else a Ray of its own on this machine.
        workers: number of actors; 0 takes as many as the cluster has room for.
        cores: of each actor; 0 for actors that only need a GPU.
        gpus: of each actor.
    """

    address: str | None = None
    workers: int = 0
    cores: int = 1
    gpus: int = 0


@dataclass(frozen=True)
class Node:
    """A node of a cluster: its version of mien, and why it cannot work, if so."""

    name: str
    mien: str
    problem: str = ""


class Actor:
    """Keeps one worker process on a node, and gives it one item after the other."""

    def __init__(self, make: WorkerFactory[Any], folder: str) -> None:
        """Nothing is loaded yet.

        Args:
            make: of the worker process.
            folder: the driver's working directory, to which relative paths refer.
        """
        self._make, self._folder = make, folder
        self._worker: Processes | None = None

    def node(self) -> Node:
        """Where it is; the answer also says that it is alive and can work."""
        try:
            os.chdir(self._folder)
            problem = ""
        except OSError as error:
            problem = f"{self._folder}: {error.strerror}; all nodes must see the same folders under the same paths"
        return Node(os.uname().nodename, version("mien"), problem)

    def run(self, item: Any, seconds: float | None) -> Any:
        """The result of an item, or an exception as a value."""
        self._worker = self._worker or Processes(self._make, 1)
        try:
            ((_, outcome),) = self._worker.run([item], None if seconds is None else lambda _: seconds)
        except Exception as error:  # noqa: BLE001 - raised by the driver
            return _Raised(error)
        return outcome


@dataclass(frozen=True)
class _Raised:
    error: Exception


@dataclass(eq=False)
class _Task:
    item: Any
    seconds: float | None
    deaths: int = 0


@dataclass(eq=False)
class _Worker:
    """An actor, as the driver sees it; it gets items only while it is ``awake``."""

    actor: Any
    tasks: dict[Any, _Task] = field(default_factory=dict)
    ping: Any = None
    awake: bool = False
    asked: float = -PING_SECONDS


def run_on_cluster(
    make: WorkerFactory[Any], items: Iterable[Item], cluster: Cluster, seconds_each: Seconds | None, ahead: int
) -> Iterator[tuple[Item, Any]]:
    """Run over items on a cluster; as ``scale.run``.

    Raises:
        DependencyMissing: Ray is not installed.
        MienError: the cluster cannot be reached, no worker answers, or a node has another version of mien.
    """
    with connected(cluster) as ray:
        options = {
            "num_cpus": cluster.cores, "num_gpus": cluster.gpus, "scheduling_strategy": "SPREAD",
            "max_restarts": -1, "max_task_retries": 0,
        }  # fmt: skip
        remote = ray.remote(**options)(Actor)
        workers = [_Worker(remote.remote(make, str(Path.cwd()))) for _ in range(_count(ray, cluster))]
        try:
            yield from _Dispatch(ray, workers, 1 + ahead).run(items, seconds_each)
        finally:
            for worker in workers:
                ray.kill(worker.actor)


def _count(ray: Any, cluster: Cluster) -> int:
    """The number of actors that the cluster has room for, or the wanted one."""
    if cluster.workers:
        return cluster.workers
    resources, needs = ray.cluster_resources(), {"CPU": cluster.cores, "GPU": cluster.gpus}
    return max(1, min(int(resources.get(name, 0)) // need for name, need in needs.items() if need))


class _Dispatch:
    """Gives items to actors, and takes their results."""

    def __init__(self, ray: Any, workers: list[_Worker], most: int) -> None:
        self._ray, self._workers, self._most = ray, workers, most  # items that are with an actor
        self._of: dict[Any, _Worker] = {}  # by reference of a call
        self._again: deque[_Task] = deque()

    def run(self, items: Iterable[Item], seconds_each: Seconds | None) -> Iterator[tuple[Item, Any]]:
        """Every item with its outcome, in order of completion."""
        new = (_Task(item, None if seconds_each is None else seconds_each(item)) for item in items)
        silent = 0.0  # seconds of waiting for an answer; new items may take long to come, too
        while self._give(new):
            asked = time.monotonic()
            done = self._wait()
            silent += time.monotonic() - asked
            for worker in {self._of[ref]: None for ref in done}:
                yield from self._take(worker, done)
                self._fill(worker, new)  # whoever takes the results may be slow
            if any(worker.awake for worker in self._workers):
                silent = 0.0
            elif silent > SILENT_SECONDS:
                raise MienError(f"no worker of the cluster has answered for {SILENT_SECONDS:g} s; see: ray status")

    def _give(self, new: Iterator[_Task]) -> bool:
        """Fill up the actors that are awake, and ask the others; whether anything is left to do."""
        for worker in self._workers:
            if not self._fill(worker, new):
                return any(worker.tasks for worker in self._workers)
            if not worker.awake and worker.ping is None and time.monotonic() - worker.asked >= PING_SECONDS:
                worker.ping, worker.asked = worker.actor.node.remote(), time.monotonic()
                self._of[worker.ping] = worker
        return True

    def _fill(self, worker: _Worker, new: Iterator[_Task]) -> bool:
        """Give an actor that is awake as many items as it may have; ``False`` if there are none left."""
        while worker.awake and len(worker.tasks) < self._most:
            task = self._again.popleft() if self._again else next(new, None)
            if task is None:
                return False
            ref = worker.actor.run.remote(task.item, task.seconds)
            worker.tasks[ref] = task
            self._of[ref] = worker
        return True

    def _wait(self) -> set[Any]:
        """The calls that have ended, within a second."""
        refs = list(self._of)
        if not refs:
            time.sleep(PING_SECONDS / 4)
            return set()
        done, _ = self._ray.wait(refs, num_returns=1, timeout=PING_SECONDS)
        return set(self._ray.wait(refs, num_returns=len(refs), timeout=0)[0]) if done else set()

    def _take(self, worker: _Worker, done: set[Any]) -> Iterator[tuple[Any, Any]]:
        """The results of an actor, the oldest first; if it died, its items go to others."""
        if worker.ping in done:
            self._hear(worker)
        for ref in [ref for ref in worker.tasks if ref in done]:
            if ref not in worker.tasks:  # lost with an older one
                return
            try:
                outcome = self._ray.get(ref)
            except self._ray.exceptions.RayError as error:
                yield from self._lose(worker, error)
                return
            task = worker.tasks.pop(ref)
            del self._of[ref]
            if isinstance(outcome, _Raised):
                raise outcome.error
            yield task.item, outcome

    def _hear(self, worker: _Worker) -> None:
        """An answer to a ping: the actor is awake, dead for now, or cannot work at all."""
        ping, worker.ping = worker.ping, None
        del self._of[ping]
        try:
            node: Node = self._ray.get(ping)
        except self._ray.exceptions.RayError as error:
            if getattr(error, "actor_init_failed", False):
                raise MienError(f"a node of the cluster cannot start workers: {_last_line(error)}") from error
            return
        if node.mien != version("mien"):
            raise MienError(
                f"node {node.name} has mien {node.mien}, but here it is {version('mien')}; install one version on all "
                "nodes (mien doctor --cluster lists them)"
            )
        if node.problem:
            raise MienError(f"node {node.name}: {node.problem}")
        worker.awake = True

    def _lose(self, worker: _Worker, error: Exception) -> Iterator[tuple[Any, Any]]:
        """An actor died: the item that it worked on has one more death; that which waited has none."""
        worker.awake, tasks = False, list(worker.tasks.values())
        for ref in worker.tasks:
            del self._of[ref]
        worker.tasks.clear()
        tasks[0].deaths += 1
        self._again.extend(task for task in tasks if task.deaths < DEATHS)
        if tasks[0].deaths >= DEATHS:
            yield tasks[0].item, Failed(f"{DEATHS} workers died with it (the last: {type(error).__name__})")


@contextmanager
def connected(cluster: Cluster) -> Iterator[Any]:
    """The module ``ray``, connected to a cluster: the given one, or a new one on this machine that ends with the block.

    A connection that the calling program has made is used, and left to it.

    Raises:
        DependencyMissing: Ray is not installed.
        MienError: the cluster cannot be reached.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    address = cluster.address or os.environ.get("RAY_ADDRESS")
    if address is None and "ray" not in sys.modules:  # Ray reads them when it is imported
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # else its servers listen on all interfaces
    try:
        import ray  # noqa: PLC0415 - heavy and optional
    except ModuleNotFoundError as error:
        raise DependencyMissing("--cluster needs Ray; pip install 'mien[ray]'") from error
    if ray.is_initialized():
        yield ray
        return
    folder = tempfile.mkdtemp(prefix="mien-ray-") if address is None else None
    try:
        with _sigterm_unchanged():
            _begin(ray, address, folder)
        yield ray
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _sigterm_unchanged() -> Iterator[None]:
    """Keep the calling program's handler of SIGTERM, if it has one; Ray installs its own, which ends the process."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _begin(ray: Any, address: str | None, folder: str | None) -> None:
    own = {"num_cpus": None, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES,
           "_node_ip_address": "127.0.0.1", "_temp_dir": folder}  # fmt: skip
    try:
        if address:
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), ANSWER_SECONDS).close()  # Ray itself would wait for minutes
        ray.init(
            address or "local", log_to_driver=False, logging_level="ERROR", configure_logging=False,
            **({} if address else own),
        )  # fmt: skip
    except Exception as error:  # Ray raises bare ones, too, e.g. when a node does not start in time
        raise MienError(
            f"{address or 'Ray'}: cannot be reached ({_last_line(error)}); see ray status, and RAY_AUTH_TOKEN"
        ) from error


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return escape_control(lines[-1][:300]) if lines else type(error).__name__
