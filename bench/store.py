"""Opening a feature store as large as the challenge's, and reading from it."""

import statistics
from pathlib import Path
from time import perf_counter

import numpy as np
from material import SCRATCH
from section import Section, Table, at_most

from mien.features.store import Store
from mien.features.writer import SHARD_CLIPS, StoreWriter
from mien.schema import ClipFeatures, Feature

CLIPS = 12_660
WIDTH = 8
"""Narrow: the index has its full size, only the arrays are smaller."""
STEPS = {"text": 1, "tokens": 12, "audio": 350, "vision": 28, "motion": 70}


def measure(quick: bool) -> Section:
    count, rounds = (1280 if quick else CLIPS), 3 if quick else 9
    root = SCRATCH / f"store-{count}"
    names = [f"{n:05d}" for n in range(count)]
    _fill(root, names)
    opened, known, gathered = [], [], []
    for _ in range(rounds):
        begin = perf_counter()
        store = Store(root)
        _ = store.rows
        opened.append(perf_counter() - begin)
        _ = store.clips
        known.append(perf_counter() - begin)
        begin = perf_counter()
        store.gather("audio", names)
        gathered.append(perf_counter() - begin)
    rows = [
        ("open: the index of (clip, modality)", f"{statistics.median(opened):.2f}"),
        ("open, with transcripts and notes", f"{statistics.median(known):.2f}"),
        ("gather audio of all clips", f"{statistics.median(gathered):.2f}"),
    ]
    text = f"{count:,} clips with five features each, median of {rounds}, in the page cache."
    limit = "a Python object for each clip and feature"
    target = at_most(f"opening a store of {count:,} clips", 1.0, statistics.median(opened), "s", limit)
    return Section("Feature store", [text, Table(("", "s"), rows)], [target])


def _fill(root: Path, names: list[str]) -> None:
    if (root / "store.json").exists() and len(Store(root).rows) == len(names) * len(STEPS):
        return
    made = tuple(
        Feature(name, "key", "bench", np.ones((steps, WIDTH), np.float16), np.zeros(steps, np.float32))
        for name, steps in STEPS.items()
    )
    with StoreWriter(root, names) as writer:
        for first in range(0, len(names), SHARD_CLIPS):
            writer.add_shard([ClipFeatures(name, 7.0, made) for name in names[first : first + SHARD_CLIPS]])
