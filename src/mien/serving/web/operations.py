"""Health, the model, metrics."""

from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from mien.serving.database import about, clips, jobs, now, workers
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
        raise Problem(503, "no worker has a model loaded", {"Retry-After": "5"})
    return {"status": "ok"}


@router.get("/v1/model")
def model(server: Shared, who: Scorer) -> dict[str, Any]:  # noqa: ARG001
    """The model that scores, and its targets."""
    with server.engine.execution_options(reads=True).begin() as db:
        found = db.scalar(sa.select(about.c.value).where(about.c.name == "model"))
    if found is None:
        raise Problem(503, "no worker has loaded the model yet", {"Retry-After": "5"})
    return found


@router.get("/metrics")
def metrics(server: Shared, who: Admin) -> Response:  # noqa: ARG001
    """Metrics for Prometheus."""
    registry = CollectorRegistry()
    states = Gauge("mien_jobs", "jobs by state", ["state"], registry=registry)
    outcomes = Gauge("mien_clips", "stored clips by outcome", ["outcome"], registry=registry)
    oldest = Gauge("mien_queue_oldest_seconds", "age of the oldest waiting job", registry=registry)
    with server.engine.execution_options(reads=True).begin() as db:
        for state, count in db.execute(sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)):
            states.labels(state).set(count)
        for state, count in db.execute(sa.select(clips.c.state, sa.func.count()).group_by(clips.c.state)):
            outcomes.labels(state).set(count)
        age = sa.select(now(server.engine) - sa.func.min(jobs.c.created)).where(jobs.c.state == "queued")
        oldest.set(max(0.0, db.scalar(age) or 0.0))
    Gauge("mien_workers", "workers alive", registry=registry).set(_living(server))
    Gauge("mien_disk_bytes", "bytes of stored media", registry=registry).set(server.disk.used_bytes())
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _living(server: Server) -> int:
    alive = workers.c.seen > now(server.engine) - server.limits.lease_seconds
    with server.engine.execution_options(reads=True).begin() as db:
        return db.scalar(sa.select(sa.func.count()).select_from(workers).where(alive)) or 0
