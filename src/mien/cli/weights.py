"""``mien weights list | fetch | verify``: list, download and check pretrained weights."""

from typing import TYPE_CHECKING, Annotated

import typer

from mien import terminal

if TYPE_CHECKING:
    from mien.weights import Entry

app = typer.Typer(
    help="Pretrained weights: list, fetch, verify.", epilog="Example: mien weights fetch small", no_args_is_help=True
)

Names = Annotated[
    list[str],
    typer.Argument(metavar="NAME…", help="Sets (small, paper, tiny), entries of the list, or owner/name@commit."),
]


@app.command("list", epilog="Example: mien weights list")
def list_weights() -> None:
    """Print every entry: what it is, its licence, source, size and hash, and whether it is in the cache."""
    from rich.table import Table

    from mien.weights import ENTRIES, SETS, weights_folder
    from mien.weights.cache import cached_repositories, files_of, folder_of
    from mien.weights.licence_note import licence_note

    table = Table(
        "name",
        "sets",
        "in cache",
        "MB",
        "licence (wheel / upstream)",
        "description and source",
        box=None,
        pad_edge=False,
    )
    for entry in ENTRIES.values():
        sets = " ".join(name for name, roles in SETS.items() if entry.name in roles.values())
        size = f"{entry.bytes / 1e6:.1f}" if entry.bytes else "–"
        what = terminal.lines(entry.what, entry.source, _hash(entry))
        table.add_row(entry.name, sets or "–", _in_cache(entry), size, entry.licence, what)
    for entry in cached_repositories():
        size = f"{sum(path.stat().st_size for path in files_of(folder_of(entry))) / 1e6:.1f}"
        what = terminal.lines(entry.what, f"hub:{entry.repository}@{entry.revision}", _hash(entry))
        table.add_row(entry.name, "–", _in_cache(entry), size, licence_note(folder_of(entry)), what)
    terminal.Printer().print(table)
    terminal.say(f"cache: {weights_folder()}")


@app.command(epilog="Example: mien weights fetch small; mien weights fetch owner/name@<all 40 digits of a commit>")
def fetch(
    names: Names,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
) -> None:
    """Download weights into the cache and check every byte; complete ones are kept."""
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
    """Check all cached weights against their hashes. Exit status 1 if one does not match."""
    from mien.weights import verify as verify_weights

    try:
        checked = verify_weights(names or None)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    for check in checked:
        detail = f": {check.detail}; run `mien weights fetch {check.name}`" if check.detail else ""
        terminal.say(f"{check.state:8} {check.name}{detail}")
    if not checked:
        terminal.say("no weights in the cache; run `mien weights fetch small`")
    if any(check.state != "whole" for check in checked):
        raise typer.Exit(1)


def _in_cache(entry: "Entry") -> str:
    from mien.weights.cache import check

    state = check(entry).state
    return {"whole": "yes", "missing": "made on first use" if entry.kind == "made" else "no"}.get(state, state)


def _hash(entry: "Entry") -> str:
    """SHA-256 of the largest file: pinned, or recorded at download; else why there is none."""
    from mien.weights.cache import main_hash

    if entry.kind == "made":
        return "random weights have no hash"
    name, value, pinned = main_hash(entry)
    if not value:
        return "sha256 unknown: recorded at the first download"
    return f"sha256 {value} ({name}{'' if pinned else ', as first seen'})"
