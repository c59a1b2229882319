"""Time and peak memory against the length of a clip, and against the number of clips: both have to be straight lines,
the second a level one.

Each point is a process of its own (`python bench/scaling.py clip FILM`, `… clips N STORE`), so that
its peak is its own.
"""

import json
import sys
import tempfile
import threading
from pathlib import Path
from time import perf_counter
from typing import Self

import numpy as np
import psutil
from material import SCRATCH, long_film
from section import Section, Table, at_most, draw
from timing import python

LENGTHS = (5, 20, 60, 300, 1200)
COUNTS = (100, 1000, 10_000)
WIDTHS = {"text": (1, 384), "audio": (350, 384), "vision": (28, 384), "motion": (70, 58)}
"""Steps and width of each feature of a clip of seven seconds, of the set ``small``."""


def measure(quick: bool) -> Section:
    lengths, counts = ((5, 60, 120), (512, 1024)) if quick else (LENGTHS, COUNTS)
    script = str(Path(__file__))
    clip, corpus = [], []
    for seconds in lengths:
        clip.append((seconds, *json.loads(python(script, "clip", str(long_film(seconds))).printed)))
    for count in counts:
        with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
            corpus.append((count, *json.loads(python(script, "clips", str(count), f"{scratch}/store").printed)))
    rows = [(f"{s} s", f"{taken:.1f}", f"{taken / s:.2f}", f"{peak:.0f}") for s, taken, peak in clip]
    filed = [(f"{n:,}", f"{taken:.1f}", f"{n / taken:.0f}", f"{peak:.0f}") for n, taken, peak in corpus]
    minute = lengths.index(60)  # from two of the pieces on, in which long sound is heard
    growth = (clip[-1][2] - clip[minute][2]) / (clip[-1][0] / 60 - 1)
    slower = (clip[-1][1] / clip[-1][0]) / (clip[-2][1] / clip[-2][0])
    heavier = corpus[-1][2] - corpus[-2][2]
    slower_store = (corpus[-1][1] / corpus[-1][0]) / (corpus[-2][1] / corpus[-2][0])
    sound = "the sound of a clip is held whole, 3.8 MB a minute, and its states are 2.3"
    targets = [
        at_most("memory, from one minute on, per minute of clip", 10, growth, "MB", sound),
        at_most("time per second of clip, longest against second longest", 1.15, slower, "×", "other load"),
        at_most(f"memory of {corpus[-1][0]:,} stored clips above {corpus[-2][0]:,}", 60, heavier, "MB", "the index"),
        at_most("time per stored clip, most against second most", 1.15, slower_store, "×", "the disk"),
    ]
    parts = [
        "One film again and again up to a length, all four modalities, one worker, loading of weights not counted. "
        "Memory is that of the process and the one that decodes, without mapped files, which the system takes back:",
        Table(("clip", "s", "s per second", "peak MB"), rows),
        "Features of clips of seven seconds written one by one, as extraction does, and the store opened and read:",
        Table(("clips", "s", "clips/s", "peak MB"), filed),
    ]
    plot = draw("scaling-quick" if quick else "scaling", lambda axes: _plot(axes, clip, corpus))
    return Section("Long clips and many clips", parts, targets, plots=[plot])


def _plot(axes, clip: list, corpus: list) -> None:
    for axis, points, what in zip(axes, (clip, corpus), ("seconds of one clip", "clips stored"), strict=True):
        x, taken, peak = zip(*points, strict=True)
        axis.loglog(x, taken, "o-", color="tab:blue", label="time, s")
        axis.loglog(x, peak, "s-", color="tab:orange", label="peak memory, MB")
        axis.set_xlabel(what)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)


class Peak:
    """The most memory (MB) of this process and its children while in ``with``, looked at every 20 ms."""

    def __enter__(self) -> Self:
        self.megabytes, self._left = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._left.wait(0.02):
            own = psutil.Process()
            parts = [_anonymous(one.pid) for one in (own, *own.children(recursive=True))]
            self.megabytes = max(self.megabytes, sum(parts) / 1000)


def _anonymous(process: int) -> float:
    """Kilobytes that are the process's own; 0 when it has just ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(float(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def _one_clip(film: Path) -> float:
    """Seconds that the features of one clip take, once everything is loaded."""
    from mien.config import Settings  # noqa: PLC0415 - the parent shall stay small
    from mien.features.worker import ClipJob, plan  # noqa: PLC0415
    from mien.schema import Clip  # noqa: PLC0415

    extractor = plan(Settings(), workers=1)()
    extractor(ClipJob(Clip("first", long_film(5))))
    begin = perf_counter()
    outcome = extractor(ClipJob(Clip("clip", film)))
    assert outcome.failure is None, outcome.failure
    return perf_counter() - begin


def _many_clips(count: int, root: Path) -> float:
    """Seconds that writing, opening and reading a store takes."""
    from mien.features.store import Store  # noqa: PLC0415
    from mien.features.writer import StoreWriter  # noqa: PLC0415
    from mien.schema import ClipFeatures, Feature  # noqa: PLC0415

    rng, names = np.random.default_rng(0), [f"{n:05d}" for n in range(count)]
    made = [
        Feature(name, "key", "bench", rng.normal(size=shape).astype(np.float16), np.zeros(shape[0], np.float32))
        for name, shape in WIDTHS.items()
    ]
    begin = perf_counter()
    with StoreWriter(root, names) as writer:
        for name in names:
            writer.add(ClipFeatures(name, 7.0, tuple(made)))
    store = Store(root)
    for name in names:
        assert len(store.array(name, "audio")) == WIDTHS["audio"][0]
    return perf_counter() - begin


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    with Peak() as peak:
        seconds = _one_clip(Path(rest[0])) if what == "clip" else _many_clips(int(rest[0]), Path(rest[1]))
    print(json.dumps([seconds, peak.megabytes]))
