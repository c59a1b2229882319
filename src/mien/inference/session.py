"""What scoring needs loaded, from one call to the next: backbones, face finder, recogniser, the process that decodes.

    session = Session()
    for job, outcome in session.outcomes(extraction, jobs): ...    # loads what the first clip needs
    for job, outcome in session.outcomes(extraction, jobs): ...    # loads nothing
    session.close()

All of it lives and works without network (``sandbox.offline``): in one thread that the session keeps, or, where the
calling thread has none, right there. The trade-off: one clip is worked on at a time, whoever asks; engines that were
shared at once would each need a lock of their own, and take the same cores from each other. Worker processes are not
kept: a pool lives as long as the call that wants it.
"""

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from mien.features.worker import ClipJob, ClipOutcome, Engines, Extraction
from mien.sandbox import offline


@dataclass(frozen=True)
class _Loaded:
    """Engines, the extraction that they were made for, and the way to call functions that use them."""

    engines: Engines
    loads: Extraction
    call: Callable[..., Any]


class Session:
    """Engines that stay until they are closed; may be used from several threads."""

    def __init__(self) -> None:
        """A session in which nothing is loaded yet."""
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None
        self._end: weakref.finalize[Any, Any] | None = None

    def __reduce__(self) -> tuple[type["Session"], tuple[()]]:
        return Session, ()  # a copy, or whoever it is sent to, loads for itself

    def outcomes(self, extraction: Extraction, jobs: Iterable[ClipJob]) -> Iterator[tuple[ClipJob, ClipOutcome]]:
        """What becomes of each clip, one after the other.

        Args:
            extraction: what is wanted. One that loads something else than the last replaces what is loaded.
            jobs: the clips; taken as they are needed.
        """
        loads = extraction.loads
        for job in jobs:
            with self._lock:
                outcome = self._outcome(extraction, loads, job)
            yield job, outcome

    def close(self) -> None:
        """Let go of all that is loaded, and end the process that decodes; a later call loads anew."""
        with self._lock:
            self._close()

    def _outcome(self, extraction: Extraction, loads: Extraction, job: ClipJob) -> ClipOutcome:
        if self._loaded is None or self._loaded.loads != loads:
            self._close()
            self._loaded = self._open(loads)
        engines = self._loaded.engines
        try:
            return self._loaded.call(_outcome, engines, extraction, job)
        except BaseException:  # interrupted: what the decoder still sends would be taken for the next clip's
            self._close()
            raise

    def _open(self, loads: Extraction) -> _Loaded:
        engines = Engines(loads)
        with ExitStack() as stack:
            stack.callback(engines.senses.close)  # not left to the collection of garbage, which may come amid its work
            call = stack.enter_context(offline())
            self._end = weakref.finalize(self, stack.pop_all().close)
        return _Loaded(engines, loads, call)

    def _close(self) -> None:
        self._loaded = None
        if self._end is not None:
            self._end()


def _outcome(engines: Engines, extraction: Extraction, job: ClipJob) -> ClipOutcome:
    return extraction(engines)(job)
