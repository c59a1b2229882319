"""Training on features that are in memory, and on features in a file: r, CPU time of an epoch, and memory.

    python bench/memory.py CORPUS --seeds 0 1 2 --epochs 3

CORPUS is one of ``mien synth --mode features``. Each training runs in a process of its own. ``cold`` also drops the
file from the system's cache before every epoch, so that it is read from the disk.
"""

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from mien.config import read_settings
from mien.data.manifest import read_manifest
from mien.features.store import Store
from mien.model.file_rows import FileRows
from mien.training.train import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.25, help="memory in a file, of what all features take")
    parser.add_argument("--clips", type=int, default=10**9, help="the first so many of the corpus")
    parser.add_argument("--modalities", default="text,audio,vision,motion")
    parser.add_argument("--one", help="the kind of this process")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given)))
        return
    made = {}
    for kind in ("memory", "file", "cold"):
        ended = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--one", kind], stdout=subprocess.PIPE, text=True, check=True
        )
        made[kind] = json.loads(ended.stdout.splitlines()[-1])
        print(kind, made[kind], flush=True)
    assert made["memory"]["r"] == made["file"]["r"] == made["cold"]["r"], "r differs"
    print("the same r, seed by seed:", made["file"]["r"])
    for kind in ("file", "cold"):
        times = {name: round(seconds / made["memory"]["cpu"][name], 2) for name, seconds in made[kind]["cpu"].items()}
        print(kind, "CPU time of an epoch, relative:", times)


def one(given: argparse.Namespace) -> dict[str, object]:
    """One training: r by seed, CPU and wall seconds of an epoch by stage, memory above that before the data."""
    every, store = read_manifest(given.corpus), Store(given.corpus / "features")
    manifest = replace(every, clips=every.clips[: given.clips])
    total = bytes_of(store, [clip.id for clip in manifest.clips], given.modalities.split(","))
    bound = "null" if given.one == "memory" else str(given.share * total / 1e9)
    changes = {
        "seeds": given.seeds,
        "modalities": f"[{given.modalities}]",
        "stage1.epochs": given.epochs,
        "stage1.motion_epochs": given.epochs,
        "stage2.epochs": given.epochs,
        "compute.memory_gigabytes": bound,
        "compute.precision": "float32",
    }
    settings = read_settings(overrides=[f"{name}={value}" for name, value in changes.items()])
    _ = store.clips
    before, cpu, wall, clock = peak(), {}, {}, [time.process_time(), time.monotonic()]

    def on_epoch(name: str, _: object) -> None:
        now = [time.process_time(), time.monotonic()]
        cpu.setdefault(name, []).append(now[0] - clock[0])
        wall.setdefault(name, []).append(now[1] - clock[1])
        if given.one == "cold":
            for rows in (found for found in gc.get_objects() if isinstance(found, FileRows)):
                os.fdatasync(rows._file.handle)
                os.posix_fadvise(rows._file.handle, 0, 0, os.POSIX_FADV_DONTNEED)
        clock[:] = [time.process_time(), time.monotonic()]

    with tempfile.TemporaryDirectory() as out:
        made = train(manifest, store, settings, Path(out) / "run", None, on_epoch)
    median = {name: round(float(np.median(values[1:])), 3) for name, values in cpu.items()}
    return {
        "r": [round(float(np.mean(row)), 6) for row in made.r["fused"]],
        "cpu": median,
        "wall": {name: round(float(np.median(values[1:])), 3) for name, values in wall.items()},
        "features_mb": round(total / 1e6),
        "peak_above_start_mb": round((peak() - before) / 1e6),
        "notes": [note for note in made.notes if "temporary file" in note],
    }


def bytes_of(store: Store, clips: list[str], modalities: list[str]) -> int:
    """What the features take in memory, averaged to 100 steps."""
    rows = [row for clip in clips for name in modalities if (row := store.row(clip, name))]
    return sum(min(row.steps, 100) * row.width * (2 if row.width >= 256 else 4) for row in rows)


def peak() -> int:
    """Peak memory of this process so far, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
