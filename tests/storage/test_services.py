"""Google Cloud Storage, Azure, and services without conditional writes: by a server here that answers as they do."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mien.errors import DataError, OutputError, Taken
from mien.storage.addresses import parent
from mien.storage.remote import find, list_files, upload
from tests.object_storage import environment

pytest.importorskip("obstore", reason="needs mien[cloud]")

MODIFIED = "Mon, 30 Nov 2026 00:00:00 GMT"


LIST = b"""<ListBucketResult><Contents><Key>a</Key><LastModified>2026-11-30T00:00:00.250Z</LastModified>
<ETag>"one"</ETag><Size>6</Size></Contents></ListBucketResult>"""

AZURE_LIST = b"""<EnumerationResults><Blobs><Blob><Name>a</Name><Properties>
<Last-Modified>Mon, 30 Nov 2026 00:00:00 GMT</Last-Modified><Etag>one</Etag><Content-Length>6</Content-Length>
<Content-Type>text/plain</Content-Type></Properties></Blob></Blobs><NextMarker/></EnumerationResults>"""
"""Without quotes, as in the service's documentation."""


class Service(ThreadingHTTPServer):
    """Has one object, version ``"one"``, generation 7; answers the first write by ``status`` and refuses others, unless
    it ``ignores`` conditions; keeps the headers."""

    daemon_threads = True
    status = 201
    code = "NotImplemented"
    exists = True
    ignores = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.written: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Service
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(200 if self.server.exists else 404, b"theirs", send=False)

    def do_GET(self) -> None:
        if "comp=list" in self.path:
            self._answer(200, AZURE_LIST)
        elif "list-type=2" in self.path:
            self._answer(200, LIST)
        else:
            self._answer(206, b"theirs")

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.written.append({name.lower(): value for name, value in self.headers.items()})
        body = f"<Error><Code>{self.server.code}</Code><Message>A header has no such function</Message></Error>"
        refused = len(self.server.written) > 1 and not self.server.ignores
        status = 412 if refused else self.server.status
        self._answer(status, b"" if status < 300 else body.encode())

    def _answer(self, status: int, body: bytes, send: bool = True) -> None:
        self.send_response(status)
        for name, value in (
            ("ETag", '"one"'), ("Last-Modified", MODIFIED), ("x-goog-generation", "7"),
            ("Content-Length", str(len(body))), ("Content-Range", f"bytes 0-{len(body) - 1}/{len(body)}"),
        ):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        if send:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Service]:
    (tmp_path / "ours").write_bytes(b"ours")
    with Service() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        key = {"gcs_base_url": server.url, "disable_oauth": True, "client_email": "", "private_key": "",
               "private_key_id": ""}  # fmt: skip
        variables = {
            "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(key),
            "AZURE_STORAGE_USE_EMULATOR": "true",
            "AZURITE_BLOB_STORAGE_URL": server.url,
            **environment(server.url),
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield server
        server.shutdown()


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    """In a bucket of its own, since clients of a bucket are kept."""
    return f"{request.param}://bucket{abs(hash(request.node.nodeid)) % 10**9}/a"


EACH = pytest.mark.parametrize("address", ["s3", "gs", "abfs"], indirect=True)


@EACH
def test_a_new_object_is_only_created(service: Service, address: str, tmp_path: Path) -> None:
    upload(tmp_path / "ours", address)
    condition = {"x-goog-if-generation-match": "0"} if address.startswith("gs") else {"if-none-match": "*"}
    assert [condition.items() <= sent.items() for sent in service.written] == [True, True]
    service.written.clear()
    upload(tmp_path / "ours", f"{address}/b")
    assert len(service.written) == 1, "the service has been tried"


@EACH
def test_a_service_that_ignores_the_condition_is_refused(service: Service, address: str, tmp_path: Path) -> None:
    service.ignores = True
    with pytest.raises(OutputError, match=r"replaces what it was told only to create .* write to another one"):
        upload(tmp_path / "ours", address)


@EACH
def test_an_object_is_replaced_only_if_it_is_the_one_that_was_seen(
    service: Service, address: str, tmp_path: Path
) -> None:
    seen = find(address)
    assert seen is not None
    upload(tmp_path / "ours", address, seen.version)
    (sent,) = service.written
    condition = {"x-goog-if-generation-match": "7"} if address.startswith("gs") else {"if-match": '"one"'}
    assert condition.items() <= sent.items()
    with pytest.raises(Taken):
        upload(tmp_path / "ours", address, "another")
    assert len(service.written) == 1


@EACH
def test_a_list_has_the_versions_of_single_files(service: Service, address: str) -> None:
    assert list_files(parent(address)) == [find(address)]


@EACH
def test_an_object_of_another_writer_is_not_replaced(service: Service, address: str, tmp_path: Path) -> None:
    service.status = 409 if address.startswith("abfs") else 412
    with pytest.raises(Taken, match="another command has written it; nothing there was changed"):
        upload(tmp_path / "ours", address)


@EACH
def test_an_answer_that_was_lost_is_no_conflict(service: Service, address: str, tmp_path: Path) -> None:
    service.status = 409 if address.startswith("abfs") else 412
    (tmp_path / "ours").write_bytes(b"theirs")
    assert upload(tmp_path / "ours", address) == "one"


@EACH
@pytest.mark.parametrize(("status", "code"), [(400, "InvalidArgument"), (501, "NotImplemented")])
def test_a_service_without_conditional_writes_is_named(
    service: Service, address: str, status: int, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.storage.remote._RETRIES", 0)
    service.status, service.code = status, code
    with pytest.raises(OutputError, match=rf"{code}: .* if this service lacks conditional writes .* another one"):
        upload(tmp_path / "ours", address)
    assert len(service.written) == 1


def test_without_credentials_no_other_machine_is_asked_if_that_is_switched_off(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    with pytest.raises(DataError, match=r"no credentials for S3: .* set AWS_ACCESS_KEY_ID"):
        find("s3://no-credentials/a")


def test_credentials_of_a_profile_are_used(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text("[lab]\naws_access_key_id = LABKEY\naws_secret_access_key = a%b\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    upload(tmp_path / "ours", "s3://of-a-profile/a")
    assert "Credential=LABKEY/" in service.written[0]["authorization"]
