"""The command line: each command parses, calls, and prints. Nothing heavy is imported before a command runs.

Exit codes (``docs/how-to/exit-codes.md``): 0 success; 1 an error of data or of the run, in one line; 2 a usage error;
3 some clips or cells failed; 130 interrupted; 141 the reader of the output has closed it (``mien … | head``).

This file runs first and handles errors before a command has begun, so it imports only modules that Python has loaded
already; every way to end has a line and a status.
"""

import gc
import io
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from mien.cli.commands import app as app


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module 'mien.cli' has no attribute {name!r}")
    from mien.cli.commands import app

    return app


def main() -> NoReturn:
    """Run the command line; an error that the user can fix is one line on the error stream."""
    gc.set_threshold(50_000, 20, 100)  # what is imported is not garbage, and looking for some takes a tenth of its time
    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _interrupt)
        _open_streams()
        from mien.cli.commands import run

        status, line = run(), ""
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        _end_on_interrupt()
        ending = _ending(error)
        if ending is None:
            raise
        status, line = ending
    _end_on_interrupt()
    _leave(status, line)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Ctrl-C raises; during an import it ends the process at once, since native modules may crash otherwise."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    if frame is None:
        signal.default_int_handler(number, frame)
    _leave_now()


def _leave_now() -> NoReturn:
    try:
        os.write(2, b"mien: interrupted\n")
    finally:
        os._exit(130)


def _end_on_interrupt() -> None:
    """From here on, another Ctrl-C ends the process at once."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


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
