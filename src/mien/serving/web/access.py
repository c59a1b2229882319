"""Who asks, and whether he may: keys with scopes, and the cookie of the page.

A key is ``mien-`` and 32 random bytes. Only its SHA-256 is stored; a key has too many bits to be guessed from it, so no
slow hash is needed. It is looked up by its hash and compared in constant time.

A page cannot send headers with ``<video>`` or ``EventSource``, so it uses a cookie, which it gets for the one-time
token of the address that ``mien serve`` prints.
"""

import hashlib
import hmac
import math
import os
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Annotated

import sqlalchemy as sa
from fastapi import Depends, Request, WebSocket
from starlette.requests import HTTPConnection

from mien.serving.database import keys, now
from mien.serving.disk import Disk
from mien.serving.live import Scorers
from mien.serving.queue import Queue, new_id
from mien.serving.settings import ServeSettings
from mien.serving.supervisor import Supervisor
from mien.serving.web.guard import UNSAFE
from mien.serving.web.metrics import Metrics
from mien.serving.web.problems import Problem
from mien.storage.files import writing

SCOPES = ("score", "live", "admin")


@dataclass(frozen=True)
class Principal:
    """Who sends a request: the id of a key, or ``local``, and what it may do."""

    id: str
    scopes: tuple[str, ...]


LOCAL = Principal("local", SCOPES)


@dataclass
class Server:
    """What the routers share: ``request.app.state.server``.

    Attributes:
        local_key: SHA-256 of the key in the data folder.
        scorers: processes of live sessions.
        token: the one-time token of the printed address; empty once used.
        cookies: by the SHA-256 of a cookie that was given to a browser, the id of its key, or ``local``.
        busy: uploads that a request is writing to.
        receiving: bytes announced by uploads in flight that have no row yet.
        rates: requests of each key lately.
        metrics: of the requests and of the jobs that ended.
        supervisor: of the workers that this server starts.
    """

    engine: sa.Engine
    queue: Queue
    disk: Disk
    limits: ServeSettings
    local_key: str
    scorers: Scorers
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    cookies: dict[str, str] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    receiving: dict[str, int] = field(default_factory=dict)
    rates: "Rates" = field(init=False)
    metrics: Metrics = field(default_factory=Metrics)
    supervisor: Supervisor | None = None

    def __post_init__(self) -> None:
        self.rates = Rates(self.limits)

    def secret_of(self, owner: str) -> bytes:
        """The secret that signs the webhooks of an owner."""
        return webhook_secret(self.disk.root, owner)

    def redeem(self, token: str) -> str | None:
        """The cookie for the one-time token; ``None`` if it is wrong or was used."""
        if not self.token or not hmac.compare_digest(token.encode(), self.token.encode()):
            return None
        self.token = ""
        return self.sign_in(LOCAL)

    def sign_in(self, who: Principal) -> str:
        """A cookie for the browser of somebody who has shown a key or the one-time token."""
        cookie = secrets.token_urlsafe(32)
        self.cookies[_sha256(cookie)] = who.id
        return cookie


class Rates:
    """A bucket of tokens per key and kind of request, filled at a constant rate; it holds those of two seconds."""

    def __init__(self, limits: ServeSettings) -> None:
        """Empty; the rates are those of the limits."""
        self._limits, self._lock = limits, threading.Lock()
        self._buckets: dict[tuple[str, bool], tuple[float, float]] = {}

    def take(self, key: str, changes: bool) -> float:
        """Take a token; returns 0, or the seconds after which there is one again."""
        rate = self._limits.posts_per_second if changes else self._limits.gets_per_second
        most, time = max(1.0, 2 * rate), monotonic()
        with self._lock:
            left, since = self._buckets.get((key, changes), (most, time))
            left = min(most, left + (time - since) * rate)
            self._buckets[key, changes] = (left - 1 if left >= 1 else left, time)
        return 0.0 if left >= 1 else (1 - left) / rate


def webhook_secret(folder: Path, owner: str) -> bytes:
    """The secret that signs the webhooks of an owner; derived from one in ``folder/webhook-secret``."""
    return hmac.digest(_secret_file(folder / "webhook-secret").encode(), owner.encode(), hashlib.sha256)


def local_key(folder: Path) -> str:
    """The SHA-256 of the key in ``folder/key``, which only its owner can read; made if it is not there."""
    return _sha256(_secret_file(folder / "key"))


def _secret_file(file: Path) -> str:
    if not file.exists():
        with writing(file):
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as opened:
                opened.write(_new_key() + "\n")
    return file.read_text(encoding="ascii").strip()


def add_key(engine: sa.Engine, name: str, scopes: Sequence[str]) -> tuple[str, str]:
    """A new key; returns its id, and the key itself, which is stored nowhere."""
    made, key = new_id("key"), _new_key()
    values = {"id": made, "name": name, "sha256": _sha256(key), "scopes": list(scopes), "created": now(engine)}
    with engine.begin() as db:
        db.execute(sa.insert(keys).values(**values))
    return made, key


def has_keys(engine: sa.Engine) -> bool:
    """Whether any key was made."""
    with engine.execution_options(reads=True).begin() as db:
        return bool(db.scalar(sa.select(sa.func.count()).select_from(keys)))


def server_of(request: Request) -> Server:
    """What the routers share."""
    return request.app.state.server


def principal(request: Request) -> Principal:
    """Who sends a request.

    Raises:
        Problem: 401, it has no valid key or cookie; 429, too many requests lately.
    """
    return _within_rate(server_of(request), _known(request, server_of(request)), request.method in UNSAFE)


def socket_principal(socket: WebSocket, scope: str) -> Principal:
    """Who opens a WebSocket.

    Raises:
        Problem: 401, no valid key or cookie; 403, it lacks the scope; 429, too many requests lately.
    """
    server: Server = socket.app.state.server
    return _with_scope(_within_rate(server, _known(socket, server), changes=True), scope)


def _within_rate(server: Server, who: Principal, changes: bool) -> Principal:
    if seconds := server.rates.take(who.id, changes):
        raise Problem(429, "too many requests of this key", {"Retry-After": str(math.ceil(seconds))})
    return who


def _with_scope(who: Principal, scope: str) -> Principal:
    if scope not in who.scopes and "admin" not in who.scopes:
        raise Problem(403, f"the key lacks the scope {scope}")
    return who


def _known(request: HTTPConnection, server: Server) -> Principal:
    who = None
    if key := _key_in(request):
        who = holder(server, key)
    elif cookie := request.cookies.get(cookie_name(request)):
        who = _signed_in(server, cookie)
    if who is not None:
        return who
    detail = (
        "no valid key; send Authorization: Bearer KEY (the key of this machine's user is in the file key of --data)"
    )
    raise Problem(401, detail, {"WWW-Authenticate": "Bearer"})


def cookie_name(request: HTTPConnection) -> str:
    """The name of this server's cookie, by the port that it listens on.

    Browsers keep one cookie of a name for all ports of a host, so a second server there would sign its users out.
    """
    return f"mien-{request.scope['server'][1]}"


def holder(server: Server, key: str) -> Principal | None:
    """Who holds a key; ``None`` if there is no such key."""
    digest = _sha256(key)
    if hmac.compare_digest(digest, server.local_key):
        return LOCAL
    with server.engine.execution_options(reads=True).begin() as db:
        found = db.execute(sa.select(keys).where(keys.c.sha256 == digest)).first()
    known = found is not None and hmac.compare_digest(found.sha256, digest)
    return Principal(found.id, tuple(found.scopes)) if found is not None and known else None


def _signed_in(server: Server, cookie: str) -> Principal | None:
    """Whose cookie it is; ``None`` once its key was deleted."""
    key = server.cookies.get(_sha256(cookie))
    if key is None or key == LOCAL.id:
        return LOCAL if key else None
    with server.engine.execution_options(reads=True).begin() as db:
        found = db.execute(sa.select(keys).where(keys.c.id == key)).first()
    return None if found is None else Principal(found.id, tuple(found.scopes))


def _allowed(scope: str) -> object:
    def check(who: Annotated[Principal, Depends(principal)]) -> Principal:
        return _with_scope(who, scope)

    return Depends(check)


Scorer = Annotated[Principal, _allowed("score")]
Admin = Annotated[Principal, _allowed("admin")]
Shared = Annotated[Server, Depends(server_of)]


def may_see(who: Principal, owner: str) -> bool:
    """Whether somebody sees the uploads and jobs of an owner: his own, or as administrator all."""
    return who.id == owner or "admin" in who.scopes


def _key_in(request: HTTPConnection) -> str:
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    own = request.headers.get("x-api-key") or request.headers.get("x-hume-api-key", "")
    return key.strip() if kind.lower() == "bearer" else own


def _new_key() -> str:
    return f"mien-{secrets.token_hex(32)}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
