"""The command line: each command parses, calls, and prints. Nothing heavy is imported before a command runs.

Exit codes (``docs/how-to/exit-codes.md``): 0 fine; 1 a fault of data or of the run, told in one line; 2 wrong use;
3 some of the clips or cells failed; 130 interrupted; 141 whoever read the output has gone (``mien … | head``).

This file is what runs first, and so the only one that is there when something is wrong before a command has begun: it
imports nothing but what Python has loaded already, and gives every way to end a line and a status.
"""

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
    """Run the command line; a fault that its user can mend is one line on the error stream."""
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
    """Ctrl-C raises; but it ends the process at once while a module is imported: native ones crash when it raises."""
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
    """From here on Ctrl-C ends the process without a word: whoever does not want to wait for its end presses again."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _ending(error: BaseException) -> tuple[int, str] | None:
    """The status and the line that a fault comes to; ``None`` when it is our own mistake."""
    if isinstance(error, KeyboardInterrupt):
        return 130, "interrupted"
    if isinstance(error, BrokenPipeError):
        return 141, ""
    if isinstance(error, OSError):
        return 1, f"{error.filename or 'standard output, or another stream'}: {error.strerror or error}"
    from mien.errors import MienError

    return (error.exit_code, str(error)) if isinstance(error, MienError) else None


def _open_streams() -> None:
    """See that the three standard streams are there and take every character.

    A stream that was closed (``>&-``) would give its number to the first file that is opened, into which whatever is
    printed would then go. It leads nowhere instead.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            os.set_inheritable(number, True)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not when somebody has put another object in its place
            stream.reconfigure(errors="backslashreplace")


def _leave(status: int, line: str) -> NoReturn:
    """End; a stream that takes nothing any more is let go of, so that Python does not complain of it at its end."""
    for stream, text in ((sys.stdout, ""), (sys.stderr, f"mien: {_legible(line)}\n" if line else "")):
        try:
            stream.write(text)
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(status)


def _legible(line: str) -> str:
    from mien.errors import escape_control

    return escape_control(line)
