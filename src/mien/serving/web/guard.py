"""Checks of every request before it is routed: Host, Origin, size and pace of its body.

A page of another site that resolves to this machine (DNS rebinding) sends a foreign Host; one that posts a form sends a
foreign Origin. Both are refused. A body that is too large, or that comes too slowly, ends the request.

Source: CVE-2025-66414; Jupyter Server, ``allow_remote_access``.
"""

import asyncio
import ipaddress
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from time import monotonic
from typing import Any

import h11
from starlette.datastructures import Headers
from uvicorn.protocols.http.h11_impl import H11Protocol

from mien.serving.settings import ServeSettings
from mien.serving.web.problems import Problem, problem_response

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
UPLOAD = re.compile(r"/v1/(files|uploads/[^/]+)/?$")
FORMS = ("/v0/batch/jobs", "/clips")
FORM_BYTES = 1_000_000
"""Room for the heads of a form's parts, beside its files; any other body there is bounded like those elsewhere."""


class Guard:
    """ASGI middleware with the checks."""

    def __init__(self, app: Any, limits: ServeSettings, loopback: bool) -> None:
        """``loopback``: the server is bound to a loopback address, so only its names are accepted as Host."""
        self._app, self._limits, self._loopback = app, limits, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, then handle it."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        if detail := self._refusal(scope.get("method"), headers):
            return await problem_response(403, detail)(scope, receive, send)
        scope["path"] = re.sub("/{2,}", "/", scope["path"])
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        limit = self._most_bytes(scope["path"], headers.get("content-type", ""))
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            detail = f"the body has {length} bytes, at most {limit} are accepted"
            return await problem_response(413, detail)(scope, receive, send)
        body = _Body(receive, limit, self._limits)
        return await self._app(scope, body.receive, body.answering(scope, send))

    def _most_bytes(self, path: str, kind: str) -> int:
        if path.rstrip("/") in FORMS and kind.lower().startswith("multipart/"):
            return self._limits.job_bytes + self._limits.body_bytes + FORM_BYTES
        return self._limits.file_bytes if UPLOAD.match(path) else self._limits.body_bytes

    def _refusal(self, method: str | None, headers: Mapping[str, str]) -> str:
        """Why a request is refused; ``method`` is ``None`` for the handshake of a WebSocket."""
        host = headers.get("host", "")
        if self._loopback and not is_loopback(_name(host)):
            return "Host: this server is bound to a loopback address; use it by localhost"
        origin = headers.get("origin")
        if method in (None, *UNSAFE) and origin is not None and origin.partition("://")[2] != host:
            return "Origin: a page of another site may not change anything here"
        return ""


class _Body:
    """The body of a request; one that is too large or too slow ends the request with that problem.

    A framework may turn an exception of ``receive`` into another answer; so the answer is replaced here.
    """

    def __init__(self, receive: Receive, limit: int, limits: ServeSettings) -> None:
        self._receive, self._limit, self._limits = receive, limit, limits
        self._total = self._recent = 0
        self._waited = 0.0
        self._over = False
        self._problem: Problem | None = None

    async def receive(self) -> MutableMapping[str, Any]:
        """The next message of the request.

        Raises:
            Problem: 408 or 413.
        """
        if self._over:
            return await self._receive()
        began, seconds, least = monotonic(), self._limits.body_seconds, self._limits.body_progress_bytes
        try:
            message = await asyncio.wait_for(self._receive(), max(0.001, seconds - self._waited))
        except TimeoutError:
            raise self._ended(408, f"the body came too slowly, below {least} bytes in {seconds:g} s") from None
        self._waited += monotonic() - began  # only time spent waiting for the client
        size = len(message.get("body", b""))
        self._total += size
        self._recent += size
        if self._total > self._limit:
            raise self._ended(413, f"the body has more than {self._limit} bytes")
        if self._recent >= least:
            self._recent, self._waited = 0, 0.0
        self._over = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    def answering(self, scope: Scope, send: Send) -> Send:
        """``send`` that answers with the problem of the body, if there is one."""
        replaced = False

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal replaced
            if self._problem is not None and message["type"] == "http.response.start":
                replaced = True
                await problem_response(self._problem.status, self._problem.detail)(scope, self._receive, send)
            elif not replaced:
                await send(message)

        return sending

    def _ended(self, status: int, detail: str) -> Problem:
        self._over, self._problem = True, Problem(status, detail)
        return self._problem


class Protocol(H11Protocol):
    """HTTP/1.1 with deadlines that uvicorn lacks: for the head of a request, and for a client that reads its answer.

    What was sent waits in the transport's buffer until the client takes it. While more than a buffer's worth waits,
    the application is paused, and would hold its file and the connection for as long as the client likes.
    """

    header_seconds = 10.0
    reader_seconds = 30.0
    reader_bytes = 64_000
    _deadline: asyncio.TimerHandle | None = None
    _reader: asyncio.TimerHandle | None = None

    @classmethod
    def set_limits(cls, limits: ServeSettings) -> None:
        """The deadlines of all connections."""
        cls.header_seconds, cls.reader_seconds = limits.header_seconds, limits.reader_seconds
        cls.reader_bytes = limits.body_progress_bytes

    def connection_made(self, transport: Any) -> None:
        """A connection opens: its first head is due."""
        super().connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Bytes arrive: a complete head ends the deadline, the beginning of another one starts it.

        So does a body that still comes after its answer, which is read and thrown away: to close the connection at
        once would lose the answer.
        """
        super().data_received(data)
        theirs = self.conn.their_state
        if (theirs is h11.IDLE and self.conn.trailing_data[0]) or (
            theirs is h11.SEND_BODY and self.conn.our_state is h11.DONE
        ):
            self._arm()
        elif theirs is not h11.IDLE:
            self._disarm()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._disarm()
        self._reader_is_done()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read as fast as is sent: from here on, it must make progress."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """Nearly all was read."""
        super().resume_writing()
        self._reader_is_done()

    def _watch_reader(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._reader_is_done()
        self._reader = self.loop.call_later(self.reader_seconds, self._check_reader, waiting)

    def _check_reader(self, before: int) -> None:
        if before - self.transport.get_write_buffer_size() < self.reader_bytes:
            self.transport.abort()
        else:
            self._watch_reader()

    def _reader_is_done(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def _arm(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.header_seconds, self.transport.close)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def is_loopback(name: str) -> bool:
    """Whether a name or an address is of this machine.

    >>> is_loopback("localhost"), is_loopback("127.0.0.2"), is_loopback("::1"), is_loopback("127.0.0.1.evil.example")
    (True, True, True, False)
    """
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
