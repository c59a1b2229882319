"""A resumable upload by another implementation of the protocol, over a connection that is cut twice."""

import hashlib
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mien.serving.web import uploads
from mien.serving.web.problems import Problem
from tests.media.clips import make_clip, tone
from tests.serving.clients import TUS, python_with
from tests.serving.live import Served

PROGRAM = Path(__file__).with_name("tus_program.py")


class Cut:
    """Passes connections on to a port, and cuts the first two that carry more than so many bytes."""

    def __init__(self, port: int, after: int) -> None:
        self._port, self._after, self.left = port, after, 2
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._port)) as server:
            upwards = threading.Thread(target=self._pass_on, args=(client, server, True), daemon=True)
            upwards.start()
            self._pass_on(server, client, False)
            upwards.join()

    def _pass_on(self, source: socket.socket, sink: socket.socket, upwards: bool) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(4096):
                passed += len(data)
                if upwards and self.left and passed > self._after:
                    self.left -= 1
                    break
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def test_tuspy_goes_on_after_two_cuts(server: Served, tmp_path: Path) -> None:
    try:
        python = python_with(TUS)
    except RuntimeError as reason:
        pytest.skip(str(reason))
    clip = make_clip(tmp_path / "long name.mkv", codec=None, seconds=25, sound="pcm_s16le", sound_rate=16_000,
                     layout="mono", wave=tone)  # fmt: skip
    assert clip.stat().st_size > 750_000
    way = Cut(server.port, 100_000)
    try:
        address = f"http://127.0.0.1:{way.port}/v1/uploads"
        sent = subprocess.run([python, PROGRAM, address, server.key, clip], capture_output=True, text=True, timeout=120)
    finally:
        way.close()
    assert sent.returncode == 0, sent.stderr
    assert way.left == 0
    job = server.ended(server.job([sent.stdout.strip().rpartition("/")[2]])["id"])
    (file,) = job["files"]
    assert job["state"] == "completed" and file["name"] == "long name.mkv"
    assert (file["bytes"], file["sha256"]) == (clip.stat().st_size, hashlib.sha256(clip.read_bytes()).hexdigest())


def test_an_upload_whose_last_request_was_killed_before_its_hash_was_stored_can_be_used(
    server: Served, clips: list[Path]
) -> None:
    content, tus = clips[0].read_bytes(), {"Tus_Resumable": "1.0.0"}
    place = server.send("POST", "/v1/uploads", **tus, Upload_Length=str(len(content))).headers["location"]
    upload = place.rpartition("/")[2]
    (server.data / "uploads" / f"{upload}.part").write_bytes(content)  # nothing but its bytes is left of the request
    arrived = server.send("HEAD", place, **tus)
    assert (arrived.status, arrived.headers["upload-offset"]) == (200, str(len(content)))
    job = server.ended(server.job([upload])["id"])
    assert job["files"][0]["sha256"] == hashlib.sha256(content).hexdigest()


def test_while_another_request_completes_an_upload_a_client_is_to_ask_again() -> None:
    """Else it would take the upload for complete, which no job can use yet."""
    server: Any = SimpleNamespace(busy={"file-1"})
    with pytest.raises(Problem) as refused:
        uploads._complete_late(server, "file-1")
    assert refused.value.status == 423
    assert server.busy == {"file-1"}
