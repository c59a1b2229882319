"""Metrics for Prometheus: of requests as they come, of jobs from the database when they are asked for."""

import threading
import time

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mien.serving.database import clips, jobs, now, stored_bytes

REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
LAG_SECONDS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 15.0)
JOB_SECONDS = (1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400)


class Metrics:
    """Counters since the start of the web process, and gauges of the moment."""

    def __init__(self) -> None:
        """Nothing counted yet."""
        self._registry, self._lock = CollectorRegistry(), threading.Lock()
        self._requests = Histogram(
            "http_request_duration_seconds", "time to answer", ["method", "route", "status"],
            registry=self._registry, buckets=REQUEST_SECONDS,
        )  # fmt: skip
        self._seconds = Histogram(
            "mien_job_seconds", "from a job's start to its end", registry=self._registry, buckets=JOB_SECONDS
        )
        self._clips = Counter("mien_clips", "clips of ended jobs", ["outcome"], registry=self._registry)
        self._jobs = Gauge("mien_jobs", "jobs by state", ["state"], registry=self._registry)
        self._oldest = Gauge("mien_queue_oldest_seconds", "age of the oldest waiting job", registry=self._registry)
        self._workers = Gauge("mien_workers", "workers alive", registry=self._registry)
        self._disk = Gauge("mien_disk_bytes", "bytes of stored media", registry=self._registry)
        self._sessions = Gauge("mien_live_sessions", "live sessions", registry=self._registry)
        self._lag = Histogram(
            "mien_live_lag_seconds", "from the arrival of a window's end to its scores", ["state"],
            registry=self._registry, buckets=LAG_SECONDS,
        )  # fmt: skip
        self._counted_until = time.time()

    def requested(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request; ``route`` is its template, so that ids do not become labels."""
        known = method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
        self._requests.labels(known, route or "none", status).observe(seconds)

    def live_lag(self, state: str, seconds: float) -> None:
        """Count a window of a live session, ``provisional`` or ``final``, that came so late."""
        self._lag.labels(state).observe(seconds)

    def shown(self, engine: sa.Engine, workers: int, sessions: int) -> bytes:
        """All metrics in the format of Prometheus.

        Args:
            engine: the database.
            workers: that are alive.
            sessions: live sessions that run.
        """
        with self._lock:
            self._jobs.clear()
            with engine.execution_options(reads=True).begin() as db:
                for state, count in db.execute(sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)):
                    self._jobs.labels(state).set(count)
                age = sa.select(now(engine) - sa.func.min(jobs.c.created)).where(jobs.c.state == "queued")
                self._oldest.set(max(0.0, db.scalar(age) or 0.0))
                self._count_ended(db, engine)
            self._workers.set(workers)
            self._sessions.set(sessions)
            self._disk.set(stored_bytes(engine))
            return generate_latest(self._registry)

    def _count_ended(self, db: sa.Connection, engine: sa.Engine) -> None:
        """Count jobs that ended since the last time, or since the start."""
        until = db.scalar(sa.select(now(engine))) or 0.0
        lately = (jobs.c.ended > self._counted_until) & (jobs.c.ended <= until)
        for started, ended in db.execute(sa.select(jobs.c.started, jobs.c.ended).where(lately)):
            if started is not None:
                self._seconds.observe(ended - started)
        counted = sa.select(clips.c.state, sa.func.count()).join(jobs, jobs.c.id == clips.c.job).where(lately)
        for state, count in db.execute(counted.group_by(clips.c.state)):
            self._clips.labels("not scored" if state == "queued" else state).inc(count)
        self._counted_until = until
