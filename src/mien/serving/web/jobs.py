"""Jobs: submit, list, watch, cancel, delete."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.concurrency import run_in_threadpool

from mien.errors import DataError
from mien.serving.database import clips, events, hooks, jobs, uploads
from mien.serving.queue import ENDED, NewJob, Refused, new_id
from mien.serving.results import NAMES
from mien.serving.web.access import LOCAL, Principal, Scorer, Server, Shared, may_see
from mien.serving.web.answers import Job, Jobs
from mien.serving.web.problems import Problem
from mien.serving.webhooks import LONGEST_URL, check_url
from mien.storage.files import in_bytes

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
EVENT_SECONDS = 0.25
POLL_SECONDS, LATE_POLL_SECONDS, SOON_SECONDS = 0.1, 0.5, 5.0
"""A job is looked at so often while somebody waits for it: at first for a short clip, then for a long one."""
RETRY = {"Retry-After": "30"}


class JobRequest(BaseModel):
    """A job to submit."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    files: list[Annotated[str, Field(max_length=40)]] = Field(min_length=1, max_length=10_000)
    """Ids of uploads, each once."""
    windows: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """Also score windows of this many seconds."""
    hop: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """Seconds from one window to the next; by default a quarter of a window."""
    why: bool = False
    """Also compute the contributions of the modalities."""
    transcript: Annotated[str, Field(max_length=100_000)] | dict[str, str] | None = None
    """The words that are said, instead of speech recognition: of the only file, or by id of the file."""
    keep: Literal["media", "none"] = "media"
    """``none`` deletes the media as soon as the job has ended."""

    webhook: Annotated[str, Field(max_length=LONGEST_URL)] | None = None
    """An address to which the ended job is posted, signed by Standard Webhooks (``/v1/webhooks/secret``)."""

    @model_validator(mode="after")
    def _check(self) -> "JobRequest":
        if len(set(self.files)) < len(self.files):
            raise ValueError("a file is listed twice")
        if isinstance(self.transcript, str) and len(self.files) > 1:
            raise ValueError("transcript: with several files, give an object of texts by id of the file")
        if isinstance(self.transcript, dict) and not set(self.transcript) <= set(self.files):
            raise ValueError("transcript: names a file that the job does not have")
        if self.hop is not None and (self.windows is None or self.hop > self.windows):
            raise ValueError("hop: needs windows, and may be as long as a window at most")
        return self


@router.post("", status_code=202, response_model=Job)
def submit(
    asked: JobRequest,
    response: Response,
    server: Shared,
    who: Scorer,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> dict[str, Any]:
    """Submit a job; with ``Idempotency-Key``, the same request again gives the same job."""
    if asked.webhook is not None:
        try:
            check_url(asked.webhook, server.limits.webhook_hosts)
        except DataError as error:
            raise Problem(422, str(error)) from None
    job = enqueue(server, new_job(asked, who, idempotency_key))
    response.headers["Location"] = f"/v1/jobs/{job}"
    return job_of(server, who, job)


@router.get("", response_model=Jobs)
def list_jobs(
    server: Shared,
    who: Scorer,
    state: Literal["queued", "running", "completed", "failed", "cancelled", "expired"] | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    before: Annotated[str | None, Query(max_length=40)] = None,
) -> dict[str, Any]:
    """Jobs, the newest first; ``before`` is the id of the last one of the page before (404 if it was deleted)."""
    chosen = sa.select(jobs).order_by(jobs.c.created.desc(), jobs.c.id.desc()).limit(limit)
    if "admin" not in who.scopes:
        chosen = chosen.where(jobs.c.owner == who.id)
    if state is not None:
        chosen = chosen.where(jobs.c.state == state)
    if before is not None:
        job_of(server, who, before)  # after one that was deleted, the list would seem to end
        last = sa.select(jobs.c.created, jobs.c.id).where(jobs.c.id == before).subquery()
        chosen = chosen.join(last, sa.tuple_(jobs.c.created, jobs.c.id) < sa.tuple_(last.c.created, last.c.id))
    with server.engine.execution_options(reads=True).begin() as db:
        rows = db.execute(chosen).all()
        files = db.execute(
            sa.select(clips).where(clips.c.job.in_([row.id for row in rows])).order_by(clips.c.job, clips.c.n)
        ).all()
        doing = _stages(db, rows)
    return {"jobs": [_shown(row, [file for file in files if file.job == row.id], doing.get(row.id)) for row in rows]}


@router.get("/{job}", response_model=Job)
async def show(
    job: str, server: Shared, who: Scorer, wait: Annotated[float, Query(ge=0, le=60)] = 0.0
) -> dict[str, Any]:
    """A job; with ``wait``, answers when it has ended, or after that many seconds."""
    end = monotonic() + wait
    while True:
        made = await run_in_threadpool(job_of, server, who, job)
        if made["state"] in ENDED or monotonic() >= end:
            return made
        late = monotonic() > end - wait + SOON_SECONDS
        await asyncio.sleep(LATE_POLL_SECONDS if late else POLL_SECONDS)


@router.get("/{job}/events", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
async def watch(
    job: str, server: Shared, who: Scorer, last_event_id: Annotated[str | None, Header()] = None
) -> StreamingResponse:
    """Events of a job as server-sent events: ``state``, ``progress`` and ``clip``; ``Last-Event-ID`` resumes."""
    await run_in_threadpool(job_of, server, who, job)
    first = int(last_event_id) if last_event_id and last_event_id.isdecimal() and len(last_event_id) < 10 else 0
    head = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(server, job, first), 200, head, "text/event-stream")


@router.post("/{job}/cancel", response_model=Job)
def cancel(job: str, server: Shared, who: Scorer) -> dict[str, Any]:
    """Cancel a job that has not ended."""
    job_of(server, who, job)
    if not server.queue.cancel(job):
        raise Problem(409, "the job has ended already")
    return job_of(server, who, job)


@router.delete("/{job}", status_code=204)
def delete(job: str, server: Shared, who: Scorer) -> Response:
    """Cancel a job if it has not ended, and delete its media, its results and its rows now."""
    job_of(server, who, job)
    forget(server, job)
    return Response(None, 204)


def enqueue(server: Server, new: NewJob) -> str:
    """Submit a job with the uploads that it names; its id, or that of the job with the same idempotency key.

    Raises:
        Problem: too many jobs wait, an upload cannot be used, or the key was used for another request.
    """
    if len(new.files) > server.limits.job_files:
        raise Problem(422, f"files: {len(new.files)}, but at most {server.limits.job_files} a job are accepted")
    try:
        return server.queue.known(new) or _submit(server, new)
    except DataError:
        raise Problem(422, "files: an upload is used by another job, or was deleted") from None
    except Refused as refused:
        raise refusal(refused) from None


def refusal(refused: Refused) -> Problem:
    """The answer to a job that cannot be submitted."""
    status = {"full": 503, "full_for_key": 429}.get(refused.kind, 422)
    return Problem(status, str(refused), RETRY if status != 422 else None)


def forget(server: Server, job: str) -> None:
    """Delete a job: first its rows, then its files."""
    with server.engine.begin() as db:
        used = db.scalars(sa.select(uploads.c.id).where(uploads.c.job == job)).all()
        for table, column in (
            (events, events.c.job),
            (clips, clips.c.job),
            (uploads, uploads.c.job),
            (hooks, hooks.c.job),
            (jobs, jobs.c.id),
        ):
            db.execute(sa.delete(table).where(column == job))
    for upload in used:
        server.disk.remove_upload(upload)
    server.disk.remove_job(job)


def webhook_body(server: Server, job: str) -> bytes:
    """What a webhook says: the job, as ``GET /v1/jobs/{id}`` answers it."""
    made = job_of(server, LOCAL, job)
    return json.dumps({"type": f"job.{made['state']}", "timestamp": made["ended"], "data": made}).encode()


def job_of(server: Server, who: Principal, job: str) -> dict[str, Any]:
    """A job as clients see it.

    Raises:
        Problem: 404, there is none, or it is of another key.
    """
    with server.engine.execution_options(reads=True).begin() as db:
        row = db.execute(sa.select(jobs).where(jobs.c.id == job)).first()
        if row is None or not may_see(who, row.owner):
            raise Problem(404, "no such job")
        files = db.execute(sa.select(clips).where(clips.c.job == job).order_by(clips.c.n)).all()
        doing = _stages(db, [row])
    return _shown(row, files, doing.get(job))


def new_job(asked: JobRequest, who: Principal, key: str | None) -> NewJob:
    """A job as it is asked for; ``key`` is its idempotency key."""
    request = asked.model_dump(mode="json")
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    given = request.pop("transcript")
    texts = {asked.files[0]: given} if isinstance(given, str) else given
    url = request.pop("webhook")
    webhook = None if url is None else ("job", url)
    return NewJob(new_id("job"), who.id, request.pop("files"), request, digest, texts, key, webhook)


def _submit(server: Server, new: NewJob) -> str:
    try:
        for file in new.files:
            _check_file(server, new, file)
        server.disk.place(new.id, new.files)
        limits = server.limits
        job, fresh = server.queue.submit(new, limits.queued_jobs, limits.queued_jobs_per_key)
    except BaseException:
        server.disk.remove_job(new.id)
        raise
    if not fresh:
        server.disk.remove_job(new.id)
    for file in new.files if fresh else ():
        server.disk.remove_upload(file)  # the job has its own link
    return job


def _check_file(server: Server, new: NewJob, file: str) -> None:
    with server.engine.execution_options(reads=True).begin() as db:
        row = db.execute(sa.select(uploads).where((uploads.c.id == file) & (uploads.c.owner == new.owner))).first()
        size = db.scalar(sa.select(sa.func.sum(uploads.c.bytes)).where(uploads.c.id.in_(new.files)))
    if row is None or row.sha256 is None or row.job is not None or not server.disk.upload(file).exists():
        raise Refused("no_file", f"{file[:40]}: no complete upload of this key, or another job uses it already")
    if (size or 0) > server.limits.job_bytes:
        raise Refused("too_large", f"files: more than {in_bytes(server.limits.job_bytes)} in all")


def _stages(db: sa.Connection, rows: Sequence[Any]) -> dict[str, Mapping[str, Any]]:
    """Number and stage of the clip at hand, by running job: its last event, unless that is of something else."""
    running = [row.id for row in rows if row.state == "running"]
    last = sa.select(events.c.job, sa.func.max(events.c.id).label("id")).where(events.c.job.in_(running))
    newest = last.group_by(events.c.job).subquery()
    joined = (events.c.job == newest.c.job) & (events.c.id == newest.c.id)
    found = db.execute(sa.select(events).join(newest, joined).where(events.c.kind == "progress")) if running else ()
    return {event.job: event.data for event in found}


def _shown(row: Any, files: Any, doing: Mapping[str, Any] | None) -> dict[str, Any]:
    stages = {} if doing is None else {doing["n"]: doing["stage"]}
    at_hand = next((file.id for file in files if file.n in stages), None)
    done = sum(file.state != "queued" for file in files)
    base = f"/v1/jobs/{row.id}"
    links = {"self": base, "events": f"{base}/events"}
    if row.state == "completed":
        links |= {name: f"{base}/{name}" for name in NAMES}
    return {
        "id": row.id,
        "state": row.state,
        "reason": row.reason,
        "created": _time(row.created),
        "started": _time(row.started),
        "ended": _time(row.ended),
        "request": row.request,
        "files": [{"id": f.id, "name": f.name, "bytes": f.bytes, "sha256": f.sha256, "state": f.state,
                   "stage": stages.get(f.n), "reason": f.reason} for f in files],
        "progress": {"done": done, "failed": sum(file.state == "failed" for file in files), "total": len(files),
                     "file": at_hand, "stage": None if doing is None else doing["stage"]},
        "links": links,
    }  # fmt: skip


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


async def _events(server: Server, job: str, last: int) -> AsyncIterator[str]:
    quiet = began = monotonic()
    while monotonic() - began < server.limits.events_seconds:
        found, ended = await run_in_threadpool(_events_after, server, job, last)
        for row in found:
            last = row.id
            yield f"id: {row.id}\nevent: {row.kind}\ndata: {json.dumps(row.data, ensure_ascii=False)}\n\n"
            quiet = monotonic()
        if ended:
            yield "event: done\ndata: {}\n\n"
            return
        if monotonic() - quiet > 15:
            yield ": still there\n\n"
            quiet = monotonic()
        await asyncio.sleep(EVENT_SECONDS)


def _events_after(server: Server, job: str, last: int) -> tuple[Any, bool]:
    """Events of a job after one, and whether no more will come."""
    with server.engine.execution_options(reads=True).begin() as db:
        state = db.scalar(sa.select(jobs.c.state).where(jobs.c.id == job))
        later = (events.c.job == job) & (events.c.id > last)
        return db.execute(sa.select(events).where(later).order_by(events.c.id)).all(), state is None or state in ENDED
