"""Live scores through the server: how late they come, for ten minutes of a stream in real time."""

import threading
import time

import numpy as np
import psutil
from live_stream import play
from material import long_video
from section import Section, Table, at_most
from serving import served, trained_model

WORDS = "the words of a window are known half a second after a pause, or after 10 s of speech without one"


def measure(quick: bool) -> Section:
    seconds = 25 if quick else 600
    model, file = trained_model(12), long_video(60)
    with served(model, workers=0) as server:
        watched = _Watched(server.pid)
        watched.start()
        played = play(server.port, server.key, file, seconds)
        watched.over.set()
        watched.join()
    rows = [
        ("first scores (provisional or final)", *_shown(played.first)),
        ("final scores", *_shown(played.final)),
    ]
    text = (
        f"{seconds} s of a stand-in video in real time through `WS /v1/live`, weights `small`, all modalities, windows "
        f"of 4 s each second, one session. {len(played.first)} windows, {played.stopped.get('skipped', 0)} left out. "
        f"The session took {watched.cores:.2f} cores and {watched.megabytes:.0f} MB at most, the web process "
        f"{watched.web_megabytes:.0f} MB. Seconds from when a window's end reached the server:"
    )
    targets = [
        at_most("live: 95th percentile to the first scores of a window", 1.5, _at(played.first, 0.95), "s"),
        at_most("live: 95th percentile to its final scores", 1.5, _at(played.final, 0.95), "s", WORDS),
    ]
    return Section("Live", [text, Table(("", "median", "95th percentile", "slowest"), rows)], targets)


class _Watched(threading.Thread):
    """Memory of the web process and of a session with its decoder, and what processors they take."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.cores = self.megabytes = self.web_megabytes = 0.0
        self._web = psutil.Process(pid)

    def run(self) -> None:
        first: tuple[float, float] | None = None
        while not self.over.wait(1.0):
            try:
                self.web_megabytes = max(self.web_megabytes, self._web.memory_info().rss / 1e6)
                found = [one for one in self._web.children() if {"live", "--with-server"} <= set(one.cmdline())]
                family = [*found[:1], *(found[0].children() if found else ())]
                used = sum(sum(one.cpu_times()[:2]) for one in family)
                self.megabytes = max(self.megabytes, sum(one.memory_info().rss for one in family) / 1e6)
            except psutil.Error:
                continue
            now = time.monotonic()
            if len(family) == 2:  # with its decoder, so it is loaded
                first = first or (now, used)
                if now > first[0]:
                    self.cores = (used - first[1]) / (now - first[0])


def _at(values: list[float], share: float) -> float:
    return float(np.quantile(values, share)) if values else float("nan")


def _shown(values: list[float]) -> tuple[str, ...]:
    return tuple(f"{_at(values, share):.2f} s" for share in (0.5, 0.95, 1.0))
