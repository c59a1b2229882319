"""What a live session reports, one event after the other; ``as_line`` is one line of JSON.

    ready → started → (window | word | behind | warning)* → [error] → stopped

Times are seconds of the stream. ``nan`` is null.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from mien.schema import Window
from mien.storage.documents import plain


@dataclass(frozen=True)
class Ready:
    """Everything is loaded; the stream is waited for."""

    type: ClassVar[str] = "ready"


@dataclass(frozen=True)
class Started:
    """The stream can be decoded.

    Attributes:
        model: its name.
        targets: names of the scores, in order.
        modalities: those that the model reads.
        scale: range of the scores.
        interval_level: target coverage of the intervals; ``None`` without.
        window, hop: seconds.
        video, audio: whether the stream has them.
    """

    type: ClassVar[str] = "started"
    model: str
    targets: Sequence[str]
    modalities: Sequence[str]
    scale: tuple[float, float]
    interval_level: float | None
    window: float
    hop: float
    video: bool
    audio: bool


@dataclass(frozen=True)
class Scored:
    """A window.

    Attributes:
        window: its times, scores, intervals and available modalities.
        state: ``provisional`` while words in it may still be recognised, then ``final``; one of each at most.
        absent: by missing modality, the reason.
        lag: seconds by which it comes later than its end, as far as is known here.
    """

    type: ClassVar[str] = "window"
    window: Window
    state: Literal["provisional", "final"]
    absent: Mapping[str, str] = field(default_factory=dict)
    lag: float = 0.0


@dataclass(frozen=True)
class Spoken:
    """A recognised word."""

    type: ClassVar[str] = "word"
    text: str
    start: float
    end: float
    probability: float
    doubtful: bool


@dataclass(frozen=True)
class Behind:
    """Windows were left out, since this machine does not keep up with the stream.

    Attributes:
        skipped: number of windows now; ``total`` since the start.
        start, end: the part of the stream that was not looked at.
    """

    type: ClassVar[str] = "behind"
    skipped: int
    total: int
    start: float
    end: float


@dataclass(frozen=True)
class Warned:
    """Something that affects the scores."""

    type: ClassVar[str] = "warning"
    text: str


@dataclass(frozen=True)
class Failed:
    """Why the stream cannot be decoded any more."""

    type: ClassVar[str] = "error"
    text: str


@dataclass(frozen=True)
class Stopped:
    """The end.

    Attributes:
        reason: ``ended`` (the stream), ``stopped`` (by the user) or ``failed``.
        seconds: length of the stream.
        windows: number of windows that became final.
        skipped: number of windows that were left out.
    """

    type: ClassVar[str] = "stopped"
    reason: Literal["ended", "stopped", "failed"]
    seconds: float
    windows: int
    skipped: int


Event = Ready | Started | Scored | Spoken | Behind | Warned | Failed | Stopped


def as_dict(event: Event) -> dict[str, Any]:
    """An event as JSON-like values, its type first."""
    if not isinstance(event, Scored):
        return {"type": event.type} | asdict(event)
    window = event.window
    ends = {
        name: {target: plain(pair[place]) for target, pair in window.intervals.items()}
        for place, name in enumerate(("lower", "upper"))
    }
    return {
        "type": event.type,
        "state": event.state,
        "start": window.start,
        "end": window.end,
        "scores": {target: plain(value) for target, value in window.scores.items()},
        **ends,
        "present": list(window.present),
        "absent": dict(event.absent),
        "clipped": list(window.clipped),
        "lag": round(event.lag, 3),
    }


def as_line(event: Event) -> str:
    """An event as one line of JSON, in ASCII."""
    return json.dumps(as_dict(event), allow_nan=False)
