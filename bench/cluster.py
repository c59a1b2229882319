"""What the driver of a Ray cluster costs: CPU time and memory for empty items, and clips per second.

    python bench/cluster.py driver           # 20,000 empty items, two workers on a Ray of this machine
    python bench/cluster.py overhead         # CPU time of all processes for 2,000 empty items, and while workers wait
    python bench/cluster.py throughput DATA  # clips per second: two workers without and with Ray, in turns

CPU time is that of the driver alone, so other load on the machine changes it little; clips per second are wall time
from the tenth clip to the last, so that starting Ray and loading models is left out. The CPU time beside it is that of
all processes. DATA has videos of a usual length, e.g. 16 of ``mien synth``.
"""

import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from mien.config import Settings
from mien.data.manifest import read_manifest
from mien.features.extract import extract
from mien.scale import Cluster, Pool, run

ITEMS = 20_000
WORKERS = 2
FIRST = 10

POOLS: dict[str, Pool] = {"workers": WORKERS, "cluster": Cluster(workers=WORKERS)}

SHORT, IDLE_SECONDS = 2000, 20.0
"""Of ``overhead``: items that take no time, and how long the last ones take."""


@dataclass(frozen=True)
class Nothing:
    """Does nothing."""

    def __call__(self) -> Callable[[int], int]:
        return int


def driver() -> None:
    """CPU time of the driver per item, and how its memory grows."""
    show_cost(run(Nothing(), range(ITEMS), workers=Cluster(workers=WORKERS)))


def show_cost(done: Iterable[object]) -> None:
    """Print what this process spends on each of ``ITEMS`` items that are done, and its memory on the way."""
    began, peaks = 0.0, []
    for count, _ in enumerate(done):
        if count == 0:
            began = time.process_time()
        if count % (ITEMS // 10) == ITEMS // 10 - 1:
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            print(f"{count + 1} items: {1000 * (time.process_time() - began) / count:.2f} ms of CPU each", flush=True)
    print(f"peak memory after each tenth: {', '.join(f'{peak:.0f} MB' for peak in peaks)}")


@dataclass(frozen=True)
class Sleep:
    """Sleeps for so many seconds."""

    def __call__(self) -> Callable[[float], None]:
        return time.sleep


def overhead() -> None:
    """CPU time of all processes for an item, and for a second in which the workers only wait."""
    items = [0.0] * (FIRST + SHORT) + [IDLE_SECONDS] * WORKERS
    for name, pool in POOLS.items():
        at = {}
        for count, _ in enumerate(run(Sleep(), items, workers=pool), 1):
            if count in (FIRST, FIRST + SHORT, len(items)):
                at[count] = _processor_seconds()
        first, short, last = at.values()
        print(f"{name}: {1000 * (short - first) / SHORT:.2f} ms of CPU an item, ", end="")
        print(f"{1000 * (last - short) / IDLE_SECONDS:.0f} ms a second while its workers wait", flush=True)


def throughput(data: Path) -> None:
    """Clips per second and processor seconds per clip of both kinds of workers, twice: A B, B A."""
    for name in (*POOLS, *reversed(POOLS)):
        speed, used = _speed(data, POOLS[name])
        print(f"{name}: {speed:.3f} clips/s, {used:.2f} s of CPU each", flush=True)


def _speed(data: Path, pool: Pool) -> tuple[float, float]:
    folder = Path(tempfile.mkdtemp())
    try:
        ends = [(time.monotonic(), _processor_seconds()) for _ in _outcomes(data, folder / "store", pool)]
    finally:
        shutil.rmtree(folder)
    (begin, before), (end, after) = ends[FIRST - 1], ends[-1]
    clips = len(ends) - FIRST
    return clips / (end - begin), (after - before) / clips


def _processor_seconds() -> float:
    """Of this process and all that it started, Ray's own too."""
    own = psutil.Process()
    return sum(sum(one.cpu_times()[:2]) for one in (own, *own.children(recursive=True)))


def _outcomes(data: Path, store: Path, pool: Pool) -> Iterator[object]:
    """Every clip twice, the second time under another name."""
    manifest = read_manifest(data)
    again = (replace(clip, id=f"{clip.id}-again") for clip in manifest.clips)
    return extract(replace(manifest, clips=(*manifest.clips, *again)), store, Settings(), workers=pool)


if __name__ == "__main__":
    import cluster  # workers import what they run, which must not be in the main script

    modes = {"driver": cluster.driver, "overhead": cluster.overhead, "throughput": cluster.throughput}
    modes[sys.argv[1]](*map(Path, sys.argv[2:]))
