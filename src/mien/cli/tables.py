"""``mien export``, ``import-elan``, ``schema``: scores for other programs, and labels from them."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mien import terminal
from mien.cli.options import FormatOption, RawCellsOption
from mien.wording import plural

ScoresArgument = Annotated[
    Path, typer.Argument(metavar="SCORES.json", help="Output of mien predict --out SCORES.json.")
]


def export(
    scores: ScoresArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file, or the folder for eaf and textgrid.")],
    form: FormatOption = None,
    raw_cells: RawCellsOption = False,
) -> None:
    """Export scores: as a table, to ELAN or Praat, or in the JSON of Hume's retired service."""
    from mien.scores.document import read_document
    from mien.scores.exports import check_form, write_scores

    check_form(out, form)
    document = read_document(scores)
    for note in write_scores(document, out, form, raw_cells=raw_cells):
        terminal.note(note)
    terminal.say(f"{out}: {plural(len(document.clips), 'clip')}")


def import_elan(
    source: Annotated[Path, typer.Argument(metavar="EAF", help="An .eaf file, or a folder of them.")],
    tiers: Annotated[str, typer.Option("--tiers", metavar="A,B,…", help="Tiers with ratings, one per target.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="CSV", help="The table of clips to write.")],
    transcript: Annotated[
        str | None, typer.Option("--transcript", metavar="TIER", help="Tier with the transcript.")
    ] = None,
    raw_cells: RawCellsOption = False,
) -> None:
    """Import ELAN ratings: every rated annotation becomes a clip with its labels, to train on or to evaluate with."""
    from mien.data.clip_table import write_clips
    from mien.data.elan import read_elan

    manifest = read_elan(source, [name.strip() for name in tiers.split(",") if name.strip()], transcript)
    for note in manifest.notes:
        terminal.note(note)
    write_clips(manifest, out, raw_cells=raw_cells)
    terminal.say(f"{out}: {plural(len(manifest.clips), 'clip')}, rated for {', '.join(manifest.targets)}")


def schema(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write to a file instead.")] = None,
) -> None:
    """Print the JSON Schema of the scores that mien predict --out SCORES.json writes."""
    from mien.scores.document import json_schema
    from mien.storage.files import atomic_file

    text = json.dumps(json_schema(), indent=2)
    if out is None:
        terminal.say_document(text)
    else:
        with atomic_file(out) as part:
            part.write_text(text + "\n", encoding="utf-8")


COMMANDS = [
    (
        export,
        "Example: mien export scores.json --format eaf --out elan; mien export scores.json --format long --out x.csv",
    ),
    (import_elan, "Example: mien import-elan ratings/ --tiers Joy,Amusement --transcript words --out clips.csv"),
    (schema, "Example: mien schema --out mien-scores.json"),
]
