"""The addresses of Hume's batch API: its real clients, and requests byte by byte."""

import hashlib
import json
import re
import socket
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.serving.clients import HUME, python_with
from tests.serving.live import Answer, Served, served

PROGRAM = Path(__file__).with_name("hume_program.py")
HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "hume.md"
JOBS = "/v0/batch/jobs"
PROSODY = b'{"models": {"prosody": {}}}'


@pytest.mark.parametrize("version", HUME)
def test_a_program_for_the_service_runs_with_its_own_client(
    version: str, server: Served, clips: list[Path], tmp_path: Path
) -> None:
    try:
        python = python_with(version)
    except RuntimeError as reason:
        pytest.skip(str(reason))
    names = [clips[0], clips[3]]  # a tone of a second, and no clip
    address = f"http://127.0.0.1:{server.port}/"  # with a slash at its end, 0.12.1 asks for //v0/batch/jobs
    ran = subprocess.run([python, PROGRAM, address, server.key, tmp_path, *names], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)

    state = found["details"]["state"]
    assert (state["status"], state["num_predictions"], state["num_errors"]) == ("COMPLETED", 1, 1)
    assert state["created_timestamp_ms"] <= state["started_timestamp_ms"] <= state["ended_timestamp_ms"]
    assert found["details"]["request"]["models"]["prosody"]["granularity"] == "word"
    assert found["start"] in found["list"] and found["raw"] in found["list"]
    assert found["failed"] == []
    assert found["urls"][0] == 400 and found["urls"][1].startswith("urls: this server opens no address")
    assert found["unknown"] == [404, "no such job"]
    table = re.search(r"\| Hume's name \| here \|\n(?:\|.*\n)+", HOW_TO.read_text(encoding="utf-8"))
    assert table is not None
    listed = [name for line in table[0].splitlines()[2:] for name in line.split("|")[1].strip().split(", ")]
    assert sorted(listed) == sorted(found["emotions"])
    assert len(listed) == 48

    good, bad = found["predictions"]
    md5 = hashlib.md5(names[0].read_bytes()).hexdigest()
    assert (good["source"]["filename"], good["source"]["content_type"]) == (names[0].name, "video/mp4")
    assert md5 in good["source"].values()
    [windows] = found["scores"]
    assert [(begin, end) for begin, end, _ in windows[:3]] == [(0, 0.5), (0.25, 0.75), (0.5, 1.0)]
    assert all(set(scores) == {"Joy", "Awe"} for _, _, scores in windows)
    messages = [error["message"] for error in good["results"]["errors"]]
    assert [message.partition(":")[0] for message in messages] == ["face", "prosody.granularity"]
    assert bad["results"]["predictions"] == [] and "broken.mp4" in bad["results"]["errors"][0]["message"]

    # the same numbers as the scores that mien gives itself
    own = json.loads(server.send("GET", f"/v1/jobs/{found['start']}/scores.json").body)["clips"][0]
    assert windows == [[window["start"], window["end"], window["scores"]] for window in own["windows"]]
    with zipfile.ZipFile(tmp_path / "artifacts.zip") as archive:
        assert archive.testzip() is None
        assert {"predictions.json", "scores.csv", "report.html"} <= set(archive.namelist())


@pytest.fixture(scope="module")
def idle(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server without workers: its jobs stay queued."""
    limits = ("file_bytes=200_000", "job_files=3", "body_bytes=20_000", "queued_jobs_per_key=40")
    with served(model, tmp_path_factory.mktemp("idle") / "data", "--workers", "0", limits=limits) as one:
        yield one


def part(name: str, content: bytes, file: str | None = None, kind: str | None = None) -> bytes:
    named = b"" if file is None else b'; filename="%s"' % file.encode()
    typed = b"" if kind is None else b"\r\nContent-Type: %s" % kind.encode()
    return b'Content-Disposition: form-data; name="%s"%s%s\r\n\r\n%s' % (name.encode(), named, typed, content)


def form(*parts: bytes, end: bytes = b"--\r\n") -> bytes:
    return b"".join(b"--BOUNDARY\r\n%s\r\n" % one for one in parts) + b"--BOUNDARY" + end


def post(server: Served, body: bytes, kind: str = "multipart/form-data; boundary=BOUNDARY", **headers: str) -> Answer:
    return server.send("POST", JOBS, body, Content_Type=kind, **headers)


def started(server: Served, *parts: bytes) -> str:
    answer = post(server, form(*parts))
    assert answer.status == 200, answer
    assert set(answer.json) == {"job_id"}
    return answer.json["job_id"]


def shown(server: Served, job: str) -> dict[str, Any]:
    return server.send("GET", f"{JOBS}/{job}").json


def uploads(server: Served) -> list[Path]:
    return list((server.data / "uploads").iterdir())


def test_options_come_before_the_files_or_after_them_or_not_at_all(idle: Served) -> None:
    window = b'{"models": {"prosody": {"window": {"length": 2, "step": 0.5}}}}'
    clip = part("file", b"first", "first.mp4")
    before = started(idle, part("json", window), clip)
    after = started(idle, part("file", b"second", "second.mp4"), part("json", window, "upload", "text/plain"))
    for job in (before, after):
        request = idle.send("GET", f"/v1/jobs/{job}").json["request"]
        assert (request["windows"], request["hop"]) == (2, 0.5)
        assert shown(idle, job)["request"]["models"] == json.loads(window)["models"]
    without = idle.send("GET", f"/v1/jobs/{started(idle, clip)}").json["request"]
    assert (without["windows"], without["hop"]) == (None, None)


def test_files_arrive_unchanged_whatever_is_in_them(idle: Served) -> None:
    content = b"\r\n--BOUNDAR\r\n--\r\n\0\xff\r--BOUNDARY" * 1500
    job = started(idle, part("file", content, "Zoë/../a b.mp4", "video/mp4"), part("file", b"x", "C:\\clips\\b.wav"))
    first, second = shown(idle, job)["request"]["files"]
    assert first == {
        "filename": "a b.mp4", "content_type": "video/mp4", "md5sum": hashlib.md5(content).hexdigest(),
    }  # fmt: skip
    assert (second["filename"], second["content_type"]) == ("b.wav", "audio/x-wav")
    assert (idle.data / "jobs" / job / "in" / f"{job}-0").read_bytes() == content
    own = idle.send("GET", f"/v1/jobs/{job}").json
    assert own["files"][0]["sha256"] == hashlib.sha256(content).hexdigest()


def test_an_equal_request_gives_the_same_job_and_stores_nothing_twice(idle: Served) -> None:
    parts = (part("file", b"twice", "twice.mp4"), part("json", PROSODY))
    job = started(idle, *parts)
    assert started(idle, *parts) == job
    assert uploads(idle) == []
    other = started(idle, parts[0], part("json", b"{}"))
    assert other != job
    assert idle.send("POST", f"/v1/jobs/{job}/cancel").status == 200
    assert started(idle, *parts) not in (job, other)  # what was cancelled may be wanted again


def test_a_cancelled_job_has_failed_with_a_message_and_predictions_are_refused_without_repetition(idle: Served) -> None:
    job = started(idle, part("file", b"cancelled", "a.mp4"))
    state = shown(idle, job)["state"]
    assert set(state) == {"status", "created_timestamp_ms"} and state["status"] == "QUEUED"
    assert isinstance(state["created_timestamp_ms"], int)
    waiting = idle.send("GET", f"{JOBS}/{job}/predictions")
    assert (waiting.status, waiting.json["detail"]) == (400, "the job is QUEUED; ask again when it is COMPLETED")
    idle.send("POST", f"/v1/jobs/{job}/cancel")
    state = shown(idle, job)["state"]
    assert (state["status"], state["message"]) == ("FAILED", "the job was cancelled")
    assert state["created_timestamp_ms"] <= state["started_timestamp_ms"] == state["ended_timestamp_ms"]
    for name in ("predictions", "artifacts"):
        answer = idle.send("GET", f"{JOBS}/{job}/{name}")
        assert (answer.status, answer.json["detail"]) == (400, "the job has no predictions: the job was cancelled")


def test_jobs_are_listed_by_state_time_and_order(idle: Served) -> None:
    made = [started(idle, part("file", b"listed %d" % n, "a.mp4")) for n in range(3)]
    times = [shown(idle, job)["state"]["created_timestamp_ms"] for job in made]
    idle.send("POST", f"/v1/jobs/{made[1]}/cancel")

    def ids(query: str) -> list[str]:
        return [job["job_id"] for job in idle.send("GET", f"{JOBS}?{query}").json]

    since = f"when=created_after&timestamp_ms={times[0] - 1}"
    assert ids(since) == made[::-1]
    assert ids(f"{since}&direction=asc") == made
    assert ids(f"{since}&limit=1") == made[2:]
    assert ids(f"{since}&status=QUEUED&direction=asc") == [made[0], made[2]]
    assert ids(f"{since}&status=QUEUED&status=FAILED&direction=asc") == made
    assert ids(f"{since}&sort_by=ended")[0] == made[1]  # those that have not ended come last
    assert set(made).isdisjoint(ids(f"when=created_before&timestamp_ms={times[0] - 1}"))
    assert ids("limit=1") == made[2:]
    assert idle.send("GET", f"{JOBS}?status=DONE").status == 422


def test_slashes_are_collapsed_and_the_key_of_the_client_is_read(idle: Served) -> None:
    for key in (idle.key, "wrong"):
        answer = idle.send("GET", "//v0/batch/jobs?limit=1", key=None, X_Hume_Api_Key=key)
        assert answer.status == (200 if key == idle.key else 401)


def test_jobs_of_another_key_and_of_the_other_interface_are_not_there(idle: Served) -> None:
    job = started(idle, part("file", b"mine", "a.mp4"))
    key = idle.send("POST", "/v1/keys", {"name": "other", "scopes": ["score"]}).json["key"]
    assert idle.send("GET", f"{JOBS}/{job}", key=key).status == 404
    assert idle.send("GET", JOBS, key=key).json == []
    answer = idle.send("PUT", "/v1/files?name=a.mp4", b"other interface")
    own = idle.job([answer.json["id"]])["id"]
    assert idle.send("GET", f"{JOBS}/{own}").status == 404


JSON = "application/json"
GOOD = part("file", b"never stored", "a.mp4")


@pytest.mark.parametrize(
    ("body", "kind", "status", "said"),
    [
        (b'{"urls": ["https://example.org/a.mp4"]}', JSON, 400, "urls: this server opens no address of a request"),
        (b'{"text": ["I am so glad"]}', JSON, 400, "text: only audio and video files"),
        (b'{"models": {"prosody": {}}}', JSON, 400, "no file; send files"),
        (b"[" * 20_000, JSON, 400, "json: "),
        (b" " * 20_001, JSON, 413, "the body has 20001 bytes, at most 20000 are accepted"),
        (form(GOOD, part("json", b'{"urls": ["http://[::1]/a"]}')), "", 400, "urls: "),
        (form(GOOD, part("json", b'{"models": {"face": {}, "language": {}}}')), "", 400, "models: face, language "),
        (form(GOOD, part("json", b'{"models": {"prosody": {"window": {"length": 1, "step": 2}}}}')), "", 400,
         "json: models.prosody.window: windows of 1 s every 2 s leave gaps"),
        (form(GOOD, part("json", b'{"models": {"prosody": {"window": {"length": "NaN"}}}}')), "", 400,
         "json: models.prosody.window.length: "),
        (form(GOOD, part("json", b'{"models": 7}')), "", 400, "json: models: "),
        (form(GOOD, part("json", b"{}"), part("json", b"{}")), "", 400, "json: sent twice"),
        (form(GOOD, part("picture", b"x", "a.png")), "", 400, "part 'picture': expected"),
        (form(part("json", b"{}")), "", 400, "no file; send files"),
        (form(part("file", b"", "empty.mp4")), "", 400, "empty.mp4: the file is empty"),
        (form(GOOD, end=b""), "", 400, "not multipart/form-data: Unexpected end"),
        (b"no form", "", 400, "not multipart/form-data: "),
        (b"", "", 400, "not multipart/form-data: "),
        (form(b"no head"), "", 400, "not multipart/form-data: "),
        (form(GOOD), "multipart/form-data", 400, "Content-Type: expected multipart/form-data"),
        (form(GOOD, part("file", b"0" * 200_001, "large.mp4")), "", 413, "Maximum segment size exceeded"),
        (form(*[GOOD] * 5), "", 413, "Maximum segment count exceeded"),
        (form(*[GOOD] * 4), "", 422, "files: 4, but at most 3"),
        (form(GOOD, part("json", b" " * 20_001)), "", 413, "json: at most 20000 bytes"),
    ],
)  # fmt: skip
def test_what_cannot_be_met_is_refused_in_one_line_and_leaves_nothing(
    idle: Served, body: bytes, kind: str, status: int, said: str
) -> None:
    answer = post(idle, body, kind or "multipart/form-data; boundary=BOUNDARY")
    assert (answer.status, answer.json["detail"][: len(said)]) == (status, said)
    assert uploads(idle) == []


def test_a_body_of_json_is_bounded_however_it_comes(idle: Served) -> None:
    """Without its length, and under two types, of which the first one counts."""
    kinds = "Content-Type: application/json\r\nContent-Type: multipart/form-data; boundary=BOUNDARY"
    with socket.create_connection(("127.0.0.1", idle.port), timeout=20) as client:
        client.sendall(
            f"POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nX-Hume-Api-Key: {idle.key}\r\n{kinds}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
            + 3 * (b"2710\r\n" + b" " * 10_000 + b"\r\n")
        )
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_full_queue_is_noticed_before_a_body_is_sent(model: Path, tmp_path: Path) -> None:
    with served(model, tmp_path / "data", "--workers", "0", limits=("queued_jobs_per_key=1",)) as one:
        started(one, GOOD)
        with socket.create_connection(("127.0.0.1", one.port), timeout=20) as client:
            client.sendall(
                f"POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nX-Hume-Api-Key: {one.key}\r\nContent-Length: 1000000\r\n"
                "Content-Type: multipart/form-data; boundary=BOUNDARY\r\n\r\n--BOUNDARY".encode()
            )
            assert client.recv(4096).startswith(b"HTTP/1.1 429 ")


def test_a_connection_that_breaks_leaves_no_file(idle: Served) -> None:
    with socket.create_connection(("127.0.0.1", idle.port), timeout=20) as client:
        body = form(part("file", b"complete", "a.mp4"), part("file", b"x" * 150_000, "b.mp4"))
        client.sendall(
            f"POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nX-Hume-Api-Key: {idle.key}\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: multipart/form-data; boundary=BOUNDARY\r\n\r\n".encode()
            + body[:100_000]
        )
        until = time.monotonic() + 20
        while len(uploads(idle)) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        assert len(uploads(idle)) == 2  # they are written as they arrive
    while uploads(idle) and time.monotonic() < until:
        time.sleep(0.05)
    assert uploads(idle) == []


def test_predictions_are_posted_to_hosts_that_the_operator_allowed(
    server: Served, idle: Served, model: Path, clips: list[Path], tmp_path: Path
) -> None:
    received: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    address = "http://127.0.0.1:{}/hook"
    refused = post(idle, form(GOOD, part("json", json.dumps({"callback_url": "https://example.org/"}).encode())))
    assert (refused.status, refused.json["detail"][:38]) == (400, "callback_url: example.org is not among")
    private = post(idle, form(GOOD, part("json", json.dumps({"callback_url": "http://10.0.0.1/"}).encode())))
    assert (private.status, private.json["detail"][:22]) == (400, "callback_url: 10.0.0.1")
    with HTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        options = json.dumps({"callback_url": address.format(receiver.server_port)}).encode()
        allowed = ('webhook_hosts=["127.0.0.1"]',)
        with served(model, tmp_path / "data", limits=allowed) as one:
            good = started(one, part("file", clips[0].read_bytes(), "a.mp4"), part("json", options))
            bad = started(one, part("file", b"no clip", "b.mp4"), part("json", options))
            until = time.monotonic() + 60
            while len(received) < 2 and time.monotonic() < until:
                time.sleep(0.1)
            by_job = {one["job_id"]: one for one in received}
            assert by_job[good]["status"] == "COMPLETED"
            assert by_job[good]["predictions"] == one.send("GET", f"{JOBS}/{good}/predictions").json
            assert (by_job[bad]["status"], by_job[bad]["predictions"]) == ("FAILED", [])
            assert by_job[bad]["message"] == shown(one, bad)["state"]["message"]
        receiver.shutdown()
