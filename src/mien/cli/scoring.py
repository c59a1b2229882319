"""``mien predict``."""

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.options import QuietOption, WorkersOption


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder, or the run folder that holds one.")],
    clips: Annotated[list[Path], typer.Argument(metavar="CLIP…", help="Videos, folders, or a table of clips.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the scores: .csv, .tsv, .parquet or .json.")
    ] = None,
    workers: WorkersOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Score clips: how strongly each emotion shows, from whatever can be seen and heard."""
    from mien.cli.printing import print_scores
    from mien.serving.predict import load
    from mien.serving.tables import check_suffix, write_table

    if out is not None:
        check_suffix(out)
    loaded = load(model)
    scores = loaded.predict(clips, workers=workers, progress=not quiet)
    if loaded.bundle.random_weights:
        typer.echo("note: the model was trained on random weights; its scores mean nothing", err=True)
    print_scores(scores, loaded.targets)
    if out is not None:
        write_table(scores, out)
    if all(scores["error"].to_pylist()):
        raise typer.Exit(1)


COMMANDS = [(predict, "Example: mien predict runs/first clip.mp4 more-clips/ --out scores.csv")]
