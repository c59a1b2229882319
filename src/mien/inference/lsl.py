"""Lab Streaming Layer: scores as one stream and events as another, beside EEG or other recordings of a lab.

    stream     type      rate        channels
    mien       Emotion   irregular   <target>, then <target>_lower and <target>_upper of the interval
    mien       Markers   irregular   one string: word:…, behind:…, warning:…, started, stopped

A sample of scores bears the time of the middle of its window, on the clock of LSL. Only final windows are sent, so that
each window has one sample. LSL announces streams on the local network, where anyone can read them.

Source: https://labstreaminglayer.readthedocs.io; metadata of channels as in the XDF specification.
"""

from typing import Any

from mien.errors import DependencyMissing
from mien.inference.live_events import Behind, Event, Failed, Scored, Spoken, Started, Stopped, Warned

NAME = "mien"


class Outlets:
    """The two streams; made when the session has started, since the channels are named after the targets.

    Raises:
        DependencyMissing: pylsl is not installed.
    """

    def __init__(self) -> None:
        self._lsl = _pylsl()
        self._scores: Any = None
        self._markers: Any = None
        self._targets: tuple[str, ...] = ()
        self._latest = 0.0

    def send(self, event: Event) -> None:
        """Send an event; what LSL has no place for is left out."""
        if isinstance(event, Started):
            self._open(event)
            self._mark("started")
        elif self._scores is None:
            return
        elif isinstance(event, Scored):
            self._send_scores(event)
        elif isinstance(event, Spoken):
            self._mark(f"word:{event.text}", event.start)
        elif isinstance(event, Behind):
            self._mark(f"behind:{event.skipped}", event.start)
        elif isinstance(event, Warned | Failed):
            self._mark(f"{event.type}:{event.text}")
        elif isinstance(event, Stopped):
            self._mark("stopped")

    def _open(self, started: Started) -> None:
        lsl, self._targets = self._lsl, tuple(started.targets)
        labels = [name + end for end in ("", "_lower", "_upper") for name in self._targets]
        info = lsl.StreamInfo(NAME, "Emotion", len(labels), lsl.IRREGULAR_RATE, lsl.cf_float32, f"mien-{started.model}")
        channels = info.desc().append_child("channels")
        for label in labels:
            channel = channels.append_child("channel")
            channel.append_child_value("label", label)
            channel.append_child_value("type", "Emotion")
        info.desc().append_child_value("window_seconds", f"{started.window:g}")
        info.desc().append_child_value("hop_seconds", f"{started.hop:g}")
        self._scores = lsl.StreamOutlet(info)
        marks = lsl.StreamInfo(NAME, "Markers", 1, lsl.IRREGULAR_RATE, lsl.cf_string, f"mien-{started.model}-markers")
        self._markers = lsl.StreamOutlet(marks)
        self._zero = lsl.local_clock()

    def _send_scores(self, event: Scored) -> None:
        """The first to come, provisional or final, sets the clock: its end came ``lag`` seconds ago."""
        window = event.window
        self._zero = min(self._zero, self._lsl.local_clock() - event.lag - window.end)
        if event.state == "final":
            ends = [[window.intervals[name][place] for name in self._targets] for place in (0, 1)]
            values = [*(window.scores[name] for name in self._targets), *ends[0], *ends[1]]
            self._scores.push_sample(values, self._zero + (window.start + window.end) / 2)

    def _mark(self, text: str, seconds: float | None = None) -> None:
        at = self._lsl.local_clock() if seconds is None else self._zero + seconds
        self._markers.push_sample([text], at)


def _pylsl() -> Any:
    try:
        import pylsl  # noqa: PLC0415 - optional, and it loads a native library
    except (ImportError, RuntimeError) as error:
        raise DependencyMissing(f"--lsl needs pylsl ({error}); pip install 'mien[live]'") from error
    return pylsl
