"""The application: routers behind the guard, a sweep of what is too old, and the log of requests."""

import asyncio
import json
import math
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from fastapi import FastAPI
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool

from mien import terminal
from mien.serving.disk import ORPHAN_SECONDS
from mien.serving.retention import Ages, sweep
from mien.serving.web import hume, jobs, keys, live, operations, pages, results, uploads
from mien.serving.web.access import Server
from mien.serving.web.guard import Guard
from mien.serving.web.metrics import Metrics
from mien.serving.web.problems import RESPONSES, ProblemDetails, add_handlers
from mien.serving.web.recording import recover
from mien.serving.webhooks import Body, WebhookSender

ANSWERS = ("http.response.start", "websocket.accept", "websocket.http.response.start")
OPEN_PATHS = ("/healthz", "/readyz")
NO_TELEMETRY: Any = dict.fromkeys(("tracing", "metrics", "logs", "operation_spans", "auto_configure"), False)
"""FastAPI would otherwise report requests to an OpenTelemetry collector named in the environment."""


def make_app(server: Server, *, loopback: bool = True, log: bool = True) -> "Log":
    """The ASGI application of a server.

    Args:
        server: database, queue, files and limits.
        loopback: it is bound to a loopback address.
        log: write a line of JSON per request to the error stream.
    """

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        ages = Ages(server.engine)
        await _sweep(server, ages, 0.0)  # nothing is on its way yet to get its row
        sweeping = asyncio.create_task(_sweeping(server, ages))
        sender = WebhookSender(server.engine, _bodies(server), server.secret_of, server.limits.webhook_hosts)
        sender.start()
        yield
        sender.stop()
        sweeping.cancel()
        await server.scorers.close()

    app = FastAPI(
        title="mien", version="1", lifespan=life, docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json",
        telemetry=NO_TELEMETRY,
    )  # fmt: skip
    app.state.server = server
    add_handlers(app)
    for part in (uploads, jobs, results, keys, operations, hume, pages):
        app.include_router(part.router, responses=RESPONSES)
    app.include_router(live.router)
    _describe(app)
    return Log(Guard(app, server.limits, loopback), server.metrics, log)


def _describe(app: FastAPI) -> None:
    """Add what FastAPI does not know to the description of the interface: errors, and how a key is sent."""
    made = app.openapi()
    parts = made.setdefault("components", {})
    parts.setdefault("schemas", {})["ProblemDetails"] = ProblemDetails.model_json_schema()
    parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, methods in made["paths"].items():
        for method, described in methods.items():
            described["security"] = [] if path in OPEN_PATHS or method == "options" else [{"key": []}]


def _bodies(server: Server) -> dict[str, Body]:
    """How the bodies of webhooks are made, by kind."""
    return {"job": lambda job: jobs.webhook_body(server, job), "hume": lambda job: hume.callback_body(server, job)}


async def _sweeping(server: Server, ages: Ages) -> None:
    while True:
        await asyncio.sleep(server.limits.sweep_seconds)
        await _sweep(server, ages, ORPHAN_SECONDS)


async def _sweep(server: Server, ages: Ages, orphan_seconds: float) -> None:
    try:
        doubtful = await run_in_threadpool(ages.keep)
        oldest = math.inf if doubtful else orphan_seconds
        await run_in_threadpool(sweep, server.engine, server.disk, server.limits, oldest)
        await run_in_threadpool(recover, server)
    except (DBAPIError, OSError) as error:  # a locked database, a damaged disk
        terminal.warn(f"sweep of old files failed, and is repeated ({type(error).__name__})")


class Log:
    """ASGI middleware: gives each request an id, and logs it by its route, without names of files."""

    def __init__(self, app: Any, metrics: Metrics, log: bool) -> None:
        """Around an application; ``log``: write lines to the error stream."""
        self._app, self._metrics, self._log = app, metrics, log

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        began, name, status = monotonic(), secrets.token_hex(8), 500

        async def sending(message: Any) -> None:
            nonlocal status
            if message["type"] in ANSWERS:
                status = message.get("status", 101)
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", name.encode())]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            seconds, route = monotonic() - began, getattr(scope.get("route"), "path", None)
            method = scope.get("method", "WEBSOCKET")
            if scope["type"] == "http":  # a session is as long as somebody wishes
                self._metrics.requested(method, route, status, seconds)
            if self._log:
                _write_line(method, route, name, status, seconds)


def _write_line(method: str, route: str | None, name: str, status: int, seconds: float) -> None:
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request": name,
        "method": method,
        "route": route,
        "status": status,
        "seconds": round(seconds, 4),
    }
    terminal.warn(json.dumps(line))
