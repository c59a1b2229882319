"""The command line: each command parses, calls, and prints. Nothing heavy is imported before a command runs.

Exit codes: 0 fine; 1 a fault of data or of the run, told in one line; 2 wrong use; 130 interrupted.
"""

import sys

import typer

from mien.cli import about, data, licences, models, scoring, summary, tables, weights
from mien.errors import MienError, legible

app = typer.Typer(
    name="mien",
    help="Watches short videos of people and says how strongly emotions show.",
    epilog="First steps: mien doctor; mien weights fetch small; mien predict MODEL clip.mp4",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(weights.app, name="weights")
for room in (data, models, scoring, tables, summary, licences, about):
    for command, epilog in room.COMMANDS:
        app.command(epilog=epilog)(command)


def main() -> None:
    """Run the command line; a fault that its user can mend is one line on the error stream."""
    try:
        app()
    except MienError as error:
        _leave(str(error), error.exit_code)
    except KeyboardInterrupt:
        _leave("interrupted; the same command continues where it stopped", 130)
    except OSError as error:
        _leave(f"{error.filename or 'input or output'}: {error.strerror or error}", 1)


def _leave(message: str, code: int) -> None:
    print(f"mien: {legible(message)}", file=sys.stderr)
    sys.exit(code)
