"""Time and peak memory by length of a clip and by number of clips: both should be linear, memory by number constant.

Each point is a separate process (`python bench/scaling.py clip VIDEO`, `… clips N STORE`), with its own peak.
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
from material import SCRATCH, long_video
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
        clip.append((seconds, *json.loads(python(script, "clip", str(long_video(seconds))).printed)))
    for count in counts:
        with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
            corpus.append((count, *json.loads(python(script, "clips", str(count), f"{scratch}/store").printed)))
    rows = [(f"{s} s", f"{taken:.1f}", f"{taken / s:.2f}", f"{peak:.0f}") for s, taken, peak in clip]
    stored = [(f"{n:,}", f"{taken:.1f}", f"{n / taken:.0f}", f"{peak:.0f}") for n, taken, peak in corpus]
    minute = lengths.index(60)  # from two of the chunks on, in which long audio is processed
    growth = (clip[-1][2] - clip[minute][2]) / (clip[-1][0] / 60 - 1)
    slower = (clip[-1][1] / clip[-1][0]) / (clip[-2][1] / clip[-2][0])
    heavier = corpus[-1][2] - corpus[-2][2]
    slower_store = (corpus[-1][1] / corpus[-1][0]) / (corpus[-2][1] / corpus[-2][0])
    limit = "the audio of a clip is held in memory, 3.8 MB per minute, and its hidden states are 2.3"
    targets = [
        at_most("memory, from one minute on, per minute of clip", 10, growth, "MB", limit),
        at_most("time per second of clip, longest against second longest", 1.15, slower, "×", "other load"),
        at_most(f"memory of {corpus[-1][0]:,} stored clips above {corpus[-2][0]:,}", 60, heavier, "MB", "the index"),
        at_most("time per stored clip, most against second most", 1.15, slower_store, "×", "the disk"),
    ]
    parts = [
        "One video repeated up to a length, all four modalities, one worker, without loading of weights. Memory is "
        "that of the process and the decoder process, without memory-mapped files, which the system can reclaim:",
        Table(("clip", "s", "s per second", "peak MB"), rows),
        "Features of clips of seven seconds written one by one, as in extraction, and the store opened and read:",
        Table(("clips", "s", "clips/s", "peak MB"), stored),
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
    """Peak memory (MB) of this process and its children within ``with``, sampled every 20 ms."""

    def __enter__(self) -> Self:
        self.megabytes, self._left = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._left.wait(0.02):
            own = psutil.Process()
            parts = [_anonymous(one.pid) for one in (own, *own.children(recursive=True))]
            self.megabytes = max(self.megabytes, sum(parts) / 1000)


def _anonymous(process: int) -> float:
    """Anonymous memory of a process in kilobytes; 0 if it has just ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(float(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def _one_clip(video: Path) -> float:
    """Seconds to compute the features of one clip, once everything is loaded."""
    from mien.config import Settings  # noqa: PLC0415 - keeps the parent process small
    from mien.features.jobs import ClipJob  # noqa: PLC0415
    from mien.features.worker import plan  # noqa: PLC0415
    from mien.schema import Clip  # noqa: PLC0415

    extractor = plan(Settings(), workers=1)()
    extractor(ClipJob(Clip("first", long_video(5))))
    begin = perf_counter()
    outcome = extractor(ClipJob(Clip("clip", video)))
    assert outcome.failure is None, outcome.failure
    return perf_counter() - begin


def _many_clips(count: int, root: Path) -> float:
    """Seconds to write, open and read a store."""
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
