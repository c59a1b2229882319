"""The command group, and how a command is run."""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from mien import terminal
from mien.cli import (
    about,
    corpora,
    data,
    licences,
    live,
    merging,
    models,
    reporting,
    scoring,
    serving,
    summary,
    tables,
    weights,
)  # fmt: skip
from mien.errors import Interrupted, MienError, SettingsError, escape_control
from mien.sandbox import NO_LOOKUPS, NO_REPORTS, deny_network
from mien.scale import launched
from mien.storage.addresses import mentions_address
from mien.storage.files import cache_folder

ONLINE = ("weights", "serve", "work")
"""Commands with network access: to download, to be reached, and to reach a database (``work`` denies it otherwise)."""

FETCHING = ("extract", "predict", "merge", "train", "cross-validate", "study", "tune", "evaluate", "compare")
"""Commands that read from and write to object storage, and have network access if an address is named to them; what
opens clips has none (``features/fetch.py``)."""

CLUSTER = ("extract", "predict", "study", "doctor")
"""Commands with network access when ``--cluster`` is given: they talk to its head. Clips are handled without it."""

CONTINUE = ("extract", "merge", "synth", "train", "cross-validate", "study", "tune", "weights", "serve", "work")
"""Commands that continue an interrupted one. ``predict`` reports itself how much it stored."""


class Commands(TyperGroup):
    """Reports interrupts and broken pipes; Typer alone ends with status 1 and no message."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            resumes = ctx.invoked_subcommand in CONTINUE
            then = "continues where it stopped" if resumes else "starts again from the beginning"
            raise Interrupted(f"interrupted; the same command {then}") from None
        except BrokenPipeError:
            raise typer.Exit(141) from None


class Command(TyperCommand):
    """A command; its help lists the export formats, which need pyarrow and so are imported only for that."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Replace ``{formats}`` in the help of options."""
        for option in self.params:
            text = getattr(option, "help", None)
            if text and "{formats}" in text:
                from mien.scores.exports import FORMATS

                option.help = text.replace("{formats}", ", ".join(FORMATS))  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


app = typer.Typer(
    name="mien",
    cls=Commands,
    help="Estimates how strongly emotions show in short videos of people.",
    epilog="First steps: mien doctor; mien weights fetch small; mien predict MODEL clip.mp4",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(weights.app, name="weights")
for module in (data, corpora, models, scoring, merging, live, serving, tables, summary, reporting, licences, about):
    for command, epilog in module.COMMANDS:
        app.command(epilog=epilog, cls=Command)(command)


def run() -> int:
    """Run the command given by ``sys.argv``; returns its exit status.

    Raises:
        MienError: an error of data or usage, in one line.
        OSError: of the standard streams.
    """
    warnings.formatwarning = _formatted
    try:
        Path.cwd()
    except FileNotFoundError:
        raise MienError("the current directory was deleted; change to one that exists (cd), and run it again") from None
    exchanges_gradients = sys.argv[1:2] == ["train"] and launched() > 1
    sends_scores = sys.argv[1:2] == ["live"] and "--lsl" in sys.argv  # what handles the stream has no network
    uses_cluster = sys.argv[1:2] in ([name] for name in CLUSTER) and any(
        word.partition("=")[0] == "--cluster" for word in sys.argv
    )
    fetches = sys.argv[1:2] in ([name] for name in FETCHING) and any(map(mentions_address, sys.argv[2:]))
    online = sys.argv[1:2] in ([name] for name in ONLINE)
    if fetches or uses_cluster:
        os.environ.update(NO_REPORTS | NO_LOOKUPS)
    elif not (online or exchanges_gradients or sends_scores):
        deny_network()  # before anything native is imported
    os.environ.setdefault(
        "MPLCONFIGDIR", str(cache_folder() / "matplotlib")
    )  # else fonts are cached in the home folder
    try:
        return typer.main.get_command(app).main(prog_name="mien", standalone_mode=False) or 0
    except typer.Abort:
        raise Interrupted("interrupted") from None
    except Exception as error:
        if not _is_usage_error(error):
            raise
        return _usage_error(error)


def _formatted(message: Warning | str, kind: type[Warning], file: str, line: int, text: str | None = None) -> str:  # noqa: ARG001
    """A library's warning in one line; it may quote a file name."""
    return f"{escape_control(f'{file}:{line}: {kind.__name__}: {message}')}\n"


def _is_usage_error(error: Exception) -> bool:
    """Compared by class name: newer versions of typer contain a copy of click, older ones import it."""
    return any(kind.__name__ == "ClickException" for kind in type(error).__mro__)


def _usage_error(error: Any) -> int:
    """A usage error as one line; Typer's box would not escape control characters."""
    if type(error).__name__ == "NoArgsIsHelpError":
        if text := error.format_message():  # empty with rich, which prints it
            terminal.say_document(text)
        return error.exit_code
    where = getattr(getattr(error, "ctx", None), "command_path", "mien")
    raise SettingsError(f"{error.format_message().rstrip('.')}; see {where} --help")
