"""Strangers: what is too large, too slow, too often, from another page or without a key is refused in one line."""

import select
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.serving.live import Answer, Served, served


@pytest.fixture(scope="module")
def strict(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server without workers and with narrow limits."""
    limits = (
        "file_bytes=200000", "body_bytes=2000", "job_files=2", "job_bytes=300000", "queued_jobs=3",
        "queued_jobs_per_key=2", "header_seconds=0.6", "body_seconds=0.6", "body_progress_bytes=50000",
        "posts_per_second=1000", "gets_per_second=1000", "data_bytes=3000000", "live_sessions=0",
    )  # fmt: skip
    data = tmp_path_factory.mktemp("strict") / "data"
    with served(model, data, "--workers", "0", limits=limits) as one:
        yield one


def refused(answer: Answer, status: int) -> str:
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.headers["x-request-id"]
    return answer.json["detail"]


def talk(server: Served, *parts: bytes, pause: float = 0.0, seconds: float = 10.0) -> tuple[bytes, float]:
    """Send parts with pauses; what is answered until the connection is closed, and after how long."""
    began, answer = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        left = list(parts)
        while True:
            ready, _, _ = select.select([connection], [], [], pause if left else seconds)
            try:
                if ready:
                    more = connection.recv(65_536)
                    if not more:
                        break
                    answer += more
                elif left:
                    connection.sendall(left.pop(0))
                else:
                    break
            except (BrokenPipeError, ConnectionResetError):
                break
    return answer, time.monotonic() - began


def head(server: Served, line: str, **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(
        [f"{line} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {server.key}", *lines, "", ""]
    ).encode()


def test_a_head_that_trickles_is_cut_off(strict: Served) -> None:
    answer, seconds = talk(strict, b"GET /healthz HTTP/1.1\r\n", *(b"X-A: b\r\n" for _ in range(20)), pause=0.1)
    assert answer == b""
    assert 0.5 < seconds < 3
    answer, seconds = talk(strict)
    assert answer == b""
    assert 0.5 < seconds < 3


def test_a_second_head_on_a_connection_has_a_deadline_too(strict: Served) -> None:
    first = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer, seconds = talk(strict, first, *(b"G" for _ in range(20)), pause=0.1)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert 0.5 < seconds < 3


@pytest.mark.parametrize("path", ["PUT /v1/files?name=a.mp4", "POST /v1/jobs"])
def test_a_body_that_trickles_is_ended_with_408(strict: Served, path: str) -> None:
    given = head(strict, path, Content_Length="1900", Content_Type="application/json")
    answer, seconds = talk(strict, given, *(b"x" for _ in range(25)), pause=0.1)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"the body came too slowly, below 50000 bytes in 0.6 s" in answer
    assert 0.5 < seconds < 4
    assert not list((strict.data / "uploads").iterdir())


def test_a_body_in_good_time_is_taken(strict: Served) -> None:
    part = bytes(60_000)
    given = head(strict, "PUT /v1/files?name=a.mp4", Content_Length=str(3 * len(part)), Connection="close")
    answer, seconds = talk(strict, given, *([part] * 3), pause=0.4)
    assert answer.startswith(b"HTTP/1.1 201")
    assert seconds > 1.0


@pytest.fixture(scope="module")
def impatient(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server without workers that waits a second for a client to read."""
    limits = ("reader_seconds=1", "events_seconds=2")
    with served(model, tmp_path_factory.mktemp("i") / "data", "--workers", "0", limits=limits) as one:
        yield one


def opened(server: Served) -> int:
    """Connections, and files of jobs, that the web process has open."""
    process = psutil.Process(server.process.pid)
    files = [one.path for one in process.open_files() if "/jobs/" in one.path]
    return sum(one.status == psutil.CONN_ESTABLISHED for one in process.net_connections()) + len(files)


def test_a_client_that_stops_reading_a_download_is_cut_off(impatient: Served) -> None:
    """Nor does what it does not read pile up in memory: sixty-four megabytes are not there."""
    place = impatient.job([impatient.put_bytes(bytes(64_000_000), "a.mp4")])["links"]["self"] + "/media/0"
    memory = psutil.Process(impatient.process.pid)
    least = memory.memory_info().rss
    clients = [socket.create_connection(("127.0.0.1", impatient.port)) for _ in range(5)]
    try:
        for client in clients:
            client.sendall(head(impatient, f"GET {place}"))
        time.sleep(0.5)
        assert opened(impatient) == 15  # five connections, and their files, each open twice
        assert memory.memory_info().rss - least < 30_000_000
        limit = time.monotonic() + 10
        while opened(impatient):
            assert time.monotonic() < limit
            time.sleep(0.1)
        got = b"x"
        with suppress(ConnectionResetError):
            while got:
                got = clients[0].recv(1_000_000)
    finally:
        for client in clients:
            client.close()


def test_a_client_that_reads_slowly_gets_all_of_it(impatient: Served) -> None:
    """For longer than a second, with pauses, but never less than was asked for."""
    place = impatient.job([impatient.put_bytes(bytes(24_000_000), "b.mp4")])["links"]["self"] + "/media/0"
    with socket.create_connection(("127.0.0.1", impatient.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        client.sendall(head(impatient, f"GET {place}", Connection="close"))
        total, began = 0, time.monotonic()
        while got := client.recv(400_000, socket.MSG_WAITALL):
            total += len(got)
            time.sleep(0.04)
    assert time.monotonic() - began > 2
    assert total > 24_000_000


def test_a_stream_of_events_ends_after_its_time(impatient: Served) -> None:
    job = impatient.job([impatient.put_bytes(b"abc", "c.mp4")])
    began = time.monotonic()
    said = impatient.send("GET", job["links"]["events"]).body.decode()
    assert 1.5 < time.monotonic() - began < 8
    assert "event: state" in said and "event: done" not in said


def test_what_is_too_large_is_refused(strict: Served) -> None:
    detail = refused(strict.send("PUT", "/v1/files?name=a", bytes(200_001)), 413)
    assert detail == "the body has 200001 bytes, at most 200000 are accepted"
    chunked = head(strict, "PUT /v1/files?name=a", Transfer_Encoding="chunked", Connection="close")
    parts = [b"10000\r\n" + bytes(65_536) + b"\r\n"] * 5
    assert talk(strict, chunked, *parts)[0].startswith(b"HTTP/1.1 413")
    refused(
        strict.send("POST", "/v1/jobs", b'{"files": ["' + b"x" * 3000 + b'"]}', Content_Type="application/json"), 413
    )
    tus = {"Tus_Resumable": "1.0.0", "Upload_Length": "200001"}
    refused(strict.send("POST", "/v1/uploads", **tus), 413)
    refused(strict.send("POST", "/v1/jobs", {"files": ["a", "b", "c"]}), 422)
    big = [strict.send("PUT", "/v1/files?name=a", bytes(199_000)).json["id"] for _ in range(2)]
    assert "more than 300000 B in all" in refused(strict.send("POST", "/v1/jobs", {"files": big}), 422)


def test_more_than_was_announced_is_refused(strict: Served) -> None:
    tus = {"Tus_Resumable": "1.0.0"}
    place = strict.send("POST", "/v1/uploads", **tus, Upload_Length="10").headers["location"]
    given = {**tus, "Content_Type": "application/offset+octet-stream"}
    refused(strict.send("PATCH", place, bytes(11), **given, Upload_Offset="0"), 413)
    refused(strict.send("PATCH", place, bytes(1), **given, Upload_Offset="5"), 409)
    assert strict.send("PATCH", place, bytes(1), **tus, Upload_Offset="0").status == 415
    assert strict.send("HEAD", place).status == 412
    assert strict.send("DELETE", place, **tus).status == 204
    assert strict.send("HEAD", place, **tus).status == 404


def test_a_full_queue_and_a_full_store_say_when_to_come_again(strict: Served) -> None:
    def submit(key: str = "") -> Answer:
        file = strict.send("PUT", "/v1/files?name=a.mp4", b"abc", key=key).json["id"]
        return strict.send("POST", "/v1/jobs", {"files": [file]}, key=key)

    made = [submit(), submit()]
    assert [answer.status for answer in made] == [202, 202]
    full = submit()
    assert "jobs of this key" in refused(full, 429)
    assert full.headers["retry-after"] == "30"
    other = strict.send("POST", "/v1/keys", {"name": "lab"}).json["key"]
    made.append(submit(other))
    assert made[-1].status == 202
    refused(submit(other), 503)
    for answer in made:
        assert strict.send("DELETE", answer.json["links"]["self"]).status == 204
    stored = 0
    while (answer := strict.send("PUT", "/v1/files?name=a", bytes(190_000))).status == 201:
        stored += 190_000
        assert stored < 3_000_000
    assert "no room" in refused(answer, 507)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "[::ffff:10.0.0.1]", "10.0.0.1:80", ""])
def test_a_foreign_host_is_refused(strict: Served, host: str) -> None:
    assert "loopback" in refused(strict.send("GET", "/healthz", Host=host), 403)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8321"])
def test_names_of_this_machine_are_accepted(strict: Served, host: str) -> None:
    assert strict.send("GET", "/healthz", Host=host).status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "https://evil.example:443"])
def test_a_page_of_another_origin_changes_nothing(strict: Served, origin: str) -> None:
    for method, path in (
        ("POST", "/v1/jobs"),
        ("PUT", "/v1/files"),
        ("DELETE", "/v1/jobs/x"),
        ("PATCH", "/v1/uploads/x"),
    ):
        assert "another site" in refused(strict.send(method, path, b"{}", Origin=origin), 403)
    found = strict.send("GET", "/v1/jobs", Origin=origin)
    assert found.status == 200
    assert not [name for name in found.headers if name.startswith("access-control")]


def test_its_own_page_may(strict: Served) -> None:
    origin = f"http://127.0.0.1:{strict.port}"
    assert strict.send("DELETE", "/v1/jobs/job-0", Origin=origin).status == 404


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..", "/", "a/../../b.mp4", "C:\\x\\..\\y.mp4", "%00", "\u202e.mp4", "x" * 900]
)
def test_no_name_of_a_client_becomes_a_path(strict: Served, name: str) -> None:
    from urllib.parse import quote

    before = {path for path in strict.data.rglob("*") if path.is_file()}
    made = strict.send("PUT", f"/v1/files?name={quote(name)}", b"abc").json
    (new,) = {path for path in strict.data.rglob("*") if path.is_file()} - before
    assert new == strict.data / "uploads" / f"{made['id']}.part"
    assert made["name"].isprintable()
    assert not {"/", "\\"} & set(made["name"].replace("\\u", "").replace("\\x", ""))
    new.unlink()


@pytest.mark.parametrize("path", [
    "/v1/jobs/../../../etc/passwd", "/v1/jobs/..%2f..%2fserve.db", "/v1/jobs/job-000000000000000000000000/../key",
    "/v1/uploads/../key", "/key", "/serve.db", "//v1//..//key", "/v1/jobs/%2e%2e/media/0",
])  # fmt: skip
def test_no_path_of_a_request_reaches_a_file(strict: Served, path: str) -> None:
    answer = strict.send("GET", path)
    assert answer.status in (404, 405)
    assert strict.key.encode() not in answer.body


def test_keys_have_scopes_and_see_their_own_jobs(strict: Served) -> None:
    made = {
        name: strict.send("POST", "/v1/keys", {"name": name, "scopes": scopes}).json
        for name, scopes in (("anna", ["score"]), ("ben", ["score"]), ("eye", ["live"]), ("root", ["admin"]))
    }
    anna, ben, eye, root = (made[name]["key"] for name in ("anna", "ben", "eye", "root"))
    file = strict.send("PUT", "/v1/files?name=a.mp4", b"abc", key=anna).json["id"]
    refused(strict.send("POST", "/v1/jobs", {"files": [file]}, key=ben), 422)
    job = strict.send("POST", "/v1/jobs", {"files": [file]}, key=anna).json["links"]["self"]
    for key, status in ((anna, 200), (ben, 404), (root, 200), ("", 200), (eye, 403)):
        assert strict.send("GET", job, key=key).status == status
    assert len(strict.send("GET", "/v1/jobs", key=ben).json["jobs"]) == 0
    assert len(strict.send("GET", "/v1/jobs", key=anna).json["jobs"]) == 1
    refused(strict.send("GET", "/v1/keys", key=anna), 403)
    refused(strict.send("GET", "/metrics", key=anna), 403)
    assert {one["name"] for one in strict.send("GET", "/v1/keys", key=root).json["keys"]} >= {"anna", "ben"}
    assert strict.send("GET", "/v1/jobs", key=None, X_API_Key=anna).status == 200
    assert strict.send("DELETE", f"/v1/keys/{made['anna']['id']}").status == 204
    for wrong in (anna, "mien-" + "0" * 64, "x", "\u00e9"):
        refused(strict.send("GET", "/v1/jobs", key=None, Authorization=f"Bearer {wrong}"), 401)
    assert anna.encode() not in (strict.data / "serve.db").read_bytes()
    assert strict.send("DELETE", job).status == 204


def test_too_many_requests_of_a_key_are_slowed(model: Path, tmp_path: Path) -> None:
    limits = ("gets_per_second=5", "posts_per_second=1")
    with served(model, tmp_path / "data", "--workers", "0", limits=limits) as one:
        found = [one.send("GET", "/v1/jobs").status for _ in range(15)]
        assert found[:10] == [200] * 10
        late = one.send("GET", "/v1/jobs")
        assert late.status == 429
        assert late.headers["retry-after"] == "1"
        assert one.send("POST", "/v1/jobs/x/cancel").status == 404
        time.sleep(1.1)
        assert one.send("GET", "/v1/jobs").status == 200
        other = one.send("POST", "/v1/keys", {"name": "b"}).json["key"]
        assert one.send("GET", "/v1/jobs", key=other).status == 200


def test_a_full_disk_is_507_and_leaves_nothing(model: Path, tmp_path: Path) -> None:
    if shutil.which("prlimit") is None:
        pytest.skip("prlimit is not installed (util-linux)")
    with served(model, tmp_path / "data", "--workers", "0", before=("prlimit", "--fsize=3000000")) as one:
        refused(one.send("PUT", "/v1/files?name=a.mp4", bytes(4_000_000)), 507)
        assert not list((one.data / "uploads").iterdir())
        assert one.send("PUT", "/v1/files?name=a.mp4", bytes(1_000_000)).status == 201
    with served(model, tmp_path / "data", "--workers", "0", limits=("free_bytes=1000000000000000",)) as one:
        refused(one.send("PUT", "/v1/files?name=a.mp4", bytes(10)), 507)
        refused(one.send("POST", "/v1/uploads", Tus_Resumable="1.0.0", Upload_Length="9"), 507)


def test_other_machines_need_a_key(model: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="make one with --new-key NAME"),
        served(model, tmp_path / "data", "--host", "0.0.0.0"),
    ):
        pass
    with served(model, tmp_path / "data", "--host", "0.0.0.0", "--workers", "0", "--new-key", "lab") as one:
        key = one.said[0].partition(": ")[2]
        assert one.send("GET", "/v1/jobs", key=key, Host="lab.example").status == 200
        with pytest.raises(AssertionError, match="is writing to it"), served(model, tmp_path / "data"):
            pass


def test_metrics_and_health(server: Served, clips: list[Path]) -> None:
    done = server.ended(server.job([server.put(clips[0], "a.mp4")])["id"])
    assert done["state"] == "completed"
    assert server.send("GET", "/healthz", key=None).json == {"status": "ok"}
    text = server.send("GET", "/metrics").body.decode()
    for line in ('mien_jobs{state="completed"}', "mien_queue_oldest_seconds 0.0", "mien_workers 1.0",
                 "mien_job_seconds_count", 'mien_clips_total{outcome="completed"}', "mien_disk_bytes",
                 'http_request_duration_seconds_count{method="GET",route="/v1/jobs/{job}",status="200"}'):  # fmt: skip
        assert line in text
    assert server.send("GET", "/v1/model").json["targets"] == ["Joy", "Awe"]


def test_live_sessions_can_be_turned_off(strict: Served) -> None:
    handshake = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                 "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}  # fmt: skip
    assert "turned off" in refused(strict.send("GET", "/v1/live", **handshake), 403)
    assert b"/live" not in strict.send("GET", "/").body
