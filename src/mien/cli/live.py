"""``mien live``."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from mien import terminal
from mien.cli.options import MODEL_HELP, LocalSetOption, seconds, set_overrides
from mien.cli.printing import console, score

if TYPE_CHECKING:
    from mien.inference.live_events import Event, Scored, Started

WINDOW_SECONDS, HOP_SECONDS = 4.0, 1.0

BAR = 24
"""Width of a bar in characters."""

WORDS = 12
"""Latest words that are shown."""


def live(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    stream: Annotated[
        Path,
        typer.Argument(
            metavar="STREAM",
            help="- for standard input, a camera (/dev/video0), or a file or named pipe: Matroska, WebM, MPEG-TS, "
            "fragmented MP4.",
        ),
    ],
    microphone: Annotated[
        str | None,
        typer.Option(
            "--microphone",
            metavar="NAME",
            help="With a camera: the sound card, in the words of ALSA (arecord -l lists them), or none. By default "
            "plughw:0, the first.",
        ),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            "--window", "--windows", parser=seconds, metavar="SECONDS", help="Length of a window; by default 4s."
        ),
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option("--hop", parser=seconds, metavar="SECONDS", help="From one window to the next; by default 1s."),
    ] = None,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one event per line, as JSON.")] = False,
    lsl: Annotated[
        bool, typer.Option("--lsl", help="Also send scores to Lab Streaming Layer, on the local network.")
    ] = False,
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="FILE", help="Also write the stream to a new file.")
    ] = None,
    context: Annotated[
        float | None,
        typer.Option(
            "--context",
            parser=seconds,
            metavar="SECONDS",
            help="Audio before a second that its encoder hears, at most. By default 30s; less is faster, and differs "
            "more from the scores of the recording.",
        ),
    ] = None,
    overrides: LocalSetOption = None,
    with_server: Annotated[
        bool,
        typer.Option("--with-server", help="A line of JSON with the windows comes before the stream.", hidden=True),
    ] = False,
) -> None:
    """Score a stream while it comes: a camera, a microphone, a call."""
    from mien.config import read_local
    from mien.errors import MediaError
    from mien.features.spans import windows_of
    from mien.features.stream import CONTEXT_SECONDS
    from mien.inference.live import LiveSession
    from mien.inference.live_events import Failed
    from mien.inference.lsl import Outlets
    from mien.inference.predict import load
    from mien.media.stream import StreamSource

    windows = windows_of(window or WINDOW_SECONDS, hop or min(HOP_SECONDS, window or HOP_SECONDS))
    assert windows is not None
    outlets = Outlets() if lsl else None
    name = "standard input" if str(stream) == "-" else stream.name
    failure = ""
    with (
        _opened(stream, microphone) as (descriptor, begin),
        load(model, read_local(set_overrides(overrides))) as loaded,
        StreamSource(descriptor, name, keep) as source,
        LiveSession(loaded, windows, CONTEXT_SECONDS if context is None else context) as session,
        _Display(jsonl) as display,
        _stopping(source),
    ):
        display.show(session.warm())
        if with_server:
            if (line := source.line()) is None:  # the server needs no further session
                return
            asked = json.loads(line)
            windows = windows_of(asked["windows"], asked["hop"]) or windows
        begin()
        for event in session.events(source, windows):
            display.show(event)
            if outlets is not None:
                outlets.send(event)
            if isinstance(event, Failed):
                failure = event.text
    if keep is not None:
        again = f"mien predict MODEL {keep} --windows {windows.seconds:g}s --hop {windows.hop:g}s"
        terminal.note(f"{keep}: {source.kept} bytes recorded; its exact scores: {again}")
    if failure:
        raise MediaError(failure)


@contextmanager
def _opened(stream: Path, microphone: str | None) -> Iterator[tuple[int, Callable[[], None]]]:
    """The descriptor of a stream, and what begins it once everything is loaded."""
    from mien.errors import SettingsError
    from mien.media.capture import MICROPHONE, Capture, is_device
    from mien.media.stream import open_source

    if is_device(stream):
        with Capture(stream, None if microphone == "none" else microphone or MICROPHONE) as camera:
            yield camera.descriptor, camera.start
    elif microphone is not None:
        raise SettingsError("--microphone: goes with a camera, such as /dev/video0; other streams bring their sound")
    else:
        yield open_source(stream), lambda: None


@contextmanager
def _stopping(source: Any) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the stream, so that what came is still scored; a second time they end at once."""

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        source.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Display:
    """A table that follows the stream on a terminal; else a line per final window; with ``jsonl`` a line per event."""

    def __init__(self, jsonl: bool) -> None:
        self._jsonl = jsonl
        self._started: Started | None = None
        self._scored: Scored | None = None
        self._words: list[str] = []
        self._notes: list[str] = []
        self._live = None if jsonl or not console.is_terminal else Live(console=console, auto_refresh=False)

    def __enter__(self) -> "_Display":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, event: "Event") -> None:
        """Show an event."""
        from mien.inference.live_events import Behind, Scored, Spoken, Started, Stopped, Warned, as_line

        if self._jsonl:
            terminal.say_document(as_line(event))
            return
        if isinstance(event, Started):
            self._started = event
        elif isinstance(event, Scored):
            self._scored = event
            if self._live is None and event.state == "final":
                scores = "  ".join(f"{name} {score(value)}" for name, value in event.window.scores.items())
                terminal.say(f"{event.window.start:g}–{event.window.end:g} s  {scores}")
        elif isinstance(event, Spoken):
            self._words = [*self._words, event.text][-WORDS:]
        elif isinstance(event, Behind):
            self._note(f"behind: {event.skipped} windows left out, {event.total} in all")
        elif isinstance(event, Warned):
            self._note(event.text)
        elif isinstance(event, Stopped):
            self._note(f"{event.reason} after {event.seconds:.1f} s: {event.windows} windows, {event.skipped} left out")
        if self._live is not None and self._started is not None:
            self._live.update(self._table(), refresh=True)

    def _note(self, text: str) -> None:
        if self._live is None:
            terminal.note(text)
        self._notes = [*self._notes, text][-3:]

    def _table(self) -> Table:
        """The latest window: a bar per target with its interval, the words, and what is missing."""
        assert self._started is not None
        table = Table("", "score", "", "interval", box=None)
        scored, (low, high) = self._scored, self._started.scale
        for name in self._started.targets:
            if scored is None:
                table.add_row(name, score(None), "", "")
                continue
            ends = scored.window.intervals.get(name, (float("nan"), float("nan")))
            shown = f"{score(ends[0])}–{score(ends[1])}" if ends[0] == ends[0] else ""
            table.add_row(
                name, score(scored.window.scores[name]), bar(scored.window.scores[name], ends, low, high), shown
            )
        if scored is not None:
            missing = "; ".join(f"{name}: {reason}" for name, reason in scored.absent.items())
            about = f"{scored.window.start:g}–{scored.window.end:g} s, {scored.state}, {scored.lag:.1f} s late"
            table.caption = "\n".join(filter(None, (about, " ".join(self._words), missing, *self._notes)))
        return table


def bar(value: float, ends: tuple[float, float], low: float, high: float) -> str:
    """A score as a bar, with its interval as a line.

    >>> bar(0.5, (0.25, 0.75), 0.0, 1.0)
    '██████━━━━━━╋━━━━━      '
    """
    if value != value:
        return ""
    place = [
        round((min(max(at, low), high) - low) / (high - low) * (BAR - 1)) if at == at else -1 for at in (*ends, value)
    ]
    first, last, at = place
    cells = [
        "╋" if cell == at else "━" if first <= cell <= last and first >= 0 else "█" if cell < at else " "
        for cell in range(BAR)
    ]
    return "".join(cells)


COMMANDS = [
    (
        live,
        "Example: ffmpeg -i rtsp://camera/stream -c copy -f matroska - | mien live runs/first - --keep session.mkv; "
        "mien live runs/first /dev/video0 --microphone plughw:1; mien live runs/first clip.mkv --jsonl. "
        "Ctrl-C ends the session after what has come is scored.",
    )
]
