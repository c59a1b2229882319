"""A real server in processes of its own, and a client that sends any bytes."""

import http.client
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from mien.media.decoder_start import NAME

QUICK = ("lease_seconds=3", "beat_seconds=0.5", "sweep_seconds=0.5", "gets_per_second=1000", "posts_per_second=1000",
         "free_bytes=0")  # fmt: skip
"""Limits for tests: what is lost is taken over soon, and old files go soon."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    """A server that runs."""

    process: subprocess.Popen[str]
    data: Path
    port: int
    token: str
    said: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        return (self.data / "key").read_text().strip()

    def send(
        self, method: str, path: str, body: Any = None, *, key: str | None = "", timeout: float = 60, **headers: str
    ) -> Answer:
        """Send a request; a body that is not bytes is sent as JSON. ``key``: by default the key in the folder."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body, sent = json.dumps(body).encode(), {"Content-Type": "application/json", **sent}
        if key is not None:
            sent["Authorization"] = f"Bearer {key or self.key}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def put(self, file: Path, name: str | None = None) -> str:
        """Upload a file; its id."""
        return self.put_bytes(file.read_bytes(), name or file.name)

    def put_bytes(self, content: bytes, name: str) -> str:
        """Upload a file of these bytes; its id."""
        answer = self.send("PUT", f"/v1/files?name={quote(name)}", content)
        assert answer.status == 201, answer
        return answer.json["id"]

    def job(self, files: Sequence[str], **options: Any) -> dict[str, Any]:
        """Submit a job."""
        answer = self.send("POST", "/v1/jobs", {"files": list(files), **options})
        assert answer.status == 202, answer
        return answer.json

    def ended(self, job: str, seconds: float = 60) -> dict[str, Any]:
        """Wait for a job's end."""
        limit = time.monotonic() + seconds
        while True:
            found = self.send("GET", f"/v1/jobs/{job}?wait=5").json
            if found["state"] not in ("queued", "running"):
                return found
            assert time.monotonic() < limit, found

    def ready(self, seconds: float = 120) -> None:
        """Wait for a worker."""
        limit = time.monotonic() + seconds
        while self.send("GET", "/readyz", key=None).status != 200:
            assert time.monotonic() < limit, "no worker"
            assert self.process.poll() is None
            time.sleep(0.1)

    def workers(self) -> list[psutil.Process]:
        """Worker processes of this server."""
        return [one for one in psutil.Process(self.process.pid).children() if "work" in one.cmdline()]

    def decoders(self) -> list[psutil.Process]:
        """Decoder processes of the workers."""
        return [one for worker in self.workers() for one in worker.children() if NAME in one.cmdline()]

    def kill(self) -> None:
        """End the web process as a power cut would; its workers notice."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def stop(self) -> int:
        """Have it end, and everything that it started; its status."""
        started = []
        if self.process.poll() is None:
            started = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        finally:
            for one in started:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()


@contextmanager
def served(
    model: Path,
    data: Path,
    *options: str,
    limits: Sequence[str] = (),
    said: Path | None = None,
    before: Sequence[str] = (),
    **environment: str,
) -> Iterator[Served]:
    """Start ``mien serve``, and wait for its address."""
    one = start(model, data, *options, limits=limits, said=said, before=before, **environment)
    try:
        yield one
    finally:
        if one.process.stdout is not None and not one.process.stdout.closed:
            one.stop()


def start(
    model: Path,
    data: Path,
    *options: str,
    limits: Sequence[str] = (),
    said: Path | None = None,
    before: Sequence[str] = (),
    **environment: str,
) -> Served:
    """Start ``mien serve``, by a command that stands before it; the caller stops it."""
    given = [word for limit in (*QUICK, *limits) for word in ("--limit", limit)]
    port = () if "--port" in options else ("--port", "0")
    command = [
        *before, sys.executable, "-m", "mien.cli", "serve", str(model), "--data", str(data), *port, *given, *options,
    ]  # fmt: skip
    with (said or data.with_suffix(".log")).open("a") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **environment}
        )
    lines = []
    while True:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], 240)
        line = process.stdout.readline() if ready else ""
        if not line:
            process.kill()
            process.wait()
            process.stdout.close()
            raise AssertionError(f"ended with {process.returncode}: {(said or data.with_suffix('.log')).read_text()}")
        lines.append(line.strip())
        if found := re.match(r"http://\S+:(\d+)/\?token=(\S+)", line):
            return Served(process, data, int(found[1]), found[2], lines)
