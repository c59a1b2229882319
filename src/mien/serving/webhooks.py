"""Webhooks: a signed POST to an address that a client gave, when its job has ended.

    send             one POST; the address of the host is resolved once, checked, and connected to
    sign             the three headers of Standard Webhooks
    WebhookSender    sends those that are due, ten times over 76 hours

An address comes from a stranger, so it may lead into the operator's network: only public addresses are connected to,
or hosts that the operator named. Python's ``is_global`` lets through addresses that carry a private IPv4 address
(NAT64, 6to4), so these are refused here. Redirects are not followed.

Source: https://github.com/standard-webhooks/standard-webhooks (specification 1.0); OWASP, *SSRF Prevention*.
"""

import base64
import hashlib
import hmac
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import SplitResult, urlsplit

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from mien import terminal
from mien.errors import DataError
from mien.serving.database import hooks, now

SEND_SECONDS = 15.0
PAUSES = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds from one try to the next: ten tries over 76 hours."""

CONCURRENT = 8
LONGEST_URL = 2000
POLL_SECONDS = 0.5
_UNICAST = ipaddress.ip_network("2000::/3")
"""The only IPv6 addresses that are global: not NAT64 (64:ff9b::/96), mapped, compatible or site-local ones."""
_TUNNELS = (ipaddress.ip_network("2002::/16"), ipaddress.ip_network("2001::/32"))
"""6to4 and Teredo: they hold an IPv4 address."""


def check_url(url: str, allowed: Collection[str] = ()) -> SplitResult:
    """The parts of a webhook's address; a name is resolved only when something is sent.

    Raises:
        DataError: it is not an http or https address of a host, has a user name, or names an address that is not
            public, of a host that is not allowed.
    """
    try:
        parts = urlsplit(url)
        well = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        well, parts = False, urlsplit("")
    if not well or parts.username is not None or len(url) > LONGEST_URL or not url.isascii() or not url.isprintable():
        raise DataError("webhook: expected https://host/path, without user name, in ASCII")
    with suppress(ValueError):
        address = str(ipaddress.ip_address(str(parts.hostname)))
        if address not in allowed and not is_public(address):
            raise DataError(f"webhook: {address} is not a public address")
    return parts


def public_address(host: str, port: int, allowed: Collection[str] = ()) -> str:
    """Resolve a host once; all of its addresses must be public unless the host is allowed.

    Args:
        host: a name or an address.
        port: to connect to.
        allowed: hosts that the operator named; their addresses may be private.

    Returns:
        The first address.

    Raises:
        DataError: it has a private or otherwise special address.
        OSError: it cannot be resolved.
    """
    found = [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if host.lower().rstrip(".") not in {name.lower() for name in allowed}:
        for address in found:
            if not is_public(address):
                raise DataError(f"webhook: {host} has the address {address}, which is not public")
    return found[0]


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet, and does not stand for one that is not.

    >>> is_public("93.184.215.14"), is_public("10.0.0.1"), is_public("64:ff9b::a00:1"), is_public("::ffff:10.0.0.1")
    (True, False, False, False)
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if ip.version == 6 and (ip not in _UNICAST or any(ip in one for one in _TUNNELS)):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not ip.is_unspecified


def sign(secret: bytes, message: str, seconds: int, body: bytes) -> dict[str, str]:
    """Headers of Standard Webhooks.

    Args:
        secret: the key, as bytes; clients see it as ``whsec_`` and Base64.
        message: id of the message, the same at every try.
        seconds: time of the try, since 1970.
        body: what is sent.

    >>> sign(b"secret", "msg_1", 1, b"{}")["webhook-signature"]
    'v1,kW+83cjD04uWm7Qber/sPiCRVJ9ljbsrg8ALKAx2qMc='
    """
    made = hmac.digest(secret, f"{message}.{seconds}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": message,
        "webhook-timestamp": str(seconds),
        "webhook-signature": f"v1,{base64.b64encode(made).decode()}",
    }


def send(
    url: str, body: bytes, headers: Mapping[str, str], allowed: Collection[str] = (), seconds: float = SEND_SECONDS
) -> int:
    """POST JSON to an address of a client; redirects are not followed, and the answer is not read.

    Args:
        url: from the client.
        body: JSON.
        headers: besides those of HTTP, e.g. from ``sign``.
        allowed: as for ``public_address``.
        seconds: for everything after the host's address is known.

    Returns:
        The status of the answer.

    Raises:
        DataError: the address is not allowed.
        OSError: nothing answers in time.
    """
    parts = check_url(url, allowed)
    secure, host = parts.scheme == "https", str(parts.hostname)
    port = parts.port or (443 if secure else 80)
    address = public_address(host, port, allowed)
    path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    with _connected(connection, address, port, host if secure else None, seconds):
        try:
            given = {"Content-Type": "application/json", "User-Agent": "mien", **headers}
            connection.request("POST", path, body, given)
            return connection.getresponse().status
        except (http.client.HTTPException, ValueError) as error:  # not HTTP; or cut off in the middle of it
            raise OSError(f"no answer of HTTP ({type(error).__name__})") from error


@contextmanager
def _connected(
    connection: http.client.HTTPConnection, address: str, port: int, secure: str | None, seconds: float
) -> Iterator[None]:
    """Connect to an address, with TLS for the name ``secure``; cut off when the time is over, however slow it is."""
    plain = socket.create_connection((address, port), timeout=seconds)

    def cut() -> None:
        with suppress(OSError):
            plain.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        with plain:
            if secure is None:
                connection.sock = plain
                yield
            else:
                with ssl.create_default_context().wrap_socket(plain, server_hostname=secure) as wrapped:
                    connection.sock = wrapped
                    yield
    finally:
        timer.cancel()
        connection.close()


Body = Callable[[str], bytes]
"""The body of a webhook, from the id of its job."""


class WebhookSender:
    """Sends webhooks that are due, in threads of the web process."""

    def __init__(
        self, engine: sa.Engine, bodies: Mapping[str, Body], secret_of: Callable[[str], bytes], allowed: Collection[str]
    ) -> None:
        """A sender.

        Args:
            engine: the database.
            bodies: how the body is made, by the webhook's kind.
            secret_of: the secret of an owner.
            allowed: as for ``public_address``.
        """
        self._engine, self._bodies, self._secret_of, self._allowed = engine, bodies, secret_of, allowed
        self._stop = threading.Event()
        self._sending: set[str] = set()

    def start(self) -> None:
        """Send what is due from now on."""
        threading.Thread(target=self._run, daemon=True, name="mien-webhooks").start()

    def stop(self) -> None:
        """Start no further try."""
        self._stop.set()

    def _run(self) -> None:
        with ThreadPoolExecutor(CONCURRENT, thread_name_prefix="mien-webhook") as pool:
            while not self._stop.wait(POLL_SECONDS):
                try:
                    due = self._due()
                except DBAPIError:
                    continue
                for one in due:
                    self._sending.add(one.id)
                    pool.submit(self._try, one)

    def _due(self) -> list[Any]:
        """Webhooks whose time has come; the next try is planned before this one, in case the process is killed.

        One that is being sent is left out: its receiver may take longer than the pause to the next try.
        """
        time_now = now(self._engine)
        ready = (hooks.c.due <= time_now) & hooks.c.id.not_in(list(self._sending))
        with self._engine.execution_options(reads=True).begin() as db:
            found = list(db.execute(sa.select(hooks).where(ready).limit(4 * CONCURRENT)))
        if found:
            with self._engine.begin() as db:
                for one in found:
                    due = time_now + PAUSES[one.tries] if one.tries < len(PAUSES) else sa.null()
                    changed = sa.update(hooks).where(hooks.c.id == one.id)
                    db.execute(changed.values(tries=one.tries + 1, due=due))
        return found

    def _change(self, hook: str, **values: str | None) -> None:
        with suppress(DBAPIError), self._engine.begin() as db:
            db.execute(sa.update(hooks).where(hooks.c.id == hook).values(**values))

    def _try(self, hook: Any) -> None:
        status = 0
        try:
            body = hook.body or self._bodies[hook.kind](hook.job).decode()
            if hook.body is None:
                self._change(hook.id, body=body)  # every try sends the same
            signed = sign(self._secret_of(hook.owner), hook.id, int(time.time()), body.encode())
            status = send(hook.url, body.encode(), signed, self._allowed)
            reason = "" if 200 <= status < 300 else f"status {status}"
        except Exception as error:  # noqa: BLE001 - whatever it was, it is tried again, and the pool would hide it
            reason = type(error).__name__
        if not reason or status == 410:
            self._change(hook.id, due=None)
        self._sending.discard(hook.id)
        if reason:
            terminal.warn(f"webhook {hook.id}: try {hook.tries + 1} of {len(PAUSES) + 1} failed ({reason})")
