"""The slices of a live session as a file, which becomes a job when the session ends.

The job is known from the first slice on: a row of ``recordings`` says whose it is, with which windows and marks. So
what had come when the server was killed becomes a job when it starts again, and a recording for which the database or
the queue has no room becomes one as soon as there is.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, BinaryIO

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool

from mien import terminal
from mien.errors import MienError, OutputError, escape_control
from mien.serving.database import recordings, uploads
from mien.serving.queue import new_id
from mien.serving.web.access import Principal, Server
from mien.serving.web.jobs import JobRequest, enqueue, new_job
from mien.serving.web.problems import Problem
from mien.serving.web.uploads import CHECK_BYTES, check_room, insert
from mien.storage.files import in_bytes, sha256_of, writing

Marks = Sequence[Mapping[str, Any]]


class Recording:
    """The file of a session that runs."""

    def __init__(self, server: Server, who: Principal, ending: str, windows: float, hop: float) -> None:
        """An empty file, and the job that it is to become.

        Raises:
            OutputError: the file cannot be made.
            DBAPIError: the database is not available.
        """
        self._server, self._id, self._size, self._checked = server, new_id("file"), 0, 0
        self._path = server.disk.upload(self._id)
        self._request: dict[str, Any] = {"windows": windows, "hop": hop, "marks": []}
        name = f"live-{datetime.now(UTC):%Y-%m-%d-%H%M%S}.{ending}"
        server.receiving[self._id] = 0
        try:
            with writing(self._path):
                self._file: BinaryIO | None = self._path.open("xb")
            with server.engine.begin() as db:
                row = {"id": self._id, "owner": who.id, "name": name, "request": self._request}
                db.execute(sa.insert(recordings).values(**row))
        except BaseException:
            del server.receiving[self._id]
            self._path.unlink(missing_ok=True)
            raise

    async def add(self, data: bytes) -> str:
        """Write a slice, so that it is there when the server is killed; why the recording ends before it, once."""
        if self._file is None:
            return ""
        try:
            if self._size + len(data) > self._server.limits.file_bytes:
                raise Problem(413, f"at most {in_bytes(self._server.limits.file_bytes)} a file are accepted")
            if self._size > self._checked + CHECK_BYTES:
                self._checked = self._size
                with suppress(DBAPIError):  # it is asked again after as many bytes
                    await run_in_threadpool(check_room, self._server, 0)
            with writing(self._path):
                self._file.write(data)
                self._file.flush()
        except (Problem, MienError) as error:
            self._close()
            return reason_of(error)
        self._size = self._server.receiving[self._id] = self._size + len(data)
        return ""

    async def mark(self, marks: Marks) -> None:
        """Store the marks so far; those that cannot be stored now are stored with the next, or at the end."""
        with suppress(DBAPIError):
            await run_in_threadpool(self._store_marks, marks)

    async def finish(self, marks: Marks) -> tuple[str | None, str]:
        """Make it a job; its id, ``None`` if there is none, and why not, which is empty if nothing had come."""
        self._close()
        try:
            return await run_in_threadpool(self._finish, marks), ""
        except (Problem, MienError, DBAPIError, OSError) as error:
            hours = self._server.limits.upload_seconds / 3600
            return None, f"the recording waits to become a job ({reason_of(error)}); this is tried for {hours:g} h"
        finally:
            del self._server.receiving[self._id]

    def _finish(self, marks: Marks) -> str | None:
        if list(marks) != self._request["marks"]:
            self._store_marks(marks)
        return _enter(self._server, self._id)

    def _store_marks(self, marks: Marks) -> None:
        request = {**self._request, "marks": list(marks)}
        with self._server.engine.begin() as db:
            db.execute(sa.update(recordings).where(recordings.c.id == self._id).values(request=request))
        self._request = request

    def _close(self) -> None:
        """Close the file; what is left of a slice that could not be written is cut off."""
        if self._file is None:
            return
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            os.truncate(self._path, self._size)
        self._file = None


def recover(server: Server) -> None:
    """Make jobs of the recordings whose sessions run no more."""
    with server.engine.execution_options(reads=True).begin() as db:
        found = db.scalars(sa.select(recordings.c.id)).all()
    for recording in found:
        if recording in server.receiving:
            continue
        try:
            if job := _enter(server, recording):
                terminal.warn(f"a live session had been cut off; its recording is the job {job}")
        except (Problem, MienError, OSError) as error:
            terminal.warn(f"the recording of a live session waits to become a job: {reason_of(error)}")


def _enter(server: Server, recording: str) -> str | None:
    """Make a recording a job, also if that was broken off before; its id, ``None`` if nothing had come.

    Raises:
        Problem: too many jobs wait.
        OutputError: the disk is full.
        DBAPIError: the database is not available.
        OSError: the file cannot be read.
    """
    path, job = server.disk.upload(recording), None
    with server.engine.execution_options(reads=True).begin() as db:
        row = db.execute(sa.select(recordings).where(recordings.c.id == recording)).one()
        known = db.scalar(sa.select(uploads.c.id).where(uploads.c.id == recording))
    size = path.stat().st_size if known is None and path.exists() else 0
    if size:
        with path.open("rb") as file:
            os.fsync(file.fileno())
        values = {"id": recording, "owner": row.owner, "name": row.name, "bytes": size, "sha256": sha256_of(path)}
        insert(server, values)
    if size or known is not None:
        asked = JobRequest(files=[recording], windows=row.request["windows"], hop=row.request["hop"])
        new = new_job(asked, Principal(row.owner, ()), f"live {recording}")
        job = enqueue(server, replace(new, request={**new.request, "marks": row.request["marks"]}))
    with server.engine.begin() as db:
        db.execute(sa.delete(recordings).where(recordings.c.id == recording))
    if job is None:
        path.unlink(missing_ok=True)
    return job


def reason_of(error: Exception) -> str:
    """What is wrong with a message, or stops a recording, in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return escape_control(f"{'.'.join(map(str, first['loc'])) or 'message'}: {first['msg']}"[:300])
    if isinstance(error, DBAPIError):
        return "the database is busy or not available"
    if isinstance(error, OutputError):  # its text names the file, and is for whoever has started the command
        return "the server's disk is full or cannot be written"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return escape_control(str(error)[:300])
