"""Deletes what is too old: unused uploads, media, results, rows; and files without a row.

When the wall clock is set, by NTP after a start without a battery or by hand, everything would be older or younger by
hours at once. So the times of what is stored are moved along, and ages stay what they were.
"""

import math
from typing import Any

import sqlalchemy as sa

from mien import terminal
from mien.serving import clock
from mien.serving.database import clips, events, hooks, jobs, now, recordings, uploads
from mien.serving.disk import ORPHAN_SECONDS, Disk
from mien.serving.settings import ServeSettings

LEAP_SECONDS = 60.0
"""A clock that differs by less from the steady one was not set, but drifts."""
DATED = (uploads.c.created, jobs.c.created, jobs.c.started, jobs.c.ended, hooks.c.due)


class Ages:
    """Keeps the ages of what is stored while the wall clock is set. One process of a server does this."""

    def __init__(self, engine: sa.Engine) -> None:
        """From now on."""
        self._engine = engine
        with engine.execution_options(reads=True).begin() as db:
            self._wall, self._steady = self._read(db)
        self._leapt = -math.inf

    def keep(self) -> float:
        """Move the times of what is stored if the clock was set since the last call.

        Returns:
            Seconds for which the age of a file cannot be trusted any more; 0 if it can.
        """
        with self._engine.begin() as db:
            wall, steady = self._read(db)
            elapsed = steady - self._steady
            leap = wall - self._wall - elapsed
            if abs(leap) > LEAP_SECONDS:
                for column in DATED:
                    self._move(db, column, leap, wall, elapsed)
        self._wall, self._steady = wall, steady
        if abs(leap) > LEAP_SECONDS:
            terminal.warn(f"the clock was set by {leap:+,.0f} s; what is stored keeps its age")
            self._leapt = steady
        return max(0.0, ORPHAN_SECONDS - (steady - self._leapt))

    def _move(self, db: sa.Connection, column: sa.Column[Any], leap: float, wall: float, elapsed: float) -> None:
        """Times by the old clock are moved; those of the last moments may be by either, and become young, not old."""
        old = column <= wall - leap
        if leap < 0:
            old &= sa.not_(column.between(wall - elapsed, wall))
        db.execute(sa.update(column.table).where(old).values({column.name: column + leap}))

    def _read(self, db: sa.Connection) -> tuple[float, float]:
        return float(db.scalar(sa.select(now(self._engine))) or 0.0), clock.steady_seconds()


def sweep(engine: sa.Engine, disk: Disk, limits: ServeSettings, orphan_seconds: float = ORPHAN_SECONDS) -> None:
    """Delete what is too old.

    Args:
        engine: the database.
        disk: the files.
        limits: how long things are kept.
        orphan_seconds: age from which a file without a row is deleted.
    """
    _uploads(engine, disk, limits)
    _media(engine, disk, limits)
    _results(engine, disk, limits)
    with engine.execution_options(reads=True).begin() as db:
        kept = set(db.scalars(sa.select(uploads.c.id).where(uploads.c.job.is_(None)).union(sa.select(recordings.c.id))))
        known = set(db.scalars(sa.select(jobs.c.id).where(jobs.c.state != "expired")))
    for path in disk.orphans(kept, known, orphan_seconds):
        disk.discard(path)
    disk.empty_trash()


def _uploads(engine: sa.Engine, disk: Disk, limits: ServeSettings) -> None:
    old = uploads.c.job.is_(None) & (uploads.c.created < now(engine) - limits.upload_seconds)
    with engine.begin() as db:
        gone = db.scalars(sa.delete(uploads).where(old).returning(uploads.c.id)).all()
    for upload in gone:
        disk.remove_upload(upload)


def _media(engine: sa.Engine, disk: Disk, limits: ServeSettings) -> None:
    ended = jobs.c.media & jobs.c.ended.is_not(None)
    at_once = jobs.c.request["keep"].as_string() == "none"
    old = ended & (at_once | (jobs.c.ended < now(engine) - limits.media_seconds))
    for job in _marked(engine, old, {"media": False}):
        disk.remove_media(job)


def _results(engine: sa.Engine, disk: Disk, limits: ServeSettings) -> None:
    time = now(engine)
    old = jobs.c.ended.is_not(None) & (jobs.c.state != "expired") & (jobs.c.ended < time - limits.result_seconds)
    for job in _marked(engine, old, {"state": "expired", "media": False}):
        disk.remove_job(job)
    forgotten = (jobs.c.state == "expired") & (jobs.c.ended < time - limits.row_seconds)
    with engine.begin() as db:
        gone = db.scalars(sa.delete(jobs).where(forgotten).returning(jobs.c.id)).all()
        for column in (clips.c.job, events.c.job, uploads.c.job, hooks.c.job):
            db.execute(sa.delete(column.table).where(column.in_(gone)))


def _marked(engine: sa.Engine, which: Any, values: dict[str, Any]) -> list[str]:
    with engine.begin() as db:
        return list(db.scalars(sa.update(jobs).where(which).values(**values).returning(jobs.c.id)))
