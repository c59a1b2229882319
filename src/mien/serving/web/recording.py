"""The slices of a live session as an upload, which becomes a job when it ends."""

import hashlib
from contextlib import suppress
from datetime import UTC, datetime
from typing import BinaryIO

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool

from mien.errors import MienError, escape_control
from mien.serving.queue import new_id
from mien.serving.web.access import Principal, Server
from mien.serving.web.problems import Problem
from mien.serving.web.uploads import CHECK_BYTES, check_room, insert
from mien.storage.files import in_bytes, writing


class Recording:
    """The slices as an upload."""

    def __init__(self, server: Server, who: Principal, ending: str) -> None:
        """An empty file."""
        self._server, self._who = server, who
        self._id, self._name = new_id("file"), f"live-{datetime.now(UTC):%Y-%m-%d-%H%M%S}.{ending}"
        self._path = server.disk.upload(self._id)
        self._digest, self._size, self._checked = hashlib.sha256(), 0, 0
        with writing(self._path):
            self._file: BinaryIO | None = self._path.open("xb")
        server.receiving[self._id] = 0

    async def add(self, data: bytes) -> str:
        """Write a slice; why the recording ends before it, the first time that it does."""
        if self._file is None:
            return ""
        try:
            if self._size + len(data) > self._server.limits.file_bytes:
                raise Problem(413, f"at most {in_bytes(self._server.limits.file_bytes)} a file are accepted")
            if self._size > self._checked + CHECK_BYTES:
                self._checked = self._size
                await run_in_threadpool(check_room, self._server, 0)
            with writing(self._path):
                self._file.write(data)
        except (Problem, MienError) as error:
            self._close()
            return reason_of(error)
        self._digest.update(data)
        self._size = self._server.receiving[self._id] = self._size + len(data)
        return ""

    async def finish(self) -> str | None:
        """Enter it as a complete upload; its id, or ``None`` if nothing came, or it cannot be stored."""
        self._close()
        try:
            if not self._size:
                return None
            row = {"id": self._id, "owner": self._who.id, "name": self._name, "bytes": self._size,
                   "sha256": self._digest.hexdigest()}  # fmt: skip
            await run_in_threadpool(insert, self._server, row)
            return self._id
        except DBAPIError:
            self._size = 0
            return None
        finally:
            del self._server.receiving[self._id]
            if not self._size:
                self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        with suppress(OSError):
            if self._file is not None:
                self._file.close()
        self._file = None


def reason_of(error: Exception) -> str:
    """What is wrong with a message, in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return escape_control(f"{'.'.join(map(str, first['loc'])) or 'message'}: {first['msg']}"[:300])
    return escape_control(str(error)[:300])
