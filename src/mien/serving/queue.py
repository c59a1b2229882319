"""The queue of jobs behind four verbs: ``submit``, ``claim``, ``beat``, ``finish``.

    queued ─claim▶ running ─finish▶ completed | failed      cancel: queued or running ▶ cancelled
                      │ beat: prolongs the lease, stores a finished clip
                      └ the lease ends ▶ claimed again, from the first clip without a result on

A worker that is killed loses its lease, and the next one continues. ``attempt`` fences: a worker whose lease was taken
over, whose job was cancelled or deleted, gets ``False`` from ``beat`` and ``finish``, and nothing of it is stored. A
job whose workers died ``MOST_DEATHS`` times in a row without finishing a clip is given up.

Every change of a job and its event are one transaction, so a reader of events misses none. The trade-off: one row lock
per event, which is nothing beside seconds of scoring.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from mien.serving.database import clips, events, hooks, jobs, now, steady_now, uploads

MOST_DEATHS = 3
OPEN = ("queued", "running")
ENDED = ("completed", "failed", "cancelled", "expired")


@dataclass(frozen=True)
class NewJob:
    """A job to submit.

    Attributes:
        id: from ``new_id``; the files lie in its folder already.
        owner: id of the key it is submitted with.
        files: ids of its uploads, in order.
        transcripts: given words by upload.
        request: the options of the job.
        request_sha256: of the whole request; the same idempotency key with another one is refused.
        idempotency_key: chosen by the client, unique among the jobs of the owner.
        webhook: kind and address of a webhook to send at its end.
    """

    id: str
    owner: str
    files: Sequence[str]
    request: Mapping[str, Any]
    request_sha256: str
    transcripts: Mapping[str, str] | None = None
    idempotency_key: str | None = None
    webhook: tuple[str, str] | None = None


class Refused(Exception):
    """A job cannot be submitted: ``kind`` is ``full``, ``full_for_key``, ``other_request`` or ``no_file``."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True)
class ClipRow:
    """A file of a claimed job."""

    n: int
    name: str
    transcript: str | None
    done: bool


@dataclass(frozen=True)
class Claim:
    """A job that a worker holds."""

    job: str
    attempt: int
    request: Mapping[str, Any]
    clips: Sequence[ClipRow]


@dataclass(frozen=True)
class ClipDone:
    """A finished clip: scored, or not and why."""

    n: int
    reason: str | None = None


@dataclass(frozen=True)
class ClipStage:
    """What is being done with a clip: ``decoding``, ``speech``, the name of a modality, or ``scores``."""

    n: int
    stage: str


def new_id(prefix: str) -> str:
    """A random id, hard to guess: ``job-1f0a…``."""
    return f"{prefix}-{secrets.token_hex(12)}"


class Queue:
    """Jobs in a database, shared by the web process and all workers."""

    def __init__(self, engine: sa.Engine, lease_seconds: float = 30.0) -> None:
        """The queue of a database whose tables exist."""
        self.engine, self.lease_seconds = engine, lease_seconds
        self._now, self._steady = now(engine), steady_now(engine)

    def submit(self, new: NewJob, most: int = 1000, most_per_owner: int = 200) -> tuple[str, bool]:
        """Enqueue a job, or find the one that was submitted with the same idempotency key.

        Returns:
            Its id, and whether it is new.

        Raises:
            Refused: too many jobs wait, a file is not there or belongs to another job, or the idempotency key was
                used for another request.
        """
        if (known := self.known(new)) is not None:
            return known, False
        try:
            with self.engine.begin() as db:
                self._check_room(db, new.owner, most, most_per_owner)
                rows = self._take_files(db, new)
                db.execute(sa.insert(jobs).values(
                    id=new.id, owner=new.owner, state="queued", created=self._now,
                    request=dict(new.request), request_sha256=new.request_sha256, idempotency_key=new.idempotency_key,
                    attempt=0, deaths=0, media=True, version=0,
                ))  # fmt: skip
                db.execute(sa.insert(clips), rows)
                if new.webhook is not None:
                    kind, url = new.webhook
                    values = {"id": new_id("hook"), "job": new.id, "owner": new.owner, "kind": kind, "url": url}
                    db.execute(sa.insert(hooks).values(**values, tries=0))
                self._event(db, new.id, "state", {"state": "queued"})
        except IntegrityError:  # another request with the same key came first
            if (known := self.known(new)) is None:
                raise
            return known, False
        return new.id, True

    def check_room(self, owner: str, most: int, most_per_owner: int) -> None:
        """Check that another job of an owner could be submitted now.

        Raises:
            Refused: too many jobs wait.
        """
        with self._reading() as db:
            self._check_room(db, owner, most, most_per_owner)

    def known(self, new: NewJob) -> str | None:
        """The job submitted before with the same idempotency key.

        Raises:
            Refused: it was another request.
        """
        if new.idempotency_key is None:
            return None
        same = (jobs.c.owner == new.owner) & (jobs.c.idempotency_key == new.idempotency_key)
        with self._reading() as db:
            found = db.execute(sa.select(jobs.c.id, jobs.c.request_sha256).where(same)).first()
        if found is not None and found.request_sha256 != new.request_sha256:
            raise Refused("other_request", f"this Idempotency-Key was used for another request, of job {found.id}")
        return None if found is None else found.id

    def claim(self, worker: str, model: str) -> Claim | None:
        """The oldest job that waits, or whose worker died; ``None`` if there is none.

        Results of another model are forgotten: a job is scored by one model.
        """
        while True:
            with self.engine.begin() as db:
                self._shorten_leases(db)
                lost = (jobs.c.state == "running") & (jobs.c.leased_until < self._steady)
                found = db.execute(
                    sa.select(jobs).where((jobs.c.state == "queued") | lost)
                    .order_by(jobs.c.created, jobs.c.id).limit(1).with_for_update(skip_locked=True)
                ).first()  # fmt: skip
                if found is None:
                    return None
                deaths = found.deaths + (found.state == "running")
                if deaths >= MOST_DEATHS:
                    self._end(db, found.id, "failed", f"its worker died {MOST_DEATHS} times")
                    continue
                return self._claimed(db, found, worker, model, deaths)

    def beat(self, claim: Claim, done: ClipDone | None = None, doing: ClipStage | None = None) -> bool:
        """Prolong the lease, and with ``done`` store that a clip is finished, with ``doing`` what is done with one.

        Returns:
            Whether the job is still the worker's; if not, it stops.
        """
        with self.engine.begin() as db:
            values: dict[str, Any] = {"leased_until": self._steady + self.lease_seconds}
            if done is not None:
                values["deaths"] = 0
            if not self._update(db, claim, values):
                return False
            if done is not None:
                state = "completed" if done.reason is None else "failed"
                db.execute(
                    sa.update(clips).where((clips.c.job == claim.job) & (clips.c.n == done.n))
                    .values(state=state, reason=done.reason)
                )  # fmt: skip
                self._event(db, claim.job, "clip", {"n": done.n, "state": state, "reason": done.reason})
            if doing is not None:
                self._event(db, claim.job, "progress", {"n": doing.n, "stage": doing.stage})
        return True

    def finish(self, claim: Claim, state: str, reason: str | None = None) -> bool:
        """End a job as ``completed`` or ``failed``, or give it back as ``queued``.

        Returns:
            Whether it was still the worker's.
        """
        with self.engine.begin() as db:
            if not self._update(db, claim, {}):
                return False
            if state == "queued":
                db.execute(sa.update(jobs).where(jobs.c.id == claim.job).values(state=state, leased_until=None))
                self._event(db, claim.job, "state", {"state": state})
            else:
                self._end(db, claim.job, state, reason)
        return True

    def cancel(self, job: str) -> bool:
        """Cancel a job that has not ended; its worker notices at the next beat. Whether it was still open."""
        with self.engine.begin() as db:
            state = db.scalar(sa.select(jobs.c.state).where(jobs.c.id == job).with_for_update())
            if state not in OPEN:
                return False
            self._end(db, job, "cancelled", None)
        return True

    def _reading(self) -> Any:
        return self.engine.execution_options(reads=True).begin()

    def _check_room(self, db: sa.Connection, owner: str, most: int, most_per_owner: int) -> None:
        waiting = sa.select(sa.func.count()).where(jobs.c.state.in_(OPEN))
        if (db.scalar(waiting) or 0) >= most:
            raise Refused("full", f"{most:,} jobs wait already; try again later")
        if (db.scalar(waiting.where(jobs.c.owner == owner)) or 0) >= most_per_owner:
            raise Refused("full_for_key", f"{most_per_owner:,} jobs of this key wait already; try again later")

    def _take_files(self, db: sa.Connection, new: NewJob) -> list[dict[str, Any]]:
        mine = (uploads.c.owner == new.owner) & uploads.c.sha256.is_not(None) & uploads.c.job.is_(None)
        taken = db.execute(
            sa.update(uploads).where(uploads.c.id.in_(new.files) & mine).values(job=new.id)
            .returning(uploads.c.id, uploads.c.name, uploads.c.bytes, uploads.c.sha256)
        ).all()  # fmt: skip
        found = {row.id: row for row in taken}
        missing = [file for file in new.files if file not in found]
        if missing:
            raise Refused("no_file", f"{missing[0]}: no complete upload of this key, or another job uses it already")
        given = new.transcripts or {}
        return [
            {"job": new.id, "n": n, "id": file, "name": found[file].name, "bytes": found[file].bytes,
             "sha256": found[file].sha256, "transcript": given.get(file), "state": "queued", "reason": None}
            for n, file in enumerate(new.files)
        ]  # fmt: skip

    def _shorten_leases(self, db: sa.Connection) -> None:
        """Begin again a lease that no worker can have: its machine was started again, or PostgreSQL's clock set back.

        A worker that lives beats long before it ends; the job of one that does not would be held for hours.
        """
        longest = self._steady + 2 * self.lease_seconds
        impossible = (jobs.c.state == "running") & (jobs.c.leased_until > longest)
        db.execute(sa.update(jobs).where(impossible).values(leased_until=self._steady + self.lease_seconds))

    def _claimed(self, db: sa.Connection, found: Any, worker: str, model: str, deaths: int) -> Claim:
        db.execute(sa.update(jobs).where(jobs.c.id == found.id).values(
            state="running", attempt=found.attempt + 1, deaths=deaths, worker=worker, model=model,
            leased_until=self._steady + self.lease_seconds, started=sa.func.coalesce(jobs.c.started, self._now),
        ))  # fmt: skip
        if found.model not in (None, model):
            db.execute(sa.update(clips).where(clips.c.job == found.id).values(state="queued", reason=None))
        rows = db.execute(sa.select(clips).where(clips.c.job == found.id).order_by(clips.c.n)).all()
        self._event(db, found.id, "state", {"state": "running"})
        parts = [ClipRow(row.n, row.name, row.transcript, row.state != "queued") for row in rows]
        return Claim(found.id, found.attempt + 1, found.request, parts)

    def _update(self, db: sa.Connection, claim: Claim, values: dict[str, Any]) -> bool:
        """Update a job if it is still held by this attempt; locks its row in any case."""
        held = (jobs.c.id == claim.job) & (jobs.c.attempt == claim.attempt) & (jobs.c.state == "running")
        return db.execute(sa.update(jobs).where(held).values(attempt=claim.attempt, **values)).rowcount == 1

    def _end(self, db: sa.Connection, job: str, state: str, reason: str | None) -> None:
        db.execute(
            sa.update(jobs).where(jobs.c.id == job)
            .values(state=state, reason=reason, ended=self._now, leased_until=None)
        )  # fmt: skip
        self._event(db, job, "state", {"state": state, "reason": reason})
        db.execute(sa.update(hooks).where(hooks.c.job == job).values(due=self._now))

    def _event(self, db: sa.Connection, job: str, kind: str, data: Mapping[str, Any]) -> None:
        number = db.scalar(
            sa.update(jobs).where(jobs.c.id == job).values(version=jobs.c.version + 1).returning(jobs.c.version)
        )
        values = {"job": job, "id": number, "kind": kind, "data": dict(data), "created": self._now}
        db.execute(sa.insert(events).values(**values))
