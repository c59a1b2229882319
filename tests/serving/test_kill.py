"""Whatever is killed, each job ends once, with the scores of an undisturbed run, and no file is left."""

import http.client
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa
from websockets.exceptions import InvalidStatus

from mien.serving.database import events, jobs, open_database
from mien.serving.disk import Disk
from mien.serving.queue import ENDED
from mien.serving.retention import sweep
from mien.serving.settings import read_serve_settings
from tests.media.clips import make_clip, tone
from tests.serving.conftest import PostgreSQL, make_model, new_database
from tests.serving.live import Served, served, start
from tests.serving.test_live import opened

BROKEN_OFF = (OSError, http.client.HTTPException, KeyError, json.JSONDecodeError)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


class Storm:
    """A server whose processes are killed; its clients try again."""

    def __init__(self, model: Path, data: Path, workers: int) -> None:
        self.model, self.data, self.workers = model, data, workers
        self.port = free_port()
        self.one = self._start()
        self.killed: Counter[str] = Counter()

    def _start(self) -> Served:
        options = ("--port", str(self.port), "--workers", str(self.workers))
        while True:
            try:
                return start(self.model, self.data, *options)
            except AssertionError as error:  # a socket of the killed process is still known to the kernel
                if "cannot be bound" not in str(error):
                    raise
                time.sleep(0.2)

    def kill(self, what: str) -> None:
        """Kill the web process, a worker or a decoder, if there is one."""
        with suppress(psutil.NoSuchProcess):
            if what == "web":
                self.one.kill()
                self.one = self._start()
            else:
                found = self.one.workers() if what == "worker" else self.one.decoders()
                if not found:
                    return
                random.choice(found).kill()
            self.killed[what] += 1

    def is_ready(self) -> bool:
        """Whether a worker has loaded the model and is alive."""
        with suppress(*BROKEN_OFF):
            return self.one.send("GET", "/readyz", key=None).status == 200 and bool(self.one.workers())
        return False

    def insist(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send until the server answers as it should."""
        limit = time.monotonic() + 400
        while True:
            with suppress(*BROKEN_OFF):
                answer = self.one.send(method, path, body, timeout=20, **headers)
                if answer.status < 500:
                    assert answer.status < 300, answer
                    return answer.json
            assert time.monotonic() < limit, path
            time.sleep(0.2)

    def submit(self, number: int, clips: list[Path]) -> str:
        while True:
            files = [
                self.insist("PUT", f"/v1/files?name={n}.mp4", clip.read_bytes())["id"] for n, clip in enumerate(clips)
            ]
            with suppress(AssertionError):  # the answer to an earlier try was lost, and these files are others
                return self.insist("POST", "/v1/jobs", {"files": files}, Idempotency_Key=f"{number}-{files[0]}")["id"]

    def ended(self, job: str, seconds: float) -> dict[str, Any]:
        limit = time.monotonic() + seconds
        while True:
            found = self.insist("GET", f"/v1/jobs/{job}")
            if found["state"] in ENDED:
                return found
            assert time.monotonic() < limit, found
            time.sleep(0.5)


def audit(storm: Storm, known: list[str]) -> None:
    """Every job is there and ended once; deleted, none leaves a file or a row."""
    engine = open_database(storm.data)
    with engine.begin() as db:
        assert set(db.scalars(sa.select(jobs.c.id))) >= set(known)
        ends = Counter(
            job for job, data in db.execute(sa.select(events.c.job, events.c.data).where(events.c.kind == "state"))
            if data["state"] in ENDED
        )  # fmt: skip
        assert set(ends.values()) == {1}
        assert set(ends) >= set(known)
    disk = Disk(storm.data)
    time.sleep(0.05)
    small = [f"{name}_seconds=0.01" for name in ("upload", "media", "result", "row")]
    for _ in range(2):
        sweep(engine, disk, read_serve_settings(small), orphan_seconds=0.0)
    engine.dispose()
    left = [path for folder in ("uploads", "jobs", "trash") for path in (storm.data / folder).rglob("*")]
    assert left == []
    assert len(list((storm.data / "tmp").iterdir())) <= storm.killed.total()


def rage(storm: Storm, clips: list[Path], count: int, each: int, pauses: tuple[float, float]) -> list[dict[str, Any]]:
    """Submit jobs while processes are killed at random, and wait for all."""
    over = threading.Event()

    def killing() -> None:
        while not over.wait(random.uniform(*pauses)):
            if storm.is_ready():  # else nothing would ever be scored on a slow machine
                storm.kill(random.choice(["web", "worker", "worker", "decoder"]))

    thread = threading.Thread(target=killing)
    thread.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            names = list(pool.map(lambda n: storm.submit(n, clips[:each]), range(count)))
            done = list(pool.map(lambda name: storm.ended(name, 60 + 20 * count), names))
    finally:
        over.set()
        thread.join()
    assert storm.one.stop() == 0
    audit(storm, names)
    return done


def test_ten_jobs_in_a_storm_end_once_each(model: Path, clips: list[Path], tmp_path: Path) -> None:
    """In order: a worker while a job runs, a decoder, the web process; the scores are those of an undisturbed job."""
    storm = Storm(model, tmp_path / "data", workers=1)
    long = [make_clip(tmp_path / f"{n}.mkv", codec=None, seconds=10, sound="pcm_s16le", sound_rate=16_000,
                      layout="mono", wave=lambda t, n=n: tone((1 + n / 9) * t)) for n in range(3)]  # fmt: skip
    storm.one.ready()
    calm = storm.ended(storm.submit(0, long), 60)
    names = [storm.submit(n, long) for n in range(1, 10)]

    def running() -> None:
        limit = time.monotonic() + 60
        while not any(storm.insist("GET", f"/v1/jobs/{name}")["state"] == "running" for name in names):
            assert time.monotonic() < limit
            time.sleep(0.02)

    for what in ("worker", "decoder", "web"):
        running()
        storm.kill(what)
    done = [storm.ended(name, 240) for name in names]
    assert min(storm.killed["worker"], storm.killed["web"]) == 1
    assert [job["state"] for job in done] == ["completed"] * 9
    expected = scores(storm, calm)
    failed = sum(job["progress"]["failed"] for job in done)
    assert failed <= 1  # the clip of a killed decoder is reported as failed
    for job in done:
        if not job["progress"]["failed"]:
            assert scores(storm, job) == expected
    assert storm.one.stop() == 0
    audit(storm, [calm["id"], *names])


def test_workers_of_a_killed_server_end_while_they_load_the_model(model: Path, tmp_path: Path) -> None:
    """Else those of a server that is restarted often pile up."""
    one = start(model, tmp_path / "data", "--workers", "2")
    limit = time.monotonic() + 60
    while len(found := one.workers()) < 2:
        assert time.monotonic() < limit
        time.sleep(0.02)
    one.kill()
    gone, left = psutil.wait_procs(found, timeout=30)
    for worker in left:
        worker.kill()
    assert len(gone) == 2
    assert "waiting for jobs" not in (tmp_path / "data.log").read_text()


def test_a_database_that_is_killed_costs_nothing(
    model: Path, clips: list[Path], postgresql: PostgreSQL, tmp_path: Path
) -> None:
    """PostgreSQL goes away while a job runs, and comes back: the job completes, and no process has ended."""
    address = new_database(postgresql.address, "served").replace("mien@", "mien:secret@")
    with served(model, tmp_path / "data", MIEN_DATABASE=address) as one:
        one.ready()
        (worker,) = one.workers()
        assert not any("secret" in word for word in [*worker.cmdline(), *one.process.args])  # type: ignore[misc]
        files = [one.put(clips[n % 3], f"{n}.mp4") for n in range(6)]
        job = one.job(files, windows=0.5, hop=0.05, why=True)
        limit = time.monotonic() + 90
        while one.send("GET", f"/v1/jobs/{job['id']}").json["progress"]["done"] == 0:
            assert time.monotonic() < limit
        lab = one.send("POST", "/v1/keys", {"name": "lab", "scopes": ["live"]}).json["key"]
        postgresql.stop()
        broken = one.send("GET", f"/v1/jobs/{job['id']}")
        assert (broken.status, broken.headers["content-type"]) == (503, "application/problem+json")
        with pytest.raises(InvalidStatus, match="503"):
            opened(one, lab)
        time.sleep(1)
        postgresql.start()
        done = one.ended(job["id"], 180)
        assert (done["state"], done["progress"]["failed"]) == ("completed", 0)
        assert one.workers() == [worker]
        assert one.stop() == 0
    assert "secret" not in (tmp_path / "data.log").read_text()


def scores(storm: Storm, job: dict[str, Any]) -> Any:
    return [clip["scores"] for clip in storm.insist("GET", job["links"]["scores.json"])["clips"]]


@pytest.mark.soak
def test_two_hundred_jobs_with_random_kills_end_once_each(model: Path, clips: list[Path], tmp_path: Path) -> None:
    random.seed(1)
    storm = Storm(model, tmp_path / "data", workers=2)
    storm.one.ready()
    done = rage(storm, clips, count=200, each=3, pauses=(1.0, 6.0))
    ends = Counter(job["state"] for job in done)
    print(f"\n200 jobs: {dict(ends)}, killed {dict(storm.killed)}")
    assert ends["completed"] >= 190
    assert {job["reason"] for job in done if job["state"] == "failed"} <= {"its worker died 3 times"}


def test_a_worker_with_another_model_is_refused_and_one_with_the_same_helps(
    server: Served, model: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "mien.cli", "work"]
    other = make_model(tmp_path / "other", seed=1)
    options = ["--data", str(server.data), "--limit", "lease_seconds=3", "--limit", "beat_seconds=0.5"]
    refused = subprocess.run([*command, str(other), *options], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert "scores with another model; stop it first, or name the same model" in refused.stderr
    assert refused.stderr.count("\n") <= 3
    found = server.send("GET", "/v1/model").json
    with (
        (tmp_path / "said").open("w") as said,
        subprocess.Popen([*command, str(model), *options], stderr=said) as worker,
    ):
        limit = time.monotonic() + 60
        while b"mien_workers 2.0" not in server.send("GET", "/metrics").body:
            assert time.monotonic() < limit, (tmp_path / "said").read_text()
            time.sleep(0.1)
        assert server.send("GET", "/v1/model").json == found
        worker.terminate()
        assert worker.wait(30) == 0
    limit = time.monotonic() + 10
    while b"mien_workers 1.0" not in server.send("GET", "/metrics").body:
        assert time.monotonic() < limit
        time.sleep(0.1)
