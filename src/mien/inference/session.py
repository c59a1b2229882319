"""A session keeps the engines loaded between calls: backbones, face detector, speech recogniser, decoder process.

    session = Session()
    for job, outcome in session.outcomes(extraction, jobs): ...    # loads the engines
    for job, outcome in session.outcomes(extraction, jobs): ...    # loads nothing
    session.close()

Engines are loaded and run without network (``sandbox.offline``): in a thread of the session, or in the calling thread
if that has no network already. The trade-off: one clip is processed at a time; concurrent use would need a lock per
engine and compete for the same cores. Worker processes are not kept: a pool lives as long as its call.
"""

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from mien.features.engines import Engines
from mien.features.jobs import ClipJob, ClipOutcome
from mien.features.worker import Extraction
from mien.sandbox import offline


@dataclass(frozen=True)
class _Loaded:
    """Engines, the extraction they were loaded for, and the function that calls others in their thread."""

    engines: Engines
    loads: Extraction
    call: Callable[..., Any]


class Session:
    """Engines that stay loaded until closed; may be used from several threads."""

    def __init__(self) -> None:
        """A session with nothing loaded yet."""
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None
        self._end: weakref.finalize[Any, Any] | None = None

    def __reduce__(self) -> tuple[type["Session"], tuple[()]]:
        return Session, ()  # a copy loads its own engines

    def outcomes(self, extraction: Extraction, jobs: Iterable[ClipJob]) -> Iterator[tuple[ClipJob, ClipOutcome]]:
        """Extract the features of clips, one after the other.

        Args:
            extraction: settings and weights. If they differ from the last ones, the engines are loaded again.
            jobs: the clips; consumed lazily.
        """
        loads = extraction.loads
        for job in jobs:
            with self._lock:
                outcome = self._outcome(extraction, loads, job)
            yield job, outcome

    @property
    def stage(self) -> str:
        """What is being done with the clip at hand (``MediaEngines.stage``); empty while nothing is loaded."""
        loaded = self._loaded
        return "" if loaded is None else loaded.engines.senses.stage

    @stage.setter
    def stage(self, name: str) -> None:
        if (loaded := self._loaded) is not None:
            loaded.engines.senses.stage = name

    def close(self) -> None:
        """Release the engines and end the decoder process; a later call loads them again."""
        with self._lock:
            self._close()

    def _outcome(self, extraction: Extraction, loads: Extraction, job: ClipJob) -> ClipOutcome:
        if self._loaded is None or self._loaded.loads != loads:
            self._close()
            self._loaded = self._open(loads)
        engines = self._loaded.engines
        try:
            return self._loaded.call(_outcome, engines, extraction, job)
        except BaseException:  # interrupted: the decoder's pending output would be read as the next clip's
            self._close()
            raise

    def _open(self, loads: Extraction) -> _Loaded:
        engines = loads.engines()
        with ExitStack() as stack:
            stack.callback(engines.senses.close)  # closed explicitly, not by garbage collection while in use
            call = stack.enter_context(offline())
            self._end = weakref.finalize(self, stack.pop_all().close)
        return _Loaded(engines, loads, call)

    def _close(self) -> None:
        self._loaded = None
        if self._end is not None:
            self._end()


def _outcome(engines: Engines, extraction: Extraction, job: ClipJob) -> ClipOutcome:
    return extraction(engines)(job)
