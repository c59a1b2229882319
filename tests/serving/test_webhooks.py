"""Webhooks: signed by the standard, tried again, and never sent into the operator's network."""

import base64
import hashlib
import hmac
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mien.errors import DataError
from mien.serving import webhooks
from mien.serving.database import hooks, open_database
from mien.serving.webhooks import PAUSES, WebhookSender, check_url, is_public, public_address, send, sign
from tests.serving.clients import WEBHOOKS, python_with
from tests.serving.live import Served


class Receiver:
    """An HTTP server that keeps what it is sent, and answers with the statuses that it was given, then 200.

    ``seconds``: before each answer.
    """

    def __init__(self, *statuses: int, headers: tuple[tuple[str, str], ...] = (), seconds: float = 0.0) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        left = list(statuses)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:
                body = handler.rfile.read(int(handler.headers["content-length"]))
                self.got.append(({name.lower(): value for name, value in handler.headers.items()}, body))
                time.sleep(seconds)
                handler.send_response(left.pop(0) if left else 200)
                for name, value in headers:
                    handler.send_header(name, value)
                handler.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def test_signatures_are_those_of_the_standard() -> None:
    """The vector of the reference libraries (standard-webhooks, ``libraries/python/tests``)."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert made["webhook-id"] == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert made["webhook-timestamp"] == "1614265330"


def test_ten_tries_over_76_hours() -> None:
    assert len(PAUSES) + 1 == 10
    assert 75 < sum(PAUSES) / 3600 < 77


@pytest.mark.parametrize("address", [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1",
    "::ffff:8.8.8.8", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2001:0:7f00:1::",
    "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0", "ff02::1", "2001:db8::1", "fec0::1",
])  # fmt: skip
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert not is_public(address)
    shown = f"[{address}]" if ":" in address else address
    with pytest.raises((DataError, OSError)):
        send(f"http://{shown}/", b"{}", {}, seconds=0.2)


@pytest.mark.parametrize("address", ["93.184.215.14", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001::200e"])
def test_public_addresses_are_accepted(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("url", [
    "ftp://a.example/", "file:///etc/passwd", "http://", "https:///x", "http://a:b@c.example/", "//a.example", "x",
    "http://a.example:0/", "http://a.example:99999/", "http://a.example/\r\nX: y", "http://exämple/", "http://[::1",
    "http://a.example/" + "x" * 2000, "gopher://a.example", "javascript:alert(1)",
])  # fmt: skip
def test_what_is_no_address_of_a_host_is_refused(url: str) -> None:
    with pytest.raises(DataError):
        check_url(url)


@pytest.mark.parametrize("host", ["0x7f000001", "2130706433", "127.1", "017700000001", "localhost"])
def test_other_spellings_of_this_machine_are_refused(host: str) -> None:
    with pytest.raises((DataError, OSError)):
        public_address(host, 80)


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(2, 1, 6, "", ("1.1.1.1", 80)), (2, 1, 6, "", ("10.0.0.1", 80))]
    monkeypatch.setattr(webhooks.socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(DataError, match=r"the address 10\.0\.0\.1, which is not public"):
        public_address("both.example", 80)
    assert public_address("both.example", 80, ["Both.example"]) == "1.1.1.1"


def test_the_address_that_was_checked_is_connected_to(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that has another address at the second look (DNS rebinding) is not looked up again."""
    answers = iter(["127.0.0.1", "10.255.255.1"])
    real = socket.getaddrinfo

    def look(host: str, *more: Any, **named: Any) -> Any:
        if host == "hooks.lab":
            return [(2, 1, 6, "", (next(answers), 0))]
        return real(host, *more, **named)

    monkeypatch.setattr(webhooks.socket, "getaddrinfo", look)
    assert send(f"http://hooks.lab:{receiver.port}/a?b=c", b"{}", {"x-a": "b"}, ["hooks.lab"]) == 200
    ((headers, body),) = receiver.got
    assert (headers["host"], headers["x-a"], body) == (f"hooks.lab:{receiver.port}", "b", b"{}")
    assert next(answers) == "10.255.255.1"


def test_redirects_are_not_followed() -> None:
    second = Receiver()
    first = Receiver(307, headers=(("Location", f"http://127.0.0.1:{second.port}/"),))
    try:
        assert send(f"http://127.0.0.1:{first.port}/", b"{}", {}, ["127.0.0.1"]) == 307
        assert not second.got
    finally:
        first.close()
        second.close()


def test_a_receiver_that_trickles_is_cut_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def trickle() -> None:
            connection, _ = listening.accept()
            with connection:
                try:
                    for _ in range(50):
                        connection.sendall(b"H" if _ == 0 else b"x")
                        time.sleep(0.1)
                except OSError:
                    pass

        thread = threading.Thread(target=trickle)
        thread.start()
        began = time.monotonic()
        with pytest.raises(OSError):
            send(f"http://127.0.0.1:{listening.getsockname()[1]}/", b"{}", {}, ["127.0.0.1"], seconds=0.5)
        assert time.monotonic() - began < 2
        thread.join()


def test_a_failed_webhook_is_tried_again_with_the_same_bytes_and_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "PAUSES", (0.1,) * 9)
    monkeypatch.setattr(webhooks, "POLL_SECONDS", 0.05)
    receiver = Receiver(500, 302, 429)
    engine = open_database(tmp_path)
    with engine.begin() as db:
        url = f"http://127.0.0.1:{receiver.port}/"
        row = {"id": "hook-1", "job": "job-1", "owner": "anna", "kind": "job", "url": url, "tries": 0, "due": 1.0}
        db.execute(sa.insert(hooks).values(**row))
    bodies = iter([b'{"n": 1}', b'{"n": 2}'])
    sender = WebhookSender(engine, {"job": lambda _: next(bodies)}, lambda owner: owner.encode(), ["127.0.0.1"])
    sender.start()
    limit = time.monotonic() + 15
    while len(receiver.got) < 4 or _due(engine) is not None:
        assert time.monotonic() < limit
        time.sleep(0.05)
    sender.stop()
    time.sleep(0.2)
    receiver.close()
    engine.dispose()
    assert len(receiver.got) == 4
    for headers, body in receiver.got:
        assert body == b'{"n": 1}'
        assert headers["webhook-id"] == "hook-1"
        signed = f"hook-1.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.digest(b"anna", signed, hashlib.sha256)).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"


def test_a_receiver_that_takes_longer_than_the_first_pause_gets_a_webhook_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "PAUSES", (0.1,) * 9)
    monkeypatch.setattr(webhooks, "POLL_SECONDS", 0.05)
    receiver = Receiver(seconds=0.5)
    _send_one(tmp_path, receiver)
    assert len(receiver.got) == 1


def test_a_webhook_is_given_up_after_ten_tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "PAUSES", (0.0,) * 9)
    monkeypatch.setattr(webhooks, "POLL_SECONDS", 0.05)
    receiver = Receiver(*[500] * 20)
    _send_one(tmp_path, receiver)
    assert len(receiver.got) == 10


def _send_one(folder: Path, receiver: Receiver) -> None:
    """Have one webhook sent until it has arrived or is given up, and wait whether it comes once more."""
    engine = open_database(folder)
    with engine.begin() as db:
        url = f"http://127.0.0.1:{receiver.port}/"
        row = {"id": "hook-1", "job": "job-1", "owner": "anna", "kind": "job", "url": url, "tries": 0, "due": 1.0}
        db.execute(sa.insert(hooks).values(**row))
    sender = WebhookSender(engine, {"job": lambda _: b"{}"}, lambda _: b"s", ["127.0.0.1"])
    sender.start()
    limit = time.monotonic() + 20
    while _due(engine) is not None:
        assert time.monotonic() < limit
        time.sleep(0.05)
    time.sleep(0.7)
    sender.stop()
    receiver.close()
    time.sleep(0.2)
    engine.dispose()


def _due(engine: sa.Engine) -> float | None:
    with engine.execution_options(reads=True).begin() as db:
        return db.scalar(sa.select(hooks.c.due))


def test_the_end_of_a_job_is_posted(server: Served, clips: list[Path], receiver: Receiver) -> None:
    """The server's operator allows 127.0.0.1 (``webhook_hosts``)."""
    job = server.job([server.put(clips[0], "a.mp4")], webhook=f"http://127.0.0.1:{receiver.port}/done")
    assert server.ended(job["id"])["state"] == "completed"
    limit = time.monotonic() + 10
    while not receiver.got:
        assert time.monotonic() < limit
        time.sleep(0.05)
    ((headers, body),) = receiver.got
    secret = base64.b64decode(server.send("GET", "/v1/webhooks/secret").json["secret"].removeprefix("whsec_"))
    made = sign(secret, headers["webhook-id"], int(headers["webhook-timestamp"]), body)
    assert headers["webhook-signature"] == made["webhook-signature"]
    said = json.loads(body)
    assert said["type"] == "job.completed"
    assert said["data"] == server.send("GET", job["links"]["self"]).json


VERIFY = """
import json, sys
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
given = json.load(sys.stdin)
try:
    print(json.dumps(Webhook(given["secret"]).verify(given["body"], given["headers"])))
except WebhookVerificationError as error:
    sys.exit(str(error))
"""


def test_the_verifier_of_the_standard_takes_our_signature_and_no_other(
    server: Served, clips: list[Path], receiver: Receiver
) -> None:
    try:
        python = python_with(WEBHOOKS)
    except RuntimeError as reason:
        pytest.skip(str(reason))
    job = server.job([server.put(clips[0], "a.mp4")], webhook=f"http://127.0.0.1:{receiver.port}/done")
    limit = time.monotonic() + 30
    while not receiver.got:
        assert time.monotonic() < limit
        time.sleep(0.05)
    ((headers, body),) = receiver.got
    given = {"secret": server.send("GET", "/v1/webhooks/secret").json["secret"], "headers": headers}
    ours, other = (
        subprocess.run(
            [python, "-c", VERIFY], input=json.dumps({**given, "body": sent}), capture_output=True, text=True
        )
        for sent in (body.decode(), body.decode().replace("completed", "cancelled"))
    )
    assert json.loads(ours.stdout)["data"]["id"] == job["id"], ours.stderr
    assert other.returncode == 1 and "No matching signature" in other.stderr


def test_a_webhook_into_the_network_is_refused_at_once(server: Served, clips: list[Path]) -> None:
    file = server.put(clips[0], "a.mp4")
    for url in ("http://169.254.169.254/latest", "http://[::1]/", "ftp://a.example/"):
        answer = server.send("POST", "/v1/jobs", {"files": [file], "webhook": url})
        assert answer.status == 422, answer
        assert answer.json["detail"].startswith("webhook: ")
