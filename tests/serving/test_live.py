"""``WS /v1/live``: real processes, and streams of real bytes."""

import importlib.util
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

import mien
from mien.model.model_folder import save_bundle
from tests.inference.test_live import model_of
from tests.media.clips import make_clip
from tests.serving.live import Served, served

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "live.md"
BENCH = Path(__file__).resolve().parents[2] / "bench"
IDLE = 3.0
SLICE = 8_000
START = {"type": "start", "windows": 2, "mime": "audio/x-matroska; codecs=opus"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that hears, on random weights."""
    out = tmp_path_factory.mktemp("model") / "first"
    save_bundle(model_of("audio").bundle, out)
    return out


@pytest.fixture(scope="module")
def live(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    limits = ("live_sessions=1", f"live_idle_seconds={IDLE}", "live_message_bytes=100000")
    with served(folder, tmp_path_factory.mktemp("live") / "data", limits=limits) as one:
        yield one


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Five seconds of tones, as a stream."""
    file = tmp_path_factory.mktemp("tones") / "tones.mka"
    return make_clip(file, codec=None, seconds=5.0, sound="libopus", sound_rate=48_000).read_bytes()


def opened(server: Served, key: str | None = "", **headers: str) -> ClientConnection:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        sent["Authorization"] = f"Bearer {key or server.key}"
    return connect(f"ws://127.0.0.1:{server.port}/v1/live", additional_headers=sent, compression=None)


def send(socket: ClientConnection, *messages: Any) -> None:
    for message in messages:
        socket.send(message if isinstance(message, bytes) else json.dumps(message))


def slices(content: bytes) -> list[bytes]:
    return [content[place : place + SLICE] for place in range(0, len(content), SLICE)]


def read(socket: ClientConnection, until: str = "") -> list[dict[str, Any]]:
    """Events, up to the first of a type, or to the end."""
    events = []
    with suppress(ConnectionClosed):
        while not events or events[-1]["type"] != until:
            events.append(json.loads(socket.recv(60)))
    return events


def scorers(server: Served) -> list[psutil.Process]:
    return [
        one for one in psutil.Process(server.process.pid).children() if {"live", "--with-server"} <= set(one.cmdline())
    ]


def newest(server: Served) -> dict[str, Any]:
    """The job of the last session, which has ended a moment ago."""
    limit = time.monotonic() + 10
    while server.send("GET", "/readyz", key=None).status != 200 or not server.send("GET", "/v1/jobs").json["jobs"]:
        assert time.monotonic() < limit
        time.sleep(0.1)
    return server.send("GET", "/v1/jobs").json["jobs"][0]


def emptied(server: Served) -> None:
    """Wait until no session runs, and delete its jobs."""
    limit = time.monotonic() + 20
    while b"mien_live_sessions 0.0" not in server.send("GET", "/metrics").body:
        assert time.monotonic() < limit
        time.sleep(0.1)
    for job in server.send("GET", "/v1/jobs").json["jobs"]:
        server.send("DELETE", f"/v1/jobs/{job['id']}")


def test_a_session_from_its_start_to_the_exact_scores_of_its_recording(
    live: Served, folder: Path, tones: bytes, tmp_path: Path
) -> None:
    with opened(live) as socket:
        send(socket, START)
        assert read(socket, "ready")[-1] == {"type": "ready"}
        send(socket, *slices(tones), {"type": "mark", "label": "sec\x1bret", "seconds": 1.5}, {"type": "stop"})
        events = read(socket)
    kinds = [event["type"] for event in events]
    assert kinds[0] == "started" and kinds[-1] == "stopped" and "error" not in kinds
    assert (events[0]["window"], events[0]["hop"], events[0]["targets"]) == (2.0, 1.0, ["Joy", "Awe"])
    windows = [event for event in events if event["type"] == "window"]
    ended = events[-1]
    assert ended["reason"] == "stopped" and ended["windows"] == len(windows) == 4 and ended["skipped"] == 0
    assert ended["document"] == f"/v1/jobs/{ended['job']}/scores.json"
    assert ended["marks"] == [{"label": "sec\\x1bret", "seconds": 1.5}]

    job = live.ended(ended["job"])
    assert (job["request"]["windows"], job["request"]["hop"], job["request"]["marks"]) == (2.0, 1.0, ended["marks"])
    assert live.send("GET", f"/v1/jobs/{job['id']}/media/0").body == tones
    found = live.send("GET", ended["document"]).json["clips"][0]
    (tmp_path / "kept.mka").write_bytes(tones)
    with mien.load(folder) as model:
        made = model.predictions([tmp_path / "kept.mka"], windows=2, hop=1)
        expected = json.loads(json.dumps(model.document(made, windows=2, hop=1).model_dump(mode="json")))["clips"][0]
    assert found["windows"] == expected["windows"] and len(found["windows"]) == 4
    assert found["scores"] == expected["scores"]

    said = live.send("GET", "/metrics").body.decode()
    assert 'mien_live_lag_seconds_count{state="final"} 4.0' in said and "mien_live_sessions 0.0" in said
    log = live.data.with_suffix(".log").read_text()
    assert '"route": "/v1/live", "status": 101' in log
    assert not any(word in log for word in ("x1bret", ".mka", job["files"][0]["id"]))
    emptied(live)


def test_strangers_are_refused_at_the_handshake(live: Served) -> None:
    made = live.send("POST", "/v1/keys", {"name": "lab", "scopes": ["score"]}).json
    for status, arguments in (
        (401, {"key": None}),
        (401, {"key": "mien-" + "0" * 64}),
        (403, {"key": made["key"]}),
        (403, {"Origin": "https://evil.example"}),
        (403, {"Origin": f"http://127.0.0.1:{live.port + 1}"}),
    ):
        with pytest.raises(InvalidStatus) as refused, opened(live, **arguments):  # type: ignore[arg-type]
            pass
        answer = refused.value.response
        assert answer.status_code == status and answer.headers["content-type"] == "application/problem+json"
        assert json.loads(answer.body or b"")["status"] == status
    handshake = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                 "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}  # fmt: skip
    assert live.send("GET", "/v1/live", **handshake, Host="evil.example").status == 403
    assert live.send("GET", "/v1/live").status == 404
    live.send("DELETE", f"/v1/keys/{made['id']}")


def test_a_start_that_makes_no_sense_is_one_line(live: Served) -> None:
    for first, text in (
        ({"type": "start", "mime": "text/html"}, "mime: expected one of video/webm"),
        ({"type": "start", "windows": 1, "hop": 2}, "hop: as long as a window at most"),
        ({"type": "start", "path": "/etc/passwd"}, "path: Extra inputs"),
        ({"type": "stop"}, "type: Input should be 'start'"),
        (b"\x1a\x45\xdf\xa3", "Input should be"),
    ):
        with opened(live) as socket:
            send(socket, first)
            error, ended = read(socket)
        assert error["type"] == "error" and text in error["text"] and "\n" not in error["text"]
        assert (ended["type"], ended["reason"], ended["job"]) == ("stopped", "failed", None)
    with opened(live) as socket:
        send(socket, START, b"0" * 100_001)
        read(socket)
        assert socket.close_code == 1009
    emptied(live)


def test_a_lost_client_leaves_its_recording_as_a_job_and_no_process(live: Served, tones: bytes) -> None:
    with opened(live) as socket:
        send(socket, START, *slices(tones))
        read(socket, "started")
        running = scorers(live)
        with pytest.raises(InvalidStatus) as refused, opened(live):
            pass
        assert refused.value.response.status_code == 503 and refused.value.response.headers["retry-after"] == "30"
    gone, _ = psutil.wait_procs(running, 10)
    assert len(gone) == 1
    job = live.ended(newest(live)["id"])
    assert job["state"] == "completed" and job["files"][0]["bytes"] == len(tones)
    emptied(live)


def test_a_scorer_that_dies_ends_the_session_and_its_recording_stays(live: Served, tones: bytes) -> None:
    with opened(live) as socket:
        send(socket, START, *slices(tones))
        read(socket, "started")
        scorers(live)[0].kill()
        *_, error, ended = read(socket)
    assert error["type"] == "error" and "has ended" in error["text"]
    assert ended["reason"] == "failed"
    assert live.ended(ended["job"])["state"] == "completed"
    emptied(live)


def jobs_of(server: Served, key: str = "") -> list[dict[str, Any]]:
    """The jobs of a key, as soon as there is one."""
    limit = time.monotonic() + 30
    while not (found := server.send("GET", "/v1/jobs", key=key).json["jobs"]):
        assert time.monotonic() < limit
        time.sleep(0.1)
    return found


def recorded(server: Served, size: int) -> None:
    """Wait until so many bytes of a session are in its file."""
    limit = time.monotonic() + 30
    while [file.stat().st_size for file in (server.data / "uploads").iterdir()] != [size]:
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_what_was_recorded_when_the_server_was_killed_becomes_a_job_when_it_starts_again(
    folder: Path, tones: bytes, tmp_path: Path
) -> None:
    """Also of the same key, with the windows and marks of the session; the kill may cut a cluster in two."""
    marks = [{"label": "begin", "seconds": 0.5}, {"label": "end", "seconds": 3.5}]
    some = tones[: len(tones) * 4 // 5]
    with served(folder, tmp_path / "data", "--workers", "0") as one:
        lab = one.send("POST", "/v1/keys", {"name": "lab", "scopes": ["score", "live"]}).json["key"]
        with opened(one, lab) as socket:
            send(socket, {**START, "hop": 0.5}, *slices(some), *({"type": "mark", **mark} for mark in marks))
            recorded(one, len(some))
            time.sleep(0.2)  # the marks come after it
            one.kill()
    with served(folder, tmp_path / "data") as one:
        [job] = jobs_of(one, lab)
        assert job == one.send("GET", "/v1/jobs").json["jobs"][0]
        assert (job["request"]["windows"], job["request"]["hop"], job["request"]["marks"]) == (2.0, 0.5, marks)
        assert one.send("GET", f"{job['links']['self']}/media/0", key=lab).body == some
        assert not list((one.data / "uploads").iterdir())
        job = one.ended(job["id"])
        assert job["state"] == "completed"
        windows = one.send("GET", job["links"]["scores.json"], key=lab).json["clips"][0]["windows"]
        assert len(windows) >= 4 and all(window["scores"] for window in windows)
        assert len(one.send("GET", "/v1/jobs").json["jobs"]) == 1
    log = (tmp_path / "data.log").read_text()
    assert log.count(f"a live session had been cut off; its recording is the job {job['id']}") == 1


def test_a_session_ends_at_its_limit_and_its_recording_waits_for_room_in_the_queue(
    folder: Path, tones: bytes, tmp_path: Path
) -> None:
    limits = ("live_seconds=2", "queued_jobs=1", f"file_bytes={2 * SLICE}", f"data_bytes={3 * SLICE - 1}")
    with served(folder, tmp_path / "data", "--workers", "0", limits=limits) as one:
        first = one.job([one.put_bytes(tones[:SLICE], "a.mka")])["links"]["self"]
        with opened(one) as socket:
            send(socket, START, *slices(tones))
            events = read(socket)
        assert {event["text"] for event in events if event["type"] == "warning"} == {
            "the recording ends here: at most 16000 B a file are accepted",
            "the model was trained on random weights; its scores are meaningless",
            "a session takes 0.0333 min at most; this one ends",
            "the recording waits to become a job (1 jobs wait already; try again later); this is tried for 24 h",
        }
        assert (events[-1]["reason"], events[-1]["job"]) == ("ended", None)
        assert events[-1]["windows"] == 4  # what has come is scored, also what is not recorded
        with opened(one) as socket:
            send(socket, START)
            assert read(socket)[0]["text"].startswith("start: the server has no room for more media")
        one.send("DELETE", first)
        [job] = jobs_of(one)
        assert one.send("GET", f"{job['links']['self']}/media/0").body == tones[: 2 * SLICE]
        one.send("DELETE", job["links"]["self"])
        time.sleep(1.2)  # two sweeps
        assert not one.send("GET", "/v1/jobs").json["jobs"] and not list((one.data / "uploads").iterdir())


def test_a_full_disk_ends_the_recording_and_neither_the_scores_nor_what_was_recorded(
    folder: Path, tones: bytes, tmp_path: Path
) -> None:
    (data := tmp_path / "data").mkdir(mode=0o700)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(data)], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with served(folder, data, "--workers", "0") as one, opened(one) as socket:
            send(socket, START)
            recorded(one, 0)
            fill(data / "filler", free=2 * SLICE)
            send(socket, *slices(tones), {"type": "stop"})
            events = read(socket)
            said = [event["text"] for event in events if event["type"] == "warning"]
            assert said[0] == "the recording ends here: the server's disk is full or cannot be written"
            assert not any(str(tmp_path) in text for text in said)
            assert (events[-1]["reason"], events[-1]["windows"]) == ("stopped", 4)
            (data / "filler").unlink()
            [job] = jobs_of(one)
            media = one.send("GET", f"{job['links']['self']}/media/0").body
            assert media == tones[: len(media)] and len(media) in (SLICE, 2 * SLICE)
            assert [file["bytes"] for file in job["files"]] == [len(media)]
    finally:
        subprocess.run(["umount", "--lazy", data], check=True)


def fill(file: Path, free: int) -> None:
    """Write zeros until the disk is full, and then give some bytes back."""
    with file.open("wb", buffering=0) as full:
        for size in (65_536, 1):
            with suppress(OSError):
                while True:
                    full.write(b"0" * size)
        full.truncate(full.tell() - free)


def test_nothing_is_kept_if_so_asked_and_silence_ends_a_session(live: Served, tones: bytes) -> None:
    began = time.monotonic()
    with opened(live) as socket:
        send(socket, {**START, "keep": "none"}, *slices(tones))
        events = read(socket)
    assert IDLE < time.monotonic() - began < IDLE + 20
    assert {"type": "error", "text": f"nothing came for {IDLE:g} s"} in events
    assert (events[-1]["reason"], events[-1]["job"], events[-1]["windows"]) == ("failed", None, 4)
    assert not list((live.data / "uploads").iterdir()) and not live.send("GET", "/v1/jobs").json["jobs"]
    emptied(live)


def test_a_sender_that_is_faster_than_the_scores_waits_and_fills_no_memory(live: Served) -> None:
    web = psutil.Process(live.process.pid)
    with opened(live) as socket:
        send(socket, {**START, "keep": "none"})
        read(socket, "ready")
        (scorer,) = scorers(live)
        scorer.suspend()
        before, sent = web.memory_info().rss, 0
        with suppress(ConnectionClosed, TimeoutError):
            while sent < 200_000_000:
                socket.send(b"0" * 100_000)
                sent += 100_000
        assert sent < 50_000_000  # the buffers of the sockets and the pipe, then it is disconnected
        assert web.memory_info().rss - before < 30_000_000
    psutil.wait_procs([scorer], 10)
    assert not scorer.is_running()
    emptied(live)


@pytest.mark.parametrize("seconds", [7.0, pytest.param(600.0, marks=pytest.mark.soak)])
def test_scores_come_soon_and_memory_stays_flat(live: Served, tones: bytes, tmp_path: Path, seconds: float) -> None:
    """A stream in real time, five seconds again and again; the long one is also about descriptors and memory."""
    spec = importlib.util.spec_from_file_location("live_stream", BENCH / "live_stream.py")
    assert spec is not None and spec.loader is not None
    sys.modules["live_stream"] = stream = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stream)
    (tmp_path / "tones.mka").write_bytes(tones)
    sizes: list[tuple[int, int, int, int]] = []
    over = threading.Event()

    def watch() -> None:
        web = psutil.Process(live.process.pid)
        while not over.wait(seconds / 20):
            with suppress(psutil.Error, IndexError):
                child = scorers(live)[0]
                sizes.append((web.memory_info().rss, child.memory_info().rss, web.num_fds(), child.num_fds()))

    watching = threading.Thread(target=watch)
    watching.start()
    played = stream.play(live.port, live.key, tmp_path / "tones.mka", seconds, windows=2)
    over.set()
    watching.join()
    skipped = played.stopped["skipped"]
    assert played.stopped["windows"] + skipped == pytest.approx(seconds - 1, abs=1.01)
    assert len(played.final) >= played.stopped["windows"] - 2  # the ends of the last ones may be sent with the stop
    assert 0 < float(np.median(played.final)) < 5
    if seconds > 60:
        print(f"live, {seconds:g} s: lag p50 {np.quantile(played.final, 0.5):.2f} s, p95 "
              f"{np.quantile(played.final, 0.95):.2f} s, {skipped} windows left out")  # fmt: skip
        assert np.quantile(played.final, 0.95) <= 1.5
        early, late = sizes[len(sizes) // 3], sizes[-2]
        assert late[0] - early[0] < 20e6 and late[1] - early[1] < 60e6
        assert late[2] - early[2] <= 2 and late[3] - early[3] <= 2
    emptied(live)


def test_the_program_of_the_page_prints_the_scores_of_a_stream(
    live: Served, tones: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "camera.mkv").write_bytes(tones)
    monkeypatch.chdir(tmp_path)
    exec(program.replace(":8321", f":{live.port}"), {"key": live.key})
    said = capsys.readouterr().out.splitlines()
    assert '"type": "started"' in said[0] and '"reason": "stopped"' in said[-1]
    assert sum('"window", "state": "final"' in line for line in said) == 2  # of 4 s, one each second, in 5 s
    emptied(live)
