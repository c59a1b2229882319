"""Clips in object storage: fetched a little ahead of the work on them, and removed afterwards.

    for job, outcome in fetched(extraction, jobs, places, work): ...

``work`` gets jobs whose clips are files here, and has no network; fetching is done in threads of this process. A clip
is fetched only from the ``places`` that the user named: a table may come from a stranger, and is no reason to contact
anything. A clip whose features are all stored, and whose object has the size and time of then, is not fetched again.

The trade-off: one process fetches for all workers, ``AHEAD`` clips at once; that is enough for a few dozen cores, since
a clip of some megabytes takes seconds of a core.
"""

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

from mien.compute.device import resolve_compute
from mien.errors import MienError
from mien.features.jobs import ClipJob, ClipOutcome, failed
from mien.features.keys import Keys
from mien.features.source_files import SourceFile
from mien.features.worker import Extraction
from mien.media.decoder import BASE_SECONDS, BYTES_PER_SECOND
from mien.sandbox import is_denied
from mien.schema import Clip, ClipFeatures
from mien.storage.addresses import lies_in, name_of
from mien.storage.remote import RemoteFile, download, find
from mien.storage.temporary import temporary_folder

AHEAD = 4

_NAMED = "name the place with --fetch-from (fetch_from=) if you trust the table"

Outcomes = Iterator[tuple[ClipJob, ClipOutcome]]


def fetched(
    extraction: Extraction,
    jobs: Iterable[ClipJob],
    places: Sequence[str],
    work: Callable[[Iterable[ClipJob]], Iterator[tuple[ClipJob, Any]]],
) -> Iterator[tuple[ClipJob, Any]]:
    """The outcome of each clip, in order of completion; one that cannot be fetched fails like any other.

    Args:
        extraction: what ``work`` does with them.
        jobs: the clips; those with an address are fetched.
        places: addresses from which clips may be fetched.
        work: jobs → outcomes, or other records of a ``clip``. The jobs that it gets are of copies.
    """
    done: deque[tuple[ClipJob, ClipOutcome]] = deque()
    of_copy: dict[str, ClipJob] = {}
    with _Fetching(extraction, places) as fetching:

        def copies() -> Iterator[ClipJob]:
            for job, result in fetching.ahead(jobs):
                if isinstance(result, ClipOutcome):
                    done.append((job, result))
                else:
                    of_copy[job.clip.id] = job
                    yield result

        for job, outcome in work(copies()):
            yield from _taken(done)
            whole = of_copy.pop(job.clip.id)
            if job is not whole:
                _remove(job.clip)
                outcome = replace(outcome, clip=whole.clip)
            yield whole, outcome
        yield from _taken(done)


def version_of(address: str, places: Sequence[str]) -> list[str | int]:
    """What is known of the file at an address without fetching it; only the address, where it may not be asked for."""
    found = None
    if not _refusal(address, places):
        with suppress(MienError):  # reported when it is fetched
            found = find(address)
    return [address] if found is None else [address, found.size, found.changed]


class _Fetching:
    """Threads that fetch clips into a temporary folder, which is made for the first clip with an address."""

    def __init__(self, extraction: Extraction, places: Sequence[str]) -> None:
        self._extraction, self._places = extraction, places
        self._threads = ThreadPoolExecutor(AHEAD, "mien-fetch")
        self._stopped = Event()
        self._folder: Path | None = None
        self._made = ExitStack()

    def __enter__(self) -> "_Fetching":
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._threads.shutdown(cancel_futures=True)
        self._made.close()

    def ahead(self, jobs: Iterable[ClipJob]) -> Iterator[tuple[ClipJob, ClipJob | ClipOutcome]]:
        """Each job, with the job of its copy, or with its outcome if there is nothing left to do."""
        waiting: deque[tuple[ClipJob, Future[ClipJob | ClipOutcome] | None]] = deque()
        for job in jobs:
            waiting.append((job, self._begin(job) if job.clip.address else None))
            if len(waiting) > (AHEAD if any(future for _, future in waiting) else 0):
                first, future = waiting.popleft()
                yield first, future.result() if future else first
        for job, future in waiting:
            yield job, future.result() if future else job

    def _begin(self, job: ClipJob) -> Future[ClipJob | ClipOutcome]:
        if self._folder is None:
            self._folder = self._made.enter_context(temporary_folder())
        return self._threads.submit(self._fetch, job, self._folder)

    def _fetch(self, job: ClipJob, folder: Path) -> ClipJob | ClipOutcome:
        address = job.clip.address or ""
        try:
            if reason := _refusal(address, self._places):
                return failed(job, self._extraction.stored_features, f"{address}: {reason}")
            path = _path(folder, job.clip)
            copied = replace(job, clip=replace(job.clip, path=path))
            found = find(address)
            if found is not None and _is_stored(self._extraction, copied, found):
                names = tuple(modality.name for modality in self._extraction.modalities)
                return ClipOutcome(job.clip, ClipFeatures(job.clip.id, math.nan, ()), names)
            download(address, path, check=self._check(address, found))
        except (MienError, OSError) as error:
            return failed(job, self._extraction.stored_features, str(error))
        return copied

    def _check(self, address: str, found: RemoteFile | None) -> Callable[[], None]:
        """Gives up on a clip that takes longer than the work on it may."""
        limit = self._extraction.settings.compute.clip_seconds
        seconds = limit or BASE_SECONDS + (found.size if found else 0) / BYTES_PER_SECOND
        until = time.monotonic() + seconds

        def check() -> None:
            if self._stopped.is_set():
                raise MienError(f"{address}: interrupted")
            if time.monotonic() > until:
                raise MienError(f"{address}: gave up after {seconds:g} s; allow more with compute.clip_seconds")

        return check


def _path(folder: Path, clip: Clip) -> Path:
    """Where the copy of a clip is: with the name of its file, in a folder of its own."""
    own = folder / f"{hash((clip.id, clip.address)):x}"
    own.mkdir(exist_ok=True)
    return own / (name_of(clip.address or "").replace("\\", "_") or "clip")


def _refusal(address: str, places: Sequence[str]) -> str:
    """Why an address is not fetched; empty if it may be."""
    if not any(lies_in(address, place) for place in places):
        return f"not fetched, because only a table names it; {_NAMED}"
    return "not fetched, because this process has no network" if is_denied() else ""


def _is_stored(extraction: Extraction, job: ClipJob, found: RemoteFile) -> bool:
    """Whether all features are stored under the keys that they have if the object is the one of then.

    The copy is an empty file of its size and time meanwhile: keys read no more of it than that.
    """
    if extraction.windows or (extraction.inputs and extraction.inputs.keep) or not job.known or not job.clip.path:
        return False
    origins = {SourceFile.read(origin) for _, _, _, origin in job.known.values()}
    contents = {
        one.content
        for one in origins
        if one and (one.source, one.size, one.changed) == ("path", found.size, found.changed)
    }
    if len(contents) != 1:
        return False
    job.clip.path.touch()
    os.truncate(job.clip.path, found.size)
    os.utime(job.clip.path, ns=(found.changed, found.changed))
    content = contents.pop()
    keys = Keys(
        job.clip, extraction.settings, dict(extraction.weights), resolve_compute(extraction.settings.compute),
        lambda _: content,
    )  # fmt: skip
    try:
        return all(
            job.known.get(name, ("", "failed"))[:2]
            in ((keys.of(modality, name), "present"), (keys.of(modality, name), "absent"))
            for modality in extraction.modalities
            for name in modality.stored_features(extraction.settings.backbone)
        )
    finally:
        job.clip.path.unlink()


def _taken(done: deque[tuple[ClipJob, ClipOutcome]]) -> Outcomes:
    while done:
        yield done.popleft()


def _remove(clip: Clip) -> None:
    if clip.path is not None:
        clip.path.unlink(missing_ok=True)
        clip.path.parent.rmdir()
