"""Object storage: what is fetched is of one version and of bounded size, what is stored appears complete or not."""

import os
import select
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mien.errors import DataError, OutputError, Taken
from mien.storage import remote
from mien.storage.addresses import join
from tests.object_storage import Bucket, environment

LARGE = 24_000_000
"""Bytes of a file that is fetched in three pieces, the last of them smaller."""


def test_what_is_stored_comes_back_with_its_time(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(content := os.urandom(LARGE))
    address = f"{bucket.address}/folder/a b?#%20ü.bin"
    remote.upload(tmp_path / "a.bin", address)
    assert bucket.get("folder/a b?#%20ü.bin") == content
    found = remote.download(address, tmp_path / "b.bin")
    assert (tmp_path / "b.bin").read_bytes() == content
    assert (tmp_path / "b.bin").stat().st_mtime_ns == found.changed
    assert remote.find(address) == found
    assert remote.list_files(f"{bucket.address}/folder/") == [found]


def test_an_empty_file_is_stored(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    remote.upload(tmp_path / "empty", f"{bucket.address}/empty")
    assert bucket.sizes() == {"empty": 0}


def test_what_is_not_there_is_named(bucket: Bucket, tmp_path: Path) -> None:
    assert remote.find(f"{bucket.address}/none") is None
    assert remote.list_files(f"{bucket.address}/none") == []
    with pytest.raises(DataError, match=f"^{bucket.address}/none: no such file$"):
        remote.download(f"{bucket.address}/none", tmp_path / "none")
    with pytest.raises(OutputError, match=r"^s3://no-such-bucket/a: cannot be written"):
        remote.upload(Path(__file__), "s3://no-such-bucket/a")


def test_a_service_that_is_not_reached_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        service = f"http://127.0.0.1:{taken.getsockname()[1]}"
        for name, value in environment(service).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(remote, "_RETRIES", 1)
        with pytest.raises(DataError) as error:
            remote.list_files("s3://unreached/folder")
    assert str(error.value) == (
        f"s3://unreached/folder: cannot be read (no connection to {service}: Connection refused; is this its address, "
        "and the network up?)"
    )


def test_nothing_is_replaced_that_was_not_seen(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"ours")
    first = remote.upload(tmp_path / "a", f"{bucket.address}/a")
    assert remote.upload(tmp_path / "a", f"{bucket.address}/a") == first, "the same bytes are no conflict"
    bucket.put("a", b"theirs")
    for seen in ("", first):
        with pytest.raises(Taken, match="another command has written it"):
            remote.upload(tmp_path / "a", f"{bucket.address}/a", seen)
    assert bucket.get("a") == b"theirs"
    found = remote.find(f"{bucket.address}/a")
    assert found is not None
    remote.upload(tmp_path / "a", f"{bucket.address}/a", found.version)
    assert bucket.get("a") == b"ours"


def test_folders_that_other_tools_mark_are_no_files(bucket: Bucket) -> None:
    for key in ("a/", "a/b/", "a/c/", "a/c/file", "a/empty"):
        bucket.put(key, b"")
    assert [file.address for file in remote.list_files(f"{bucket.address}/a")] == [
        f"{bucket.address}/a/c/file", f"{bucket.address}/a/empty"
    ]  # fmt: skip


def test_a_key_that_is_no_path_is_named(bucket: Bucket) -> None:
    bucket.put("a//b", b"1")
    with pytest.raises(DataError, match=r'/a: cannot be read .*"a//b" contained empty path segment'):
        remote.list_files(f"{bucket.address}/a")


def test_a_file_above_the_bound_is_not_fetched(bucket: Bucket, tmp_path: Path) -> None:
    address = bucket.put("a", b"x" * 1001)
    with pytest.raises(DataError, match="1001 B, but at most 1000 B are read"):
        remote.download(address, tmp_path / "a", most=1000)
    assert not (tmp_path / "a").exists()


def test_a_file_that_is_replaced_while_it_is_read_is_no_mixture(bucket: Bucket, tmp_path: Path) -> None:
    address = bucket.put("a", b"1" * LARGE)
    pieces = iter([lambda: bucket.put("a", b"2" * LARGE)])
    with pytest.raises(DataError, match="was written to while it was read"):
        remote.download(address, tmp_path / "a", check=lambda: next(pieces, lambda: "")() and None)


@pytest.mark.parametrize(
    "address",
    ["s3://user:password@bucket/a", "s3://127.0.0.1:9000/a", "s3://bucket?endpoint_override=evil.example/a", "s3:///a"],
)
def test_an_address_holds_no_password_and_no_endpoint(address: str) -> None:
    with pytest.raises(DataError, match="not an address"):
        remote.find(address)


@pytest.mark.parametrize("name", ["../x.mp4", "/x.mp4", "a/../../../x.mp4"])
def test_a_name_does_not_lead_out_of_its_bucket(name: str) -> None:
    with pytest.raises(DataError, match="does not lie in its bucket"):
        join("s3://bucket/data" if name.count("..") > 1 else "s3://bucket", name)


UPLOAD = """
import sys
from pathlib import Path
from mien.storage.remote import upload
print("begin", flush=True)
upload(Path(sys.argv[1]), sys.argv[2])
"""


def _kill_while_storing(url: str, file: Path, address: str, seconds: float, number: signal.Signals) -> None:
    command = [sys.executable, "-c", UPLOAD, str(file), address]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | environment(url)
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(number)
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_upload_leaves_nothing_or_all_of_it(
    s3: tuple[str, Path], bucket: Bucket, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "a").write_bytes(b"x" * LARGE)
    for place, seconds in enumerate((0.05, 0.3)):
        _kill_while_storing(s3[0], tmp_path / "a", f"{bucket.address}/{place}", seconds, number)
    assert set(bucket.sizes().values()) <= {LARGE}


@pytest.mark.soak
def test_uploads_killed_at_any_moment_leave_nothing_or_all_of_it(
    s3: tuple[str, Path], bucket: Bucket, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"x" * LARGE)
    for place in range(60):
        number = signal.SIGINT if place % 3 == 0 else signal.SIGKILL
        _kill_while_storing(s3[0], tmp_path / "a", f"{bucket.address}/{place:02d}", place * 0.015, number)
    stored = bucket.sizes()
    assert set(stored.values()) <= {LARGE}
    assert 0 < len(stored) < 60, "some were killed before the end, and some after"


class _Faulty(socketserver.BaseRequestHandler):
    """Passes a connection on, but ends it in the middle of an upload."""

    server: "_Proxy"

    def handle(self) -> None:
        with socket.create_connection(self.server.target) as there:
            ends, passed = {self.request: there, there: self.request}, 0
            while ready := select.select(list(ends), [], [], 10)[0]:
                for end in ready:
                    data = end.recv(1 << 16)
                    passed += len(data)
                    if not data or passed > LARGE / 2:
                        return
                    ends[end].sendall(data)


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Faulty)
        self.target = ("127.0.0.1", int(url.rpartition(":")[2]))

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no error here."""


def test_an_upload_that_breaks_off_in_the_middle_leaves_nothing(
    s3: tuple[str, Path], bucket: Bucket, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"x" * LARGE)
    with _Proxy(s3[0]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [sys.executable, "-c", UPLOAD, str(tmp_path / "a"), f"{bucket.address}/a"]
        through = environment(f"http://127.0.0.1:{server.server_address[1]}")
        ended = subprocess.run(command, env=os.environ | through, capture_output=True, text=True, timeout=60)
        server.shutdown()
    assert "OutputError" in ended.stderr, ended.stderr
    assert bucket.sizes() == {}
