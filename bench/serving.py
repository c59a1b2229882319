"""The server: clips per second beside ``mien predict``, the answers of a busy server, and the delay of one clip.

Both ways score the same clips with as many workers, and both are measured without loading: ``mien predict`` is run
with all clips and with the first few, and the difference counts; the server has scored some before. Each clip comes
once per worker, so that no worker of the server waits for the other at the end; and the first few are several per
worker, because a worker that has loaded sooner scores more of them. The two ways take turns, so that other load affects
both. The single clip is scored by a server with one worker, which has all cores, as the model in Python has.
"""

import http.client
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from material import SCRATCH, WORKERS, corpus
from section import Section, Table, Target, at_least, at_most
from timing import MIEN, in_turns, process, ratio

import mien
from mien.config import read_settings

LIMITS = ("gets_per_second=1000", "posts_per_second=1000", "free_bytes=0")
POLLS_PER_SECOND = 4
BUSY = "all cores are busy, and the web process waits for one"
FIRST = 3 * WORKERS
"""So many clips are scored before those that count."""
LENGTH = 6.0
"""Seconds of the clip that is scored alone, or of that which comes nearest to it."""


def measure(quick: bool) -> Section:
    count, rounds = (5, 1) if quick else (10, 3)
    clips, model = _clips(count), trained_model(12)
    counted = clips[FIRST:]
    single = min(clips, key=lambda clip: abs(seconds_of(clip) - LENGTH))
    alone, length = _delay_of_a_call(model, single, 2 if quick else 5)
    lengths = [seconds_of(clip) for clip in counted]
    with served(model, workers=1) as server:
        server.score([single])  # the worker loads its engines
        delays = [server.score([single]) for _ in range(2 if quick else 5)]
    with served(model, workers=WORKERS) as server:
        server.score(clips[:WORKERS])
        server.score(clips[:WORKERS])
        answers: list[float] = []
        taken = in_turns(
            {
                "predict": lambda: _predict(model, clips) - _predict(model, clips[:FIRST]),
                "serve": lambda: server.score(counted, answers),
            },
            rounds,
            warm=False,
        )
    p99 = float(np.quantile(answers, 0.99))
    rows = [
        (f"`mien predict --workers {WORKERS}`", f"{len(counted) / statistics.median(taken['predict']):.2f}"),
        (
            f"`mien serve --workers {WORKERS}`, uploads included",
            f"{len(counted) / statistics.median(taken['serve']):.2f}",
        ),
    ]
    delay, call = statistics.median(delays), statistics.median(alone)
    text = (
        f"{len(counted) // WORKERS} stand-in videos of {min(lengths):.0f} to {max(lengths):.0f} s, each {WORKERS} "
        f"times; weights `small`, all modalities; one job of each clip; both ways without the time of loading, in "
        f"turns, {rounds} times. While the workers were busy, a client asked for a job {len(answers)} times: median "
        f"{1000 * statistics.median(answers):.0f} ms, 99th percentile {1000 * p99:.0f} ms. One clip of {length:.0f} s "
        f"on an idle server of one worker took {delay:.2f} s from the end of its upload to its scores (median of "
        f"{len(delays)}), and {call:.2f} s in a loaded model in Python."
    )
    targets: list[Target] = [
        at_least("clips per second of the server, beside `mien predict`", 0.95,
                 ratio(taken["predict"], taken["serve"]), BUSY),
        at_most("99th percentile of `GET /v1/jobs/{id}`", 50, 1000 * p99, "ms", BUSY),
        at_most("one clip on the idle server, beside a loaded model", 1.3, delay / call, "×"),
    ]  # fmt: skip
    return Section("Server", [text, Table(("", "clips per second"), rows)], targets)


def _predict(model: Path, clips: list[Path]) -> float:
    """Seconds of ``mien predict`` for clips, with loading."""
    out = str(SCRATCH / "scores.csv")
    return process(MIEN, "predict", str(model), *map(str, clips), "--workers", str(WORKERS), "--out", out).seconds


class _Server:
    """A client of a server that runs."""

    def __init__(self, port: int, key: str, pid: int) -> None:
        self.port, self.key, self.pid = port, key, pid

    def send(self, method: str, path: str, body: bytes | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            said = json.loads(answer.read())
            assert answer.status < 300, said
            return said
        finally:
            connection.close()

    def score(self, clips: list[Path], answers: list[float] | None = None) -> float:
        """Upload clips, one job each; seconds from the end of the last upload, or of the first if several, to all ends.

        ``answers``: filled with the seconds of requests that are sent meanwhile.
        """
        jobs, began = [], None
        for clip in clips:
            file = self.send("PUT", f"/v1/files?name={clip.name}", clip.read_bytes())["id"]
            began = began or time.perf_counter()
            jobs.append(self.send("POST", "/v1/jobs", json.dumps({"files": [file]}).encode())["id"])
        over = threading.Event()
        asking = threading.Thread(target=self._ask, args=(jobs[0], over, answers if answers is not None else []))
        if answers is not None:
            asking.start()
        for job in jobs:
            while (made := self.send("GET", f"/v1/jobs/{job}?wait=60"))["state"] in ("queued", "running"):
                pass
            assert made["state"] == "completed", made
        taken = time.perf_counter() - (began or 0.0)
        over.set()
        if answers is not None:
            asking.join()
        return taken

    def _ask(self, job: str, over: threading.Event, answers: list[float]) -> None:
        while not over.wait(1 / POLLS_PER_SECOND):
            begin = time.perf_counter()
            self.send("GET", f"/v1/jobs/{job}")
            answers.append(time.perf_counter() - begin)


@contextmanager
def served(model: Path, *more: str, workers: int) -> Iterator[_Server]:
    data = SCRATCH / "served"
    shutil.rmtree(data, ignore_errors=True)
    options = [word for limit in LIMITS for word in ("--limit", limit)]
    command = [
        sys.executable, "-m", "mien.cli", "serve", str(model), "--data", str(data), "--port", "0",
        "--workers", str(workers), *options, *more,
    ]  # fmt: skip
    log = (SCRATCH / "served.log").open("w")
    with log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as child:
        try:
            assert child.stdout is not None
            found = re.search(r":(\d+)/", child.stdout.readline())
            assert found is not None
            yield _Server(int(found[1]), (data / "key").read_text().strip(), child.pid)
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(120)


def _clips(count: int) -> list[Path]:
    """So many clips of the stand-in, each once per worker, one after the other."""
    folder = SCRATCH / "clips-of-the-server"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    named = [clip.path for clip in mien.read_manifest(corpus(count)).clips if clip.path][:count]
    return [Path(shutil.copy(path, folder / f"{worker}-{path.name}")) for path in named for worker in range(WORKERS)]


def seconds_of(clip: Path) -> float:
    with av.open(str(clip)) as container:
        return (container.duration or 0) / 1e6


def trained_model(clips: int) -> Path:
    """A model of all modalities with the weights ``small``; of a training that is as short as possible."""
    home = SCRATCH / "model-of-the-server"
    if not (home / "run" / "model").exists():
        settings = read_settings(
            overrides=["weights=small", "backbone.text=frozen", "seeds=[0]", "stage1.epochs=1", "stage2.epochs=1"]
        )
        data = corpus(clips)
        mien.extract(data, home / "features", settings, progress=False)
        mien.train(data, home / "features", home / "run", settings, progress=False)
    return home / "run"


def _delay_of_a_call(model: Path, clip: Path, rounds: int) -> tuple[list[float], float]:
    """Seconds of a call for one clip in a loaded model, and the clip's length."""
    with mien.load(model) as loaded:
        (first,) = loaded.predictions([clip])
        taken = []
        for _ in range(rounds):
            begin = time.perf_counter()
            loaded.predictions([clip])
            taken.append(time.perf_counter() - begin)
    return taken, first.seconds or 0.0
