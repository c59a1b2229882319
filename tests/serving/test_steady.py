"""A mixed load leaves memory and descriptors flat.

Uploads, whole and by tus, jobs, polls, events, cancels, deletes, downloads, bad clips. ``MIEN_SOAK_SECONDS`` is the
length: 9 by default, an hour in ``make soak``. Flat means: over the time after the warm-up (two fifths, 15 minutes at
most), the slope by Theil and Sen, which peaks do not move, is a growth of at most ``NOISE_BYTES`` and
``BYTES_PER_HOUR`` together, and of ``DESCRIPTORS``. A leak of a kilobyte per request is 100 MB in an hour, one of a
descriptor is thousands.
"""

import os
import random
import threading
import time
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pytest

from tests.serving.live import Answer, Served, served

SECONDS = float(os.environ.get("MIEN_SOAK_SECONDS", "9"))
WARM_SECONDS = min(0.4 * SECONDS, 900.0)
SAMPLES = 600
NOISE_BYTES, BYTES_PER_HOUR = 24e6, 16e6
DESCRIPTORS = 12.0
"""Four connections of the database's pool, which opens them as they are needed."""
AGE = max(1.0, SECONDS / 120)
"""In a long test things live longer, so that a busy machine loses nothing while it is used."""
CLIENTS = 3
KINDS = {"plain", "tus", "abandoned", "cancelled", "deleted at once", "watched", "completed", "failed", "downloaded",
         "deleted"}  # fmt: skip
TUS = {"Tus_Resumable": "1.0.0"}
RESULTS = ("scores.json", "scores.csv", "windows.csv", "hume.json", "report.html", "all.zip", "eaf")


class Client:
    """One user: does one thing after the other, and counts what he did and how it was answered."""

    def __init__(self, server: Served, clips: Sequence[Path], seed: int) -> None:
        self.server, self.clips, self.chance = server, [clip.read_bytes() for clip in clips], random.Random(seed)
        self.done: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        answer = self.server.send(method, path, body, **headers)
        self.answers[answer.status] += 1
        return answer

    def upload(self) -> str:
        """A whole clip or a bad one, in one request or by tus in two."""
        content = self.chance.choice([*self.clips, self.clips[0][: self.chance.randrange(1, 4000)]])
        if self.chance.random() < 0.5:
            self.done["plain"] += 1
            return self.send("PUT", "/v1/files?name=a.mp4", content).json["id"]
        self.done["tus"] += 1
        name = b64encode(b"b.mp4").decode()
        made = self.send(
            "POST", "/v1/uploads", **TUS, Upload_Length=str(len(content)), Upload_Metadata=f"filename {name}"
        )
        place, half = made.headers["location"], len(content) // 2
        kind = {"Content_Type": "application/offset+octet-stream"}
        for begin, part in ((0, content[:half]), (half, content[half:])):
            if part:
                assert self.send("PATCH", place, part, **TUS, **kind, Upload_Offset=str(begin)).status == 204
        return place.rpartition("/")[2]

    def round(self) -> None:
        files = [self.upload() for _ in range(self.chance.randint(1, 3))]
        if self.chance.random() < 0.1:
            self.done["abandoned"] += 1
            return
        options = self.chance.choice(({}, {"windows": 0.5}, {"windows": 0.5, "why": True}, {"keep": "none"}))
        made = self.send("POST", "/v1/jobs", {"files": files, **options})
        assert made.status == 202, made
        job = made.json
        here = job["links"]["self"]
        if self.chance.random() < 0.15:
            self.done["cancelled"] += self.send("POST", f"{here}/cancel").status == 200
        elif self.chance.random() < 0.15:
            self.done["deleted at once"] += self.send("DELETE", here).status == 204
            return
        elif self.chance.random() < 0.4:
            self.done["watched"] += b"event: done" in self.send("GET", job["links"]["events"]).body
        while (job := self.send("GET", f"{here}?wait=2").json)["state"] in ("queued", "running"):
            self.done["polled"] += 1
        self.done[job["state"]] += 1
        for name in self.chance.sample(RESULTS, 3):
            if name in job["links"]:
                self.done["downloaded"] += self.send("GET", job["links"][name]).status == 200
        self.send("GET", f"{here}/media/0", Range="bytes=0-999")
        self.send("GET", "/v1/jobs?limit=50")
        if self.chance.random() < 0.7:  # the others grow too old
            self.done["deleted"] += self.send("DELETE", here).status == 204


def sampled(server: Served) -> dict[str, tuple[float, float]]:
    """Bytes and descriptors by kind of process; those of one kind together."""
    found: dict[str, tuple[float, float]] = {}
    web = [psutil.Process(server.process.pid)]
    for kind, processes in (("web", web), ("workers", server.workers()), ("decoders", server.decoders())):
        sizes = [(one.memory_full_info().uss, one.num_fds()) for one in processes]
        if sizes:
            found[kind] = (float(sum(size for size, _ in sizes)), float(sum(count for _, count in sizes)))
    return found


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The median slope of all pairs of points (Theil and Sen).

    >>> slope([(0, 0), (1, 2), (2, 4), (3, 6), (4, 100)])
    2.0
    """
    few = points[:: max(1, len(points) // 200)]
    return median((b - a) / (u - t) for (t, a), (u, b) in combinations(few, 2) if u > t)


def growth(points: Sequence[tuple[float, float]]) -> float:
    return slope(points) * (points[-1][0] - points[0][0])


@pytest.mark.timeout(SECONDS + 1200)
def test_a_mixed_load_leaves_memory_and_descriptors_flat(model: Path, clips: list[Path], tmp_path: Path) -> None:
    ages = {"upload_seconds": 4, "media_seconds": 3, "result_seconds": 5, "row_seconds": 8}
    limits = ("queued_jobs_per_key=1000", *(f"{name}={AGE * seconds}" for name, seconds in ages.items()))
    points: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    over = threading.Event()
    with served(model, tmp_path / "data", limits=limits) as one:
        one.ready()
        clients = [Client(one, clips[:3], seed) for seed in range(CLIENTS)]

        def play(client: Client) -> None:
            while not over.is_set():
                client.round()

        with ThreadPoolExecutor(CLIENTS) as pool:
            playing = [pool.submit(play, client) for client in clients]
            began = time.monotonic()
            try:
                while (now := time.monotonic() - began) < SECONDS and not any(one.done() for one in playing):
                    with suppress(psutil.Error):  # a decoder has just ended
                        for kind, (size, count) in sampled(one).items():
                            points[kind].append((now, size, count))
                    time.sleep(max(0.2, SECONDS / SAMPLES))
            finally:
                over.set()
            for played in playing:
                played.result()
        done, answers = (sum((one.__dict__[name] for one in clients), Counter()) for name in ("done", "answers"))
        report = report_of(points)
        print(f"\n{SECONDS:.0f} s: {dict(done)}, answers {dict(answers)}\n" + "\n".join(f"  {line}" for line in report))
        assert not [status for status in answers if status >= 500]
        assert done["completed"]
        assert SECONDS < 300 or set(done) >= KINDS  # 9 s of a busy machine are few jobs
        limit = time.monotonic() + 60 + 20 * AGE
        while left := [path for name in ("uploads", "jobs", "tmp", "trash") for path in (one.data / name).iterdir()]:
            assert time.monotonic() < limit, left
            time.sleep(0.2)
        assert one.stop() == 0
    assert not [line for line in report if line.endswith("GROWS")], report


def report_of(points: dict[str, list[tuple[float, float, float]]]) -> list[str]:
    """A line for each kind of process; it ends with ``GROWS`` if it does."""
    lines = []
    for kind, samples in points.items():
        warm = [one for one in samples if one[0] >= WARM_SECONDS]
        hours = (warm[-1][0] - warm[0][0]) / 3600
        size, count = growth([(t, a) for t, a, _ in warm]), growth([(t, b) for t, _, b in warm])
        grows = size > NOISE_BYTES + BYTES_PER_HOUR * hours or count > DESCRIPTORS
        lines.append(
            f"{kind}: {warm[0][1] / 1e6:.0f} MB {size / 1e6:+.1f} MB, {warm[0][2]:.0f} descriptors {count:+.1f}, "
            f"over {3600 * hours:.0f} s: {'GROWS' if grows else 'flat'}"
        )
    return lines


@pytest.mark.parametrize(("each", "flat"), [(0.0, True), (40_000.0, False)])
def test_a_leak_of_an_hour_is_seen_through_peaks(each: float, flat: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise of 5 MB and a peak of 200 MB in each tenth sample do not matter; 40 kB a second do."""
    monkeypatch.setattr("tests.serving.test_steady.WARM_SECONDS", 900.0)
    chance = random.Random(0)
    samples = [(6.0 * n, 9e7 + chance.gauss(0, 5e6) + 2e8 * (n % 10 == 0) + 6 * n * each, 30.0) for n in range(600)]
    [line] = report_of({"web": samples})
    assert line.endswith("flat" if flat else "GROWS")
