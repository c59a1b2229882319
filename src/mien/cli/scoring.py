"""``mien predict``."""

from pathlib import Path
from typing import Annotated

import typer

from mien import terminal
from mien.cli.options import ClipSecondsOption, HopOption, QuietOption, WindowsOption, WorkersOption, worker_count

SOURCE_HELP = (
    "video, provided (of the challenge's folder), or auto: provided where a clip has them, else the video's own. "
    "By default as the model was trained, and auto where that was on provided ones."
)


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder, or the run folder that holds one.")],
    clips: Annotated[list[Path], typer.Argument(metavar="CLIP…", help="Videos, folders, or a table of clips.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Also write the scores: a table (.csv, .tsv, .parquet), or all there is (.json)."
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMAT", help="Of --out; as for mien export, e.g. long, eaf, hume."),
    ] = None,
    windows: WindowsOption = None,
    hop: HopOption = None,
    why: Annotated[bool, typer.Option("--why", help="Also say how much each modality moved each score.")] = False,
    workers: WorkersOption = 0,
    clip_seconds: ClipSecondsOption = None,
    faces: Annotated[str | None, typer.Option("--faces", metavar="SOURCE", help=SOURCE_HELP)] = None,
    sound: Annotated[str | None, typer.Option("--sound", metavar="SOURCE", help=SOURCE_HELP)] = None,
    quiet: QuietOption = False,
) -> None:
    """Score clips: how strongly each emotion shows, from whatever can be seen and heard."""
    from mien.cli.printing import print_scores, print_why, print_windows
    from mien.features.windows import windows_of
    from mien.serving.exports import check_form, tabular, write_scores
    from mien.serving.predict import load, manifest_of
    from mien.serving.timeline import window_notes

    windows_of(windows, hop)
    if out is not None:
        form = check_form(out, form)
    loaded, manifest = load(model), manifest_of(clips)
    processes = worker_count(workers, len(manifest.clips))
    made = loaded.predictions(
        manifest, windows=windows, hop=hop, why=why, workers=processes, clip_seconds=clip_seconds,
        faces=faces, sound=sound, progress=not quiet,
    )  # fmt: skip
    scored = loaded.document(made)
    if loaded.bundle.random_weights:
        terminal.note("the model was trained on random weights; its scores mean nothing")
    for note in loaded.source_notes(manifest.clips, made, faces, sound):
        terminal.note(note)
    for note in window_notes(made) if windows is not None else ():
        terminal.note(note)
    print_scores(tabular.wide(scored), loaded.targets)
    if why:
        print_why(made, loaded.targets)
    if windows is not None and out is None:
        print_windows(tabular.windows(scored), loaded.targets)
    if out is not None:
        files = {out: form}
        if windows is not None and form == "wide":
            files[out.with_suffix(f".windows{out.suffix}")] = "windows"
        for file, kind in files.items():
            for note in write_scores(scored, file, kind):
                terminal.note(note)
            terminal.say(f"{file}: written")
    if all(one.error for one in made):
        raise typer.Exit(1)


COMMANDS = [
    (
        predict,
        "Example: mien predict runs/first clip.mp4 more-clips/ --out scores.csv; "
        "mien predict runs/first clip.mp4 --windows 4s --hop 1s --why --out scores.json",
    )
]
