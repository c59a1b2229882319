"""The addresses of Hume's retired batch API, so that programs written for it run with another base URL.

    POST /v0/batch/jobs                    files and options → ``job_id``
    GET  /v0/batch/jobs                    list
    GET  /v0/batch/jobs/ID                 details
    GET  /v0/batch/jobs/ID/predictions     scores as JSON
    GET  /v0/batch/jobs/ID/artifacts       all exports as an archive

Its client repeats requests that end in 408, 409, 429 or 500 and above, and sends whole files again. So predictions that
are not there yet are a 400, a full queue is noticed before a body is read, and an equal request gives the same job.

The translation is in ``mien.serving.hume``. Source: the Python client ``hume`` 0.13.13.
"""

import hashlib
import io
import json
import zipfile
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from mien.errors import DataError, SettingsError
from mien.scores.document import read_document
from mien.serving.database import clips, jobs, now
from mien.serving.hume import STATES, Asked, failure, ignored, job_document, predictions, read_request, window_options
from mien.serving.queue import OPEN, NewJob, Refused, new_id
from mien.serving.results import result
from mien.serving.web.access import Principal, Scorer, Server, Shared, may_see
from mien.serving.web.forms import Form, discard, receive_form
from mien.serving.web.jobs import enqueue, refusal
from mien.serving.web.problems import Problem
from mien.serving.web.uploads import check_room
from mien.serving.webhooks import check_url

router = APIRouter(prefix="/v0/batch/jobs", tags=["hume"])
SAME_SECONDS = 600.0
"""An equal request is taken for a repetition for this time after its job was made, or until its job ends."""

Status = Literal["QUEUED", "IN_PROGRESS", "COMPLETED", "FAILED"]
FORM_BODY = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": {
        "type": "object", "required": ["file"], "properties": {
            "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
            "json": {"type": "string"},
        },
    }}}},
}  # fmt: skip


@router.post("", openapi_extra=FORM_BODY)
async def start(request: Request, server: Shared, who: Scorer) -> dict[str, str]:
    """Start a job with the files of a form."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        raise Problem(400, _why_no_files(await request.body()))
    await run_in_threadpool(_check_queue, server, who, request.headers.get("content-length", ""))
    form = await receive_form(request, server, who.id)
    try:
        job = await run_in_threadpool(_start, server, who, form)
    except SettingsError as error:
        raise Problem(400, str(error)) from None
    finally:
        await run_in_threadpool(discard, server, form.files)
    return {"job_id": job}


@router.get("")
def list_jobs(
    server: Shared,
    who: Scorer,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    status: Annotated[list[Status] | None, Query(max_length=20)] = None,
    when: Literal["created_before", "created_after"] = "created_before",
    timestamp_ms: Annotated[int | None, Query(ge=0, le=10**15)] = None,
    sort_by: Literal["created", "started", "ended"] = "created",
    direction: Literal["asc", "desc"] = "desc",
) -> list[dict[str, Any]]:
    """Jobs that were started here; ``timestamp_ms`` is now unless given."""
    made = _made_here(who)
    if status:
        made &= jobs.c.state.in_([state for one in status for state in STATES[one]])
    at = now(server.engine) if timestamp_ms is None else sa.literal(timestamp_ms / 1000, sa.Double)
    made &= jobs.c.created <= at if when == "created_before" else jobs.c.created > at
    column = jobs.c[sort_by]
    order = column.asc() if direction == "asc" else column.desc()
    with server.engine.execution_options(reads=True).begin() as db:
        rows = db.execute(sa.select(jobs).where(made).order_by(order.nulls_last(), jobs.c.id).limit(limit)).all()
        files = db.execute(sa.select(clips.c.job, clips.c.state).where(clips.c.job.in_([row.id for row in rows]))).all()
    return [job_document(row, [file for file in files if file.job == row.id]) for row in rows]


@router.get("/{job}")
def details(job: str, server: Shared, who: Scorer) -> dict[str, Any]:
    """A job."""
    row = _row(server, who, job)
    with server.engine.execution_options(reads=True).begin() as db:
        files = db.execute(sa.select(clips.c.job, clips.c.state).where(clips.c.job == job)).all()
    return job_document(row, files)


@router.get("/{job}/predictions")
def job_predictions(job: str, server: Shared, who: Scorer) -> list[dict[str, Any]]:
    """The scores of a job that has completed."""
    row = _completed(server, who, job)
    return predictions(read_document(server.disk.scores(job)), row.request["hume"])


@router.get("/{job}/artifacts")
def artifacts(job: str, server: Shared, who: Scorer) -> Response:
    """All exports of a job that has completed, and its predictions, as an archive."""
    row = _completed(server, who, job)
    made = predictions(read_document(server.disk.scores(job)), row.request["hume"])
    archive = io.BytesIO(result(server.disk, job, "all.zip")[0])
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as files:
        files.writestr("predictions.json", json.dumps(made, indent=2, ensure_ascii=False))
    head = {"Content-Disposition": 'attachment; filename="artifacts.zip"', "Cache-Control": "no-store"}
    return Response(archive.getvalue(), 200, head, "application/zip")


def callback_body(server: Server, job: str) -> bytes:
    """What is posted to the ``callback_url`` of a job that has ended.

    Raises:
        DataError: the job was deleted.
    """
    with server.engine.execution_options(reads=True).begin() as db:
        row = db.execute(sa.select(jobs).where(jobs.c.id == job)).first()
    if row is None:
        raise DataError(f"{job}: no such job")
    done = row.state == "completed" and server.disk.scores(job).is_file()
    made = predictions(read_document(server.disk.scores(job)), row.request["hume"]) if done else []
    body = {"job_id": job, "status": "COMPLETED" if done else "FAILED", "predictions": made}
    return json.dumps(body if done else {**body, "message": failure(row)}, ensure_ascii=False).encode()


def _why_no_files(body: bytes) -> str:
    """Why a request without files is refused."""
    try:
        read_request(body)
    except SettingsError as error:
        return str(error)
    return "no file; send files as multipart parts `file`"


def _check_queue(server: Server, who: Principal, length: str) -> None:
    """Check, before files are received, that the queue and the disk have room for them."""
    try:
        server.queue.check_room(who.id, server.limits.queued_jobs, server.limits.queued_jobs_per_key)
    except Refused as refused:
        raise refusal(refused) from None
    check_room(server, int(length) if length.isdecimal() and len(length) < 19 else 0)


def _start(server: Server, who: Principal, form: Form) -> str:
    asked = read_request(form.json)
    _check_callback(server, asked.callback_url)
    options = _options(asked, form)
    sent = json.dumps([options, [file.sha256 for file in form.files]], sort_keys=True)
    digest = hashlib.sha256(sent.encode()).hexdigest()
    equal, last = _last_equal(server, who, digest)
    if equal is not None:
        return equal
    files = [file.id for file in form.files]
    key = f"hume-{digest}-{last or 'first'}"  # so that of two equal requests at once, only one makes a job
    webhook = ("hume", asked.callback_url) if asked.callback_url else None
    return enqueue(server, NewJob(new_id("job"), who.id, files, options, digest, None, key, webhook))


def _check_callback(server: Server, url: str | None) -> None:
    """Check that predictions may be sent to an address: they are personal data, so its host must be named."""
    if not url:
        return
    try:
        host = str(check_url(url, server.limits.webhook_hosts).hostname)
    except DataError as error:
        raise SettingsError(str(error).replace("webhook", "callback_url", 1)) from None
    if host not in server.limits.webhook_hosts:
        raise SettingsError(
            f"callback_url: {host} is not among the hosts that the operator allowed (mien serve --limit "
            "webhook_hosts=[…])"
        )


def _options(asked: Asked, form: Form) -> dict[str, Any]:
    files = [{"filename": file.name, "content_type": file.content_type, "md5sum": file.md5} for file in form.files]
    echoed = asked.model_dump(mode="json", exclude_unset=True, exclude=set(asked.model_extra or {}))
    own = {"request": echoed, "files": files, "ignored": ignored(asked)}
    windows = {"windows": None, "hop": None, **window_options(asked)}
    return {**windows, "why": False, "keep": "media", "interface": "hume", "hume": own}


def _last_equal(server: Server, who: Principal, digest: str) -> tuple[str | None, str | None]:
    """The job of an equal request if this one repeats it, and the last job of an equal request."""
    equal = (jobs.c.owner == who.id) & (jobs.c.request_sha256 == digest)
    recent = (jobs.c.created > now(server.engine) - SAME_SECONDS).label("recent")
    with server.engine.execution_options(reads=True).begin() as db:
        last = db.execute(
            sa.select(jobs.c.id, jobs.c.state, recent).where(equal)
            .order_by(jobs.c.created.desc(), jobs.c.id.desc()).limit(1)
        ).first()  # fmt: skip
    if last is None:
        return None, None
    repeated = last.state in OPEN or (last.state == "completed" and last.recent)
    return last.id if repeated else None, last.id


def _made_here(who: Principal) -> sa.ColumnElement[bool]:
    made = jobs.c.request["interface"].as_string() == "hume"
    return made if "admin" in who.scopes else made & (jobs.c.owner == who.id)


def _row(server: Server, who: Principal, job: str) -> Any:
    with server.engine.execution_options(reads=True).begin() as db:
        row = db.execute(sa.select(jobs).where(jobs.c.id == job)).first()
    if row is None or not may_see(who, row.owner) or "hume" not in row.request:
        raise Problem(404, "no such job")
    return row


def _completed(server: Server, who: Principal, job: str) -> Any:
    row = _row(server, who, job)
    if row.state in OPEN:
        raise Problem(400, f"the job is {job_document(row, ())['state']['status']}; ask again when it is COMPLETED")
    if row.state != "completed" or not server.disk.scores(job).is_file():
        raise Problem(400, f"the job has no predictions: {failure(row)}")
    return row
