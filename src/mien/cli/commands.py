"""All commands in one, and how one is run."""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from mien import terminal
from mien.cli import about, data, licences, models, reporting, scoring, summary, tables, weights
from mien.errors import Interrupted, MienError, SettingsError, escape_control
from mien.sandbox import deny_network
from mien.storage.files import cache_folder

ONLINE = "weights"
"""The one group of commands that may open a connection."""

CONTINUE = ("extract", "synth", "train", "study", "tune", "weights")
"""Commands that take up again what an interrupted one has finished. ``predict`` says itself what it kept."""


class Commands(TyperGroup):
    """Typer would end an interrupted command, and one whose output nobody reads, without a word and with a status 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            goes_on = ctx.invoked_subcommand in CONTINUE
            then = "continues where it stopped" if goes_on else "starts again from the beginning"
            raise Interrupted(f"interrupted; the same command {then}") from None
        except BrokenPipeError:
            raise typer.Exit(141) from None


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
for room in (data, models, scoring, tables, summary, reporting, licences, about):
    for command, epilog in room.COMMANDS:
        app.command(epilog=epilog)(command)


def run() -> int:
    """Run the command that the arguments of this process name; its status.

    Raises:
        MienError: a fault, or wrong use, in one line.
        OSError: of the streams.
    """
    warnings.formatwarning = _formatted
    try:
        Path.cwd()
    except FileNotFoundError:
        raise MienError("the current directory was deleted; change to one that exists (cd), and run it again") from None
    if sys.argv[1:2] != [ONLINE]:
        deny_network()  # before anything native is imported
    os.environ.setdefault("MPLCONFIGDIR", str(cache_folder() / "matplotlib"))  # or its fonts lie in the home folder
    try:
        return typer.main.get_command(app).main(prog_name="mien", standalone_mode=False) or 0
    except typer.Abort:
        raise Interrupted("interrupted") from None
    except Exception as error:
        if not _is_wrong_use(error):
            raise
        return _wrong_use(error)


def _formatted(message: Warning | str, kind: type[Warning], file: str, line: int, text: str | None = None) -> str:  # noqa: ARG001
    """A library's warning, which may quote a name, in one line."""
    return f"{escape_control(f'{file}:{line}: {kind.__name__}: {message}')}\n"


def _is_wrong_use(error: Exception) -> bool:
    """By the name of a class: typer brings a copy of click in newer versions, and uses click itself in older ones."""
    return any(kind.__name__ == "ClickException" for kind in type(error).__mro__)


def _wrong_use(error: Any) -> int:
    """Tell in one line what typer shows in a box, in which control characters would stay."""
    if type(error).__name__ == "NoArgsIsHelpError":
        if text := error.format_message():  # with rich, it is printed already
            terminal.say_document(text)
        return error.exit_code
    where = getattr(getattr(error, "ctx", None), "command_path", "mien")
    raise SettingsError(f"{error.format_message().rstrip('.')}; see {where} --help")
