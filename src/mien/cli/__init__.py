"""The command line: each command parses, calls, and prints. Nothing heavy is imported before a command runs.

Exit codes (``docs/how-to/exit-codes.md``): 0 success; 1 an error of data or of the run, in one line; 2 a usage error;
3 some clips or cells failed; 130 interrupted by Ctrl-C; 141 the reader of the output has closed it (``mien … | head``);
143 stopped by SIGTERM.

This file runs first and handles errors before a command has begun, so it imports only modules that Python has loaded
already; every way to end has a line and a status.
"""

import gc
import io
import os
import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from mien.cli.commands import app as app


SAME_SIGNAL_SECONDS = 10.0
"""A SIGTERM so soon after the first is the same request: ``timeout`` sends two, and Slurm one to every process."""


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module 'mien.cli' has no attribute {name!r}")
    from mien.cli.commands import app

    return app


def main() -> NoReturn:
    """Run the command line; an error that the user can fix is one line on the error stream."""
    gc.set_threshold(50_000, 20, 100)  # what is imported is not garbage, and looking for some takes a tenth of its time
    interruption = _Interruption()
    try:
        interruption.catch()
        _open_streams()
        from mien.cli.commands import run

        status, line = run(), ""
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        interruption.end()
        ending = _ending(error)
        if ending is None:
            raise
        status, line = ending
    interruption.end()
    _leave(interruption.status(status), line)


class _Interruption:
    """Ctrl-C and SIGTERM: both raise ``KeyboardInterrupt``, so that a command cleans up and reports what it kept.

    Child processes do not inherit this: each is a new program, in which SIGTERM has its default effect.
    """

    def __init__(self) -> None:
        self._terminated: float | None = None

    def catch(self) -> None:
        """Handle both from here on; one that the caller has set to be ignored stays ignored."""
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _interrupt)
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._terminate)

    def status(self, status: int) -> int:
        """The exit status: that of an interrupted command says which signal it was."""
        return 128 + signal.SIGTERM if status == 130 and self._terminated is not None else status

    def end(self) -> None:
        """From here on, another Ctrl-C ends the process at once, and so does a first SIGTERM."""
        again = signal.SIG_DFL if self._terminated is None else signal.SIG_IGN
        for number, action in ((signal.SIGINT, signal.SIG_DFL), (signal.SIGTERM, again)):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, action)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._terminated is None or now - self._terminated > SAME_SIGNAL_SECONDS:
            self._terminated = now
            _interrupt(number, frame)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise; during an import end the process at once, since native modules may crash otherwise."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    if frame is not None:
        _leave_now(number)
    raise KeyboardInterrupt


def _leave_now(number: int) -> NoReturn:
    try:
        os.write(2, b"mien: interrupted\n")
    finally:
        os._exit(128 + number)


def _ending(error: BaseException) -> tuple[int, str] | None:
    """Exit status and message of an error; ``None`` for a bug, which keeps its traceback."""
    if isinstance(error, KeyboardInterrupt):
        return 130, "interrupted"
    if isinstance(error, BrokenPipeError):
        return 141, ""
    if isinstance(error, OSError):
        return 1, f"{error.filename or 'standard output, or another stream'}: {error.strerror or error}"
    from mien.errors import MienError

    return (error.exit_code, str(error)) if isinstance(error, MienError) else None


def _open_streams() -> None:
    """Make sure that the three standard streams are open and accept every character.

    The descriptor of a closed stream (``>&-``) would be given to the first file that is opened, and prints would go
    into it. It is opened on the null device instead.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
            os.set_inheritable(number, True)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not if the stream was replaced
            stream.reconfigure(errors="backslashreplace")


def _leave(status: int, line: str) -> NoReturn:
    """Exit; a broken stream is redirected to the null device, so that Python reports no error at shutdown."""
    for stream, text in ((sys.stdout, ""), (sys.stderr, f"mien: {_escape(line)}\n" if line else "")):
        try:
            stream.write(text)
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    gc.freeze()  # as Python ends, it looks for garbage among all objects: half a second where torch is loaded
    sys.exit(status)


def _escape(line: str) -> str:
    from mien.errors import escape_control

    return escape_control(line)
