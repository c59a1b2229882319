"""Uploads: in one request, or resumable by the tus protocol 1.0 (core, creation, termination).

How much of an upload has arrived is the size of its file, so a killed server knows it, too.

Source: https://tus.io/protocols/resumable-upload (1.0.0).
"""

import base64
import binascii
import hashlib
import os
import re
from collections.abc import AsyncIterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from mien.serving.database import now, stored_bytes, uploads
from mien.serving.names import file_name
from mien.serving.queue import new_id
from mien.serving.web.access import Principal, Scorer, Server, Shared, may_see
from mien.serving.web.answers import File
from mien.serving.web.problems import Problem
from mien.storage.files import in_bytes, sha256_of, writing

router = APIRouter(prefix="/v1", tags=["uploads"])
TUS = {"Tus-Resumable": "1.0.0", "Cache-Control": "no-store"}
CHUNKS = "application/offset+octet-stream"
CHECK_BYTES = 64_000_000


def _described(body: str = "", *numbers: str, tus: bool = True) -> dict[str, Any]:
    """The body and the headers of a request, for the description of the interface."""
    named: list[tuple[str, dict[str, Any]]] = [("Tus-Resumable", {"const": "1.0.0"})] if tus else []
    named += [(name, {"type": "integer", "minimum": 0, "maximum": 10**12}) for name in numbers]
    made: dict[str, Any] = {
        "parameters": [{"name": name, "in": "header", "required": True, "schema": schema} for name, schema in named]
    }
    if body:
        content = {body: {"schema": {"type": "string", "format": "binary"}}}
        made["requestBody"] = {"required": True, "content": content}
    return made


"""Room is checked again after so many bytes."""


@router.put(
    "/files", status_code=201, response_model=File, openapi_extra=_described("application/octet-stream", tus=False)
)
async def put_file(
    request: Request, server: Shared, who: Scorer, name: Annotated[str, Query(min_length=1, max_length=1000)] = "clip"
) -> dict[str, Any]:
    """Upload a file in one request, its bytes as the body."""
    announced = _number(request.headers.get("content-length"), "Content-Length")
    _check_size(server, announced or 0)
    await run_in_threadpool(check_room, server, announced or 0)
    made = new_id("file")
    path, server.receiving[made] = server.disk.upload(made), announced or 0
    try:
        size, digest = await receive_file(request.stream(), path, server, made)
        if not size:
            raise Problem(422, "the body is empty; send the file's bytes as the body")
        row = {"id": made, "owner": who.id, "name": file_name(name), "bytes": size, "sha256": digest}
        await run_in_threadpool(insert, server, row)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        del server.receiving[made]
    return {key: row[key] for key in ("id", "name", "bytes", "sha256")}


async def receive_file(chunks: AsyncIterable[bytes], path: Path, server: Server, name: str) -> tuple[int, str]:
    """Write a body to a new file, hashing on the way.

    Args:
        chunks: the body.
        path: of the new file; the caller removes it if this raises.
        server: its limits hold.
        name: under which ``server.receiving`` counts it.

    Returns:
        Bytes, and SHA-256.

    Raises:
        Problem: 413, too large; 507, no room.
        OutputError: the disk is full.
    """
    size, digest, checked = 0, hashlib.sha256(), 0
    with writing(path), path.open("xb") as file:
        async for chunk in chunks:
            size += len(chunk)
            _check_size(server, size)
            digest.update(chunk)
            file.write(chunk)
            if size > checked + CHECK_BYTES:
                checked, server.receiving[name] = size, max(size, server.receiving[name])
                await run_in_threadpool(check_room, server, 0)
        file.flush()
        await run_in_threadpool(os.fsync, file.fileno())
    return size, digest.hexdigest()


@router.options("/uploads", status_code=204)
def options() -> Response:
    """What of tus is supported."""
    return Response(None, 204, {**TUS, "Tus-Version": "1.0.0", "Tus-Extension": "creation,termination"})


@router.post("/uploads", status_code=201, response_class=Response, openapi_extra=_described("", "Upload-Length"))
def create(request: Request, server: Shared, who: Scorer) -> Response:
    """Begin a resumable upload: ``Upload-Length``, and the name as ``filename`` in ``Upload-Metadata``."""
    _check_tus(request)
    length = _number(request.headers.get("upload-length"), "Upload-Length")
    if not length:
        raise Problem(400, "Upload-Length: give the file's size in bytes, above 0")
    _check_size(server, length)
    check_room(server, length)
    made = new_id("file")
    path = server.disk.upload(made)
    path.touch(mode=0o600, exist_ok=False)
    name = file_name(_metadata(request.headers.get("upload-metadata", "")).get("filename", "clip"))
    insert(server, {"id": made, "owner": who.id, "name": name, "bytes": length, "sha256": None})
    return Response(None, 201, {**TUS, "Location": f"/v1/uploads/{made}"})


@router.head("/uploads/{upload}", response_class=Response, openapi_extra=_described())
def offset(upload: str, request: Request, server: Shared, who: Scorer) -> Response:
    """How much of an upload has arrived."""
    _check_tus(request)
    row = _row(server, who, upload)
    arrived = _arrived(server, row)
    if arrived == row.bytes and row.sha256 is None:
        _complete_late(server, upload)
    return Response(None, 200, {**TUS, "Upload-Offset": str(arrived), "Upload-Length": str(row.bytes)})


@router.patch("/uploads/{upload}", status_code=204, openapi_extra=_described(CHUNKS, "Upload-Offset"))
async def append(upload: str, request: Request, server: Shared, who: Scorer) -> Response:
    """Continue an upload at ``Upload-Offset``."""
    _check_tus(request)
    row = await run_in_threadpool(_row, server, who, upload)
    if request.headers.get("content-type") != CHUNKS:
        raise Problem(415, f"Content-Type: expected {CHUNKS}")
    if upload in server.busy:
        raise Problem(423, "another request is writing to this upload")
    server.busy.add(upload)
    try:
        arrived = await _receive(request, server, row)
    finally:
        server.busy.discard(upload)
    return Response(None, 204, {**TUS, "Upload-Offset": str(arrived)})


@router.delete("/uploads/{upload}", status_code=204, openapi_extra=_described())
def terminate(upload: str, request: Request, server: Shared, who: Scorer) -> Response:
    """Delete an upload that no job uses."""
    _check_tus(request)
    row = _row(server, who, upload)
    if row.job is not None:
        raise Problem(409, f"job {row.job} uses this upload; delete the job")
    with server.engine.begin() as db:
        gone = db.execute(sa.delete(uploads).where((uploads.c.id == upload) & uploads.c.job.is_(None))).rowcount
    if gone:
        server.disk.remove_upload(upload)
    return Response(None, 204, TUS)


async def _receive(request: Request, server: Server, row: Any) -> int:
    """Append the body to an upload; what has arrived stays when the connection breaks."""
    path = server.disk.upload(row.id)
    if row.sha256 is not None or not path.exists():
        raise Problem(403, "the upload is complete")
    arrived = path.stat().st_size
    if _number(request.headers.get("upload-offset"), "Upload-Offset") != arrived:
        raise Problem(409, f"Upload-Offset: {arrived} bytes have arrived; continue there")
    await run_in_threadpool(check_room, server, 0)
    checked = arrived
    with writing(path), path.open("ab") as file:
        async for chunk in request.stream():
            arrived += len(chunk)
            if arrived > checked + CHECK_BYTES:
                checked = arrived
                await run_in_threadpool(check_room, server, 0)
            if arrived > row.bytes:
                raise Problem(413, f"more than the announced {row.bytes} bytes")
            file.write(chunk)
        file.flush()
        await run_in_threadpool(os.fsync, file.fileno())
    if arrived == row.bytes:
        digest = await run_in_threadpool(sha256_of, path)
        await run_in_threadpool(_complete, server, row.id, digest)
    return arrived


def _complete(server: Server, upload: str, digest: str) -> None:
    with server.engine.begin() as db:
        db.execute(sa.update(uploads).where(uploads.c.id == upload).values(sha256=digest))


def _complete_late(server: Server, upload: str) -> None:
    """Complete an upload whose last request ended after its last byte was written, but before its hash was stored."""
    if upload in server.busy:
        raise Problem(423, "another request is completing this upload; ask again", TUS)
    server.busy.add(upload)
    try:
        _complete(server, upload, sha256_of(server.disk.upload(upload)))
    finally:
        server.busy.discard(upload)


def insert(server: Server, row: Mapping[str, Any]) -> None:
    """Enter an upload, whose file exists, into the database."""
    with server.engine.begin() as db:
        db.execute(sa.insert(uploads).values(**row, created=now(server.engine)))


def _row(server: Server, who: Principal, upload: str) -> Any:
    with server.engine.execution_options(reads=True).begin() as db:
        row = db.execute(sa.select(uploads).where(uploads.c.id == upload)).first()
    if row is None or not may_see(who, row.owner):
        raise Problem(404, "no such upload", TUS)
    return row


def _arrived(server: Server, row: Any) -> int:
    if row.sha256 is not None:
        return row.bytes
    path = server.disk.upload(row.id)
    return path.stat().st_size if path.exists() else 0


def _check_tus(request: Request) -> None:
    if request.headers.get("tus-resumable") != "1.0.0":
        raise Problem(412, "Tus-Resumable: expected 1.0.0", {**TUS, "Tus-Version": "1.0.0"})


def _check_size(server: Server, size: int) -> None:
    if size > server.limits.file_bytes:
        raise Problem(413, f"at most {in_bytes(server.limits.file_bytes)} a file are accepted")


def check_room(server: Server, size: int) -> None:
    """Check that so many bytes of media can be stored.

    Raises:
        Problem: 507, the disk or the server's share of it would be full.
    """
    limits = server.limits
    used = stored_bytes(server.engine) + sum(server.receiving.values())
    if server.disk.free_bytes() - size < limits.free_bytes or used + size > limits.data_bytes:
        raise Problem(507, "the server has no room for more media; delete jobs, or try again later")


def _number(text: str | None, what: str) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise Problem(400, f"{what}: not a whole number")
    return int(text)


def _metadata(text: str) -> dict[str, str]:
    """The pairs of ``Upload-Metadata``: a key and, in Base64, a value, separated by commas."""
    pairs = (part.strip().partition(" ") for part in text.split(",") if part.strip())
    try:
        return {key: base64.b64decode(value, validate=True).decode("utf-8", "replace") for key, _, value in pairs}
    except (binascii.Error, ValueError):
        raise Problem(400, "Upload-Metadata: values must be in Base64") from None
