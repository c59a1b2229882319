"""``mien summarize``: do scores differ between conditions?"""

from pathlib import Path
from typing import Annotated

import typer

from mien import terminal
from mien.cli.options import RawCellsOption


def summarize(
    scores: Annotated[Path, typer.Argument(metavar="SCORES", help="Output of mien predict --out: .json or a table.")],
    by: Annotated[str, typer.Option("--by", metavar="COLUMN", help="Column with each clip's condition.")],
    about: Annotated[
        Path | None,
        typer.Option("--about", metavar="TABLE", help="A table with the columns clip, participant, and --by."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", help="Condition to subtract from each person's scores, e.g. neutral."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write a table: .csv, .tsv, .parquet or .json.")
    ] = None,
    resamples: Annotated[
        int, typer.Option("--resamples", min=100, help="Bootstrap resamples and permutations, over people.")
    ] = 10_000,
    raw_cells: RawCellsOption = False,
) -> None:
    """Compare conditions: means and differences over people, with intervals, p, and q for many comparisons."""
    from mien.cli.results import print_summary
    from mien.evaluation.clip_table import to_table
    from mien.scores.conditions import read_scored
    from mien.scores.summary import summarize as summarize_scores
    from mien.scores.tables import check_suffix, write_table

    if out is not None:
        check_suffix(out)
    scored, notes = read_scored(scores, by, about)
    for note in notes:
        terminal.note(note)
    made = summarize_scores(scored, baseline, resamples)
    if out is not None:
        write_table(to_table(made), out, raw_cells=raw_cells)
    print_summary(made)
    if out is not None:
        terminal.say(f"{out}: written")


COMMANDS = [
    (
        summarize,
        "Example: mien summarize scores.csv --by condition --about people.csv --baseline neutral --out summary.csv",
    )
]
