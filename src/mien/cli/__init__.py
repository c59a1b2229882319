"""The command line: each command parses, calls, and prints. Nothing heavy is imported before a command runs.

Exit codes: 0 fine; 1 a fault of data or of the run, told in one line; 2 wrong use; 130 interrupted; 141 whoever read
the output has gone (``mien … | head``), as other programs have it.
"""

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from mien.cli import about, data, licences, models, reporting, scoring, summary, tables, weights
from mien.errors import MienError, legible
from mien.sandbox import deny_network


class Commands(TyperGroup):
    """Typer would end an interrupted command, and one whose output nobody reads, without a word and with a status 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _leave("interrupted; the same command continues where it stopped", 130)
        except BrokenPipeError:
            _leave_quietly()


app = typer.Typer(
    name="mien",
    cls=Commands,
    help="Watches short videos of people and says how strongly emotions show.",
    epilog="First steps: mien doctor; mien weights fetch small; mien predict MODEL clip.mp4",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(weights.app, name="weights")


def _offline(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes the network from this process, before it imports anything that is native."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        deny_network()
        command(*args, **kwargs)

    return run


for room in (data, models, scoring, tables, summary, reporting, licences, about):
    for command, epilog in room.COMMANDS:
        app.command(epilog=epilog)(_offline(command))


def main() -> None:
    """Run the command line; a fault that its user can mend is one line on the error stream."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _leave_quietly()
    except MienError as error:
        _leave(str(error), error.exit_code)
    except OSError as error:
        _leave(f"{error.filename or 'input or output'}: {error.strerror or error}", 1)


def _leave_quietly() -> NoReturn:
    """Nobody reads: nothing more is said, nor by Python itself when it lets go of its streams."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, sys.stdout.fileno())
    os.dup2(silence, sys.stderr.fileno())
    sys.exit(141)


def _leave(message: str, code: int) -> NoReturn:
    print(f"mien: {legible(message)}", file=sys.stderr)
    sys.exit(code)
