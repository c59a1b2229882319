"""Health, the model, metrics."""

import base64
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from mien.serving.database import about, living, workers
from mien.serving.names import without_folders
from mien.serving.web.access import Admin, Scorer, Server, Shared
from mien.serving.web.problems import Problem

router = APIRouter(tags=["operations"])


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """The web process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(server: Shared) -> dict[str, str]:
    """The database answers, and a worker lives."""
    if not _living(server):
        trouble = "" if server.supervisor is None else server.supervisor.trouble
        more = f"; the last one that tried: {without_folders(trouble)}" if trouble else ""
        raise Problem(503, f"no worker has a model loaded{more}", {"Retry-After": "5"})
    return {"status": "ok"}


@router.get("/v1/model")
def model(server: Shared, who: Scorer) -> dict[str, Any]:  # noqa: ARG001
    """The model that scores, and its targets."""
    with server.engine.execution_options(reads=True).begin() as db:
        found = db.scalar(sa.select(about.c.value).where(about.c.name == "model"))
    if found is None:
        raise Problem(503, "no worker has loaded the model yet", {"Retry-After": "5"})
    return found


@router.get("/v1/webhooks/secret")
def webhooks_secret(server: Shared, who: Scorer) -> dict[str, str]:
    """The secret by which webhooks of this key's jobs are signed (Standard Webhooks)."""
    return {"secret": f"whsec_{base64.b64encode(server.secret_of(who.id)).decode()}"}


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(server: Shared, who: Admin) -> Response:  # noqa: ARG001
    """Metrics for Prometheus."""
    return Response(
        server.metrics.shown(server.engine, _living(server), server.scorers.sessions), media_type=CONTENT_TYPE_LATEST
    )


def _living(server: Server) -> int:
    alive = living(server.engine, server.limits.lease_seconds)
    with server.engine.execution_options(reads=True).begin() as db:
        return db.scalar(sa.select(sa.func.count()).select_from(workers).where(alive)) or 0
