"""Files of a ``multipart/form-data`` body, written to the disk as they arrive, and hashed on the way.

The parser of the framework would first spool every file, without a limit, and copy it twice.
"""

import hashlib
import mimetypes
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from fastapi import Request
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from mien.errors import escape_control
from mien.serving.database import uploads
from mien.serving.names import file_name
from mien.serving.queue import new_id
from mien.serving.web.access import Server
from mien.serving.web.problems import Problem
from mien.serving.web.uploads import CHECK_BYTES, check_room, insert
from mien.storage.files import writing

MEDIA_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}", re.ASCII)


@dataclass(frozen=True)
class FormFile:
    """A file of a form, stored as a complete upload."""

    id: str
    name: str
    content_type: str
    bytes: int
    sha256: str
    md5: str


@dataclass
class Form:
    """What has arrived of a form: files, and the texts of its fields by name."""

    files: list[FormFile]
    fields: dict[str, bytes] = field(default_factory=dict)

    @property
    def json(self) -> bytes | None:
        """The text of the field ``json``."""
        return self.fields.get("json")


async def receive_form(request: Request, server: Server, owner: str, fields: Sequence[str] = ("json",)) -> Form:
    """Receive parts ``file`` (several), and ``fields`` (each at most once, at any place, as a field or as a file).

    Args:
        request: whose body is read.
        server: where the files are stored as uploads. If this fails, it has deleted them.
        owner: of the uploads.
        fields: names of the other parts.

    Raises:
        Problem: 400, not such a form; 413, too many files, or too large ones.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise Problem(400, "Content-Type: expected multipart/form-data with parts `file`")
    limits = server.limits
    form = Form([])
    parts = _Parts(server, owner, form, fields)
    checked = 0
    try:
        with _as_problems(limits.job_files), writing(server.disk.root), PushMultipartParser(
            options["boundary"], max_segment_size=limits.file_bytes, max_segment_count=limits.job_files + len(fields),
        ) as parser:  # fmt: skip
            async for chunk in request.stream():
                checked += len(chunk)
                if checked > CHECK_BYTES:
                    checked = 0
                    await run_in_threadpool(check_room, server, 0)
                for event in parser.parse(chunk) if chunk else ():
                    parts.take(event)
                    if event is None:
                        await run_in_threadpool(parts.end)
        if not form.files:
            raise Problem(400, "no file; send files as multipart parts `file`")
    except BaseException:
        parts.close()
        discard(server, form.files)
        raise
    finally:
        server.receiving.pop(parts.name, None)
    return form


def discard(server: Server, files: Sequence[FormFile]) -> None:
    """Delete files of a form that no job uses."""
    with server.engine.begin() as db:
        names = [file.id for file in files]
        free = uploads.c.id.in_(names) & uploads.c.job.is_(None)
        gone = db.scalars(sa.delete(uploads).where(free).returning(uploads.c.id)).all()
    for name in gone:
        server.disk.remove_upload(name)


class _Parts:
    """Writes the events of the parser: a head, bytes, and ``None`` at the end of each part."""

    def __init__(self, server: Server, owner: str, form: Form, fields: Sequence[str]) -> None:
        self._server, self._owner, self._form, self._fields = server, owner, form, fields
        self.name = new_id("form")
        self._head: MultipartSegment | None = None
        self._id = ""
        self._file: Any = None
        self._field = bytearray()
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)

    def take(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        """Begin a part, or write bytes of it."""
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif event is not None and self._file is not None:
            self._sha256.update(event)
            self._md5.update(event)
            self._file.write(event)
            self._server.receiving[self.name] += len(event)
        elif event is not None:
            self._field += event
            if len(self._field) > self._server.limits.body_bytes:
                name = "" if self._head is None else self._head.name
                raise Problem(413, f"{name}: at most {self._server.limits.body_bytes} bytes are accepted")

    def _begin(self, head: MultipartSegment) -> None:
        self._head = head
        if head.name == "file":
            self._id = new_id("file")
            self._file = self._path(self._id).open("xb")
            os.fchmod(self._file.fileno(), 0o600)
            self._server.receiving[self.name] = 0  # from here on, what has arrived of it has no row
            self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        elif head.name not in self._fields:
            known = ", ".join(f"`{name}`" for name in self._fields)
            raise Problem(400, f"part {escape_control(head.name or '')[:100]!r}: expected `file` and {known}")
        elif head.name in self._form.fields:
            raise Problem(400, f"{head.name}: sent twice")
        self._field.clear()

    def end(self) -> None:
        """End a part; a file is flushed to the disk."""
        assert self._head is not None
        if self._file is None:
            self._form.fields[self._head.name or ""] = bytes(self._field)
            return
        name = file_name(self._head.filename or "clip")
        if not self._head.size:
            raise Problem(400, f"{name}: the file is empty")
        self._file.flush()
        os.fsync(self._file.fileno())
        file = FormFile(
            self._id, name, _media_type(self._head, name), self._head.size, self._sha256.hexdigest(),
            self._md5.hexdigest(),
        )  # fmt: skip
        insert(self._server, {"id": file.id, "owner": self._owner, "name": name, "bytes": file.bytes,
                              "sha256": file.sha256})  # fmt: skip
        self._form.files.append(file)
        self._server.receiving[self.name] = 0
        self._file.close()
        self._file = None

    def close(self) -> None:
        """Delete a file that is not complete."""
        if self._file is not None:
            self._file.close()
            self._path(self._id).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._server.disk.upload(name)


@contextmanager
def _as_problems(most_files: int) -> Iterator[None]:
    try:
        yield
    except MultipartError as error:
        if error.http_status == 413:
            detail = f"{error}; at most {most_files} files, and as large as the server's limits"
            raise Problem(413, detail) from None
        raise Problem(400, f"not multipart/form-data: {escape_control(str(error.args[0]))[:200]}") from None


def _media_type(head: MultipartSegment, name: str) -> str:
    """The type that the client states, or else the one of the name's ending."""
    if head.content_type and MEDIA_TYPE.fullmatch(head.content_type):
        return head.content_type
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
