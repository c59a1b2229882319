"""``mien predict``."""

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.options import HopOption, QuietOption, WindowsOption, WorkersOption, worker_count


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder, or the run folder that holds one.")],
    clips: Annotated[list[Path], typer.Argument(metavar="CLIP…", help="Videos, folders, or a table of clips.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the scores: .csv, .tsv, .parquet or .json.")
    ] = None,
    windows: WindowsOption = None,
    hop: HopOption = None,
    why: Annotated[bool, typer.Option("--why", help="Also say how much each modality moved each score.")] = False,
    workers: WorkersOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Score clips: how strongly each emotion shows, from whatever can be seen and heard."""
    from mien.cli.printing import print_scores, print_why, print_windows
    from mien.features.windows import windows_of
    from mien.serving.predict import load, manifest_of
    from mien.serving.rows import table, windows_table
    from mien.serving.tables import check_suffix, write_table
    from mien.serving.timeline import window_notes

    windows_of(windows, hop)
    if out is not None:
        check_suffix(out)
    loaded, manifest = load(model), manifest_of(clips)
    processes = worker_count(workers, len(manifest.clips))
    made = loaded.predictions(
        manifest, windows=windows, hop=hop, why=why, workers=processes, progress=not quiet
    )  # fmt: skip
    if loaded.bundle.random_weights:
        typer.echo("note: the model was trained on random weights; its scores mean nothing", err=True)
    scores = table(made, loaded.targets)
    print_scores(scores, loaded.targets)
    if why:
        print_why(made, loaded.targets)
    if out is not None:
        write_table(scores, out)
        typer.echo(f"{out}: {len(made)} clips")
    if windows is not None:
        for note in window_notes(made):
            typer.echo(f"note: {note}", err=True)
        over_time = windows_table(made, loaded.targets)
        if out is None:
            print_windows(over_time, loaded.targets)
        else:
            beside = out.with_suffix(f".windows{out.suffix}")
            write_table(over_time, beside)
            typer.echo(f"{beside}: {over_time.num_rows} windows")
    if all(one.error for one in made):
        raise typer.Exit(1)


COMMANDS = [
    (
        predict,
        "Example: mien predict runs/first clip.mp4 more-clips/ --out scores.csv; "
        "mien predict runs/first clip.mp4 --windows 4s --hop 1s --why",
    )
]
