"""``mien data``: public corpora as tables."""

from pathlib import Path
from typing import Annotated

import typer

from mien import terminal
from mien.cli.options import LabelScaleOption, RawCellsOption, TargetsOption
from mien.wording import plural


def data(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A corpus; without one, all are listed.")] = None,
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="Its files, as published; without it, the corpus is described."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="CSV", help="The table of clips to write.")] = None,
    channel: Annotated[
        str, typer.Option("--channel", help="What raters were given: both, face or voice (crema-d, ravdess).")
    ] = "both",
    targets: TargetsOption = None,
    label_scale: LabelScaleOption = 1.0,
    raw_cells: RawCellsOption = False,
) -> None:
    """Read a public corpus: its films or texts and their ratings become a table for extract and train."""
    from mien.data.clip_table import write_clips
    from mien.data.corpora import CORPORA, find_corpus, read_corpus

    if name is None:
        for corpus in CORPORA.values():
            terminal.say(f"{corpus.name:<18} {corpus.items}; {corpus.licence}")
        return
    corpus = find_corpus(name)
    if folder is None:
        for line in corpus.describe():
            terminal.say(line)
        return
    if out is None:
        raise typer.BadParameter("name the table to write with --out clips.csv")
    chosen = targets.split(",") if targets else None
    manifest = read_corpus(name, folder, channel=channel, targets=chosen, label_scale=label_scale)
    for note in manifest.notes:
        terminal.note(note)
    write_clips(manifest, out, raw_cells=raw_cells)
    terminal.say(f"{out}: {plural(len(manifest.clips), 'clip')}, rated for {', '.join(manifest.targets)}")
    terminal.say(f"licence: {corpus.licence}; cite {corpus.citation}")
    terminal.say(f"it is not {corpus.is_not}")


COMMANDS = [
    (
        data,
        "Example: mien data; mien data crema-d; mien data crema-d CREMA-D --out crema-d.csv; "
        "mien data goemotions goemotions --targets Joy,Amusement --out joy.csv",
    )
]
