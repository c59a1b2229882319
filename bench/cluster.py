"""What the driver of a Ray cluster costs: CPU time and memory for empty items, and clips per second.

    python bench/cluster.py driver           # 20,000 empty items, two workers on a Ray of this machine
    python bench/cluster.py throughput DATA  # clips per second: two workers without and with Ray, in turns

CPU time is that of the driver alone, so other load on the machine changes it little; clips per second are wall time
from the tenth clip to the last, so that starting Ray and loading models is left out.
"""

import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mien.config import read_settings
from mien.data.manifest import read_manifest
from mien.features.extract import extract
from mien.scale import Cluster, Pool, run

ITEMS = 20_000
WORKERS = 2
FIRST = 10


@dataclass(frozen=True)
class Nothing:
    """Does nothing."""

    def __call__(self) -> Callable[[int], int]:
        return int


def driver() -> None:
    """CPU time of the driver per item, and how its memory grows."""
    began, peaks = 0.0, []
    for count, _ in enumerate(run(Nothing(), range(ITEMS), workers=Cluster(workers=WORKERS))):
        if count == 0:
            began = time.process_time()
        if count % (ITEMS // 10) == ITEMS // 10 - 1:
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            print(f"{count + 1} items: {1000 * (time.process_time() - began) / count:.2f} ms of CPU each", flush=True)
    print(f"peak memory after each tenth: {', '.join(f'{peak:.0f} MB' for peak in peaks)}")


def throughput(data: Path) -> None:
    """Clips per second of both kinds of workers, three times in turns."""
    pools: dict[str, Pool] = {"workers": WORKERS, "cluster": Cluster(workers=WORKERS)}
    for _ in range(3):
        for name, pool in pools.items():
            print(f"{name}: {_clips_per_second(data, pool):.2f} clips/s", flush=True)


def _clips_per_second(data: Path, pool: Pool) -> float:
    folder = Path(tempfile.mkdtemp())
    try:
        times = [time.monotonic() for _ in _outcomes(data, folder / "store", pool)]
    finally:
        shutil.rmtree(folder)
    return (len(times) - FIRST) / (times[-1] - times[FIRST - 1])


def _outcomes(data: Path, store: Path, pool: Pool) -> Iterator[object]:
    settings = read_settings(overrides=["weights=tiny", "compute.precision=float32", "compute.threads=1"])
    return extract(read_manifest(data), store, settings, workers=pool)


if __name__ == "__main__":
    import cluster  # workers import what they run, which must not be in the main script

    cluster.driver() if sys.argv[1] == "driver" else cluster.throughput(Path(sys.argv[2]))
