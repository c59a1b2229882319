"""A worker: loads the model once, claims jobs, scores them clip by clip, and stores each finished clip.

A second thread prolongs the lease while a clip is being scored. A worker that is told to stop (SIGTERM, Ctrl-C, or the
end of its standard input, by which the server that started it shows that it is alive) finishes its clip and gives the
job back. If it is killed, the next worker continues with the clip in flight.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from mien import terminal
from mien.errors import DataError, MienError, OutputError, SettingsError
from mien.features.spans import windows_of
from mien.inference.predict import Model
from mien.schema import Clip, Prediction
from mien.scores.document import ScoresDocument, as_json
from mien.serving.database import about, living, lock_tables, steady_now, workers
from mien.serving.disk import Disk
from mien.serving.names import clip_names
from mien.serving.queue import Claim, ClipDone, ClipStage, Queue
from mien.serving.settings import ServeSettings
from mien.wording import plural

IDLE_SECONDS = 0.1
"""Time between two looks into an empty queue, which write nothing."""
RETRY_SECONDS = 1.0
STAGE_SECONDS = 0.25
"""Time between two looks at what is being done; shorter stages are not shown."""
T = TypeVar("T")


class _Stopped(Exception):
    """Told to stop, or the job is lost, while the database or the disk was not available."""


class Worker:
    """Scores jobs of a queue with one model."""

    def __init__(self, model: Model, queue: Queue, disk: Disk, limits: ServeSettings) -> None:
        """A worker for a loaded model."""
        self._model, self._queue, self._disk, self._limits = model, queue, disk, limits
        self._name = f"{socket.gethostname()[:50]}-{os.getpid()}"
        self._sha256 = model.sha256 or ""
        self._stop = threading.Event()

    def begin(self) -> None:
        """Check that the model can score, and register what it scores with.

        Raises:
            WeightsMissing: pretrained weights that the model needs are not in the cache.
            SettingsError: a living worker scores with another model.
        """
        self._stop_on_signals()
        list(self._model.score([]))  # checks the weights now, and not at the first job
        with suppress(_Stopped):
            self._retried(self._register)

    def run(self) -> None:
        """Score jobs until told to stop; after ``begin``."""
        with suppress(_Stopped):
            threading.Thread(target=self._show_life, daemon=True).start()
            while not self._stop.is_set():
                claim = self._retried(lambda: self._queue.claim(self._name, self._sha256))
                if claim is None:
                    self._stop.wait(IDLE_SECONDS)
                else:
                    self._score(claim)
        with suppress(DBAPIError), self._queue.engine.begin() as db:
            db.execute(sa.delete(workers).where(workers.c.id == self._name))

    def stop(self, *_: object) -> None:
        """Finish the clip in flight, give the job back, and end."""
        self._stop.set()

    def _score(self, claim: Claim) -> None:
        try:
            self._score_clips(claim)
        except _Stopped:
            return
        except MienError as error:
            reason = str(error).replace(str(self._disk.root), "the data folder")
            self._retried(lambda: self._queue.finish(claim, "failed", reason))

    def _score_clips(self, claim: Claim) -> None:
        names = clip_names([clip.name for clip in claim.clips])
        media = {clip.n: self._disk.media(claim.job, clip.n) for clip in claim.clips}
        left = [clip for clip in claim.clips if not (clip.done and self._stored(claim.job, clip.n))]
        todo = [Clip(f"{claim.job}-{one.n}", media[one.n], transcript=one.transcript) for one in left]
        request = claim.request
        spans = windows_of(request.get("windows"), request.get("hop"))
        with self._beating(claim, [clip.n for clip in left]) as (lost, waiting):
            scored = self._model.score(todo, windows=spans, why=bool(request.get("why")))
            for clip, made in zip(left, scored, strict=True):
                own = self._as_sent(made, names[clip.n], clip.name, media[clip.n])
                note = self._model.document([own]).clips[0]
                self._retried(partial(self._disk.write_clip, claim.job, clip.n, note.model_dump(mode="json")), lost)
                done = ClipDone(clip.n, own.error)
                waiting.pop(0)
                if lost.is_set() or not self._retried(partial(self._queue.beat, claim, done), lost):
                    return
                if self._stop.is_set() and clip is not left[-1]:
                    self._retried(lambda: self._queue.finish(claim, "queued"))
                    return
            self._complete(claim, lost)

    def _complete(self, claim: Claim, lost: threading.Event) -> None:
        stored = [self._disk.read_clip(claim.job, clip.n) for clip in claim.clips]
        request = claim.request
        head = self._model.document([], windows=request.get("windows"), hop=request.get("hop"))
        document = ScoresDocument.model_validate({**as_json(head), "clips": stored})
        self._retried(lambda: self._disk.write_scores(claim.job, as_json(document)), lost)
        failed = [clip for clip in document.clips if clip.error is not None]
        if len(failed) == len(stored):
            reason = f"{plural(len(failed), 'clip')}, none could be scored (first: {failed[0].error})"
            self._retried(lambda: self._queue.finish(claim, "failed", reason), lost)
        else:
            self._retried(lambda: self._queue.finish(claim, "completed"), lost)

    def _retried(self, call: Callable[[], T], lost: threading.Event | None = None) -> T:
        """Call until the database and the disk take it: a lock, a full disk or a restarted database passes.

        If that takes longer than the lease, the job is another worker's then, and the call changes nothing.
        """
        said = False
        while True:
            try:
                return call()
            except (DBAPIError, OutputError) as error:
                if self._stop.is_set() or (lost is not None and lost.is_set()):
                    raise _Stopped from error
                if not said:
                    terminal.warn(f"{_first_line(error)}; trying again every {RETRY_SECONDS:g} s")
                said = True
                self._stop.wait(RETRY_SECONDS)

    def _stored(self, job: str, n: int) -> bool:
        try:
            self._disk.read_clip(job, n)
        except DataError:
            return False
        return True

    def _as_sent(self, made: Prediction, name: str, file: str, path: Path) -> Prediction:
        """A prediction under the client's names instead of those on disk."""

        def translated(text: str) -> str:
            return text.replace(str(path), file).replace(path.name, file)

        return replace(
            made,
            clip=name,
            path=Path(file),
            error=None if made.error is None else translated(made.error),
            notes=tuple(map(translated, made.notes)),
            absent={modality: translated(reason) for modality, reason in made.absent.items()},
        )

    @contextmanager
    def _beating(self, claim: Claim, left: Sequence[int]) -> Iterator[tuple[threading.Event, list[int]]]:
        """Prolong the lease in the background, and say there what is being done.

        Yields:
            An event that is set when the job is lost, and the clips that are left, the one at hand first; the caller
            takes out those that are finished.
        """
        over, lost, waiting = threading.Event(), threading.Event(), list(left)

        def beat() -> None:
            due, before = monotonic() + self._limits.beat_seconds, None
            while not over.wait(STAGE_SECONDS):
                doing = self._doing(waiting)
                if doing == before and monotonic() < due:
                    continue
                due, before = monotonic() + self._limits.beat_seconds, doing
                with suppress(DBAPIError):  # the next beat may succeed, and else the lease ends
                    if not self._queue.beat(claim, doing=doing):
                        lost.set()
                        return

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield lost, waiting
        finally:
            over.set()
            thread.join()

    def _doing(self, waiting: Sequence[int]) -> ClipStage | None:
        stage, at_hand = self._model.stage, waiting[:1]
        return ClipStage(at_hand[0], stage) if stage and at_hand else None

    def _show_life(self) -> None:
        while not self._stop.wait(self._limits.beat_seconds):
            with suppress(DBAPIError), self._queue.engine.begin() as db:
                self._seen(db)

    def _seen(self, db: sa.Connection) -> None:
        values: dict[str, Any] = {"model": self._sha256, "seen": steady_now(self._queue.engine)}
        known = db.execute(sa.update(workers).where(workers.c.id == self._name).values(**values))
        if not known.rowcount:
            db.execute(sa.insert(workers).values(id=self._name, **values))

    def _register(self) -> None:
        """State the model that the server scores with; all its workers have the same."""
        described = as_json(self._model.document([]))
        value = {"model": described["model"], "targets": described["targets"]}
        alive = living(self._queue.engine, self._queue.lease_seconds)
        with self._queue.engine.begin() as db:
            lock_tables(db)
            other = db.scalar(sa.select(workers.c.id).where(alive & (workers.c.model != self._sha256)))
            if other is not None:
                raise SettingsError(f"worker {other} scores with another model; stop it first, or name the same model")
            db.execute(sa.delete(workers).where(~alive))
            db.execute(sa.delete(about).where(about.c.name == "model"))
            db.execute(sa.insert(about).values(name="model", value=value))
            self._seen(db)

    def _stop_on_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)


def _first_line(error: Exception) -> str:
    """A database's or a disk's error in one line, without the statement and its values."""
    found = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(found).split())[:300]
