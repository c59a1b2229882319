"""Deletes what is too old: unused uploads, media, results, rows; and files without a row."""

from typing import Any

import sqlalchemy as sa

from mien.serving.database import clips, events, hooks, jobs, now, uploads
from mien.serving.disk import ORPHAN_SECONDS, Disk
from mien.serving.settings import ServeSettings


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
        kept = set(db.scalars(sa.select(uploads.c.id).where(uploads.c.job.is_(None))))
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
