"""``mien report``: one HTML file of a run, a study or scores."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien import terminal
from mien.cli.options import LabelScaleOption, QuietOption, TargetsOption, read_data
from mien.errors import DataError
from mien.storage.files import as_written

if TYPE_CHECKING:
    from mien.evaluation.results import Evaluation
    from mien.reporting.blocks import Page
    from mien.schema import Manifest


def report(
    source: Annotated[
        Path,
        typer.Argument(metavar="RUN|STUDY|SCORES", help="A run folder, a study folder, or scores (.json) of predict."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="HTML", help="The file to write.")] = Path("report.html"),
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DATA", help="For a run: evaluate it on these rated clips.")
    ] = None,
    features: Annotated[
        Path | None, typer.Option("--features", "-f", metavar="STORE", help="The features of --data.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="For a run: the split to show; by default the one evaluated last."),
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option(
            "--videos",
            metavar="DIR",
            help="For scores: folder of the videos, if they were moved.",
        ),
    ] = None,
    embed: Annotated[bool, typer.Option("--embed", help="For scores: embed the videos in the page.")] = False,
    convert: Annotated[
        Path | None,
        typer.Option("--convert", metavar="DIR", help="For scores: convert videos that browsers do not play into DIR."),
    ] = None,
    targets: TargetsOption = None,
    label_scale: LabelScaleOption = 1.0,
    title: Annotated[str, typer.Option("--title", help="Title of the page.")] = "",
    quiet: QuietOption = False,
) -> None:
    """Make one HTML file of a run, a study or scores: figures with their numbers; opens without network."""
    from mien.reporting.render import write_page

    if (data is None) != (features is None):
        raise typer.BadParameter("--data and --features go together")
    if videos is not None and not videos.is_dir():
        raise typer.BadParameter(f"--videos {videos}: no such folder")
    if split is not None and not (source / "run.json").is_file():
        raise typer.BadParameter(f"--split is for runs; {source} is not a run folder")
    if source.is_file() and data is None:
        shown = convert is not None and not quiet
        page = _scores(source, out, title, shown, folder=videos, embed=embed, convert_into=convert)
    elif videos is not None or embed or convert is not None:
        raise typer.BadParameter(f"--videos, --embed and --convert are for scores; {source} is not a scores file")
    else:
        evaluated = None
        if data is not None and features is not None:
            if not (source / "run.json").exists():
                raise DataError(f"{source}: --data evaluates a run, but this is not a run folder (no run.json)")
            evaluated = _evaluate(source, read_data(data, targets, label_scale), features, split), str(data)
        page = _page(source, title, evaluated, split)
    write_page(page, out)
    terminal.say(f"{out}: {page.subtitle}, {len(page.sections)} sections, {out.stat().st_size / 1e6:.1f} MB")


def _page(source: Path, title: str, evaluated: "tuple[Evaluation, str] | None", split: str | None) -> "Page":
    """The page of ``source``, by the files in it."""
    if (source / "run.json").exists():
        from mien.reporting import run
        from mien.reporting.rundata import REMEDY, read_run

        found = read_run(source)
        with as_written(source, REMEDY):
            return run.page(found, title, evaluated, split)
    if (source / "study.json").exists():
        from mien.reporting import study

        with as_written(source / "study.json", "the same mien study command writes it again"):
            return study.page(study.read_study(source), title)
    raise DataError(
        f"{source}: nothing to report on; expected a run folder (run.json), a study folder (study.json), or scores "
        "from mien predict --out scores.json"
    )


def _scores(
    file: Path, out: Path, title: str, progress: bool, *, folder: Path | None, embed: bool, convert_into: Path | None
) -> "Page":
    from mien.progress import counted
    from mien.reporting import scores
    from mien.reporting.videos import find_videos
    from mien.scores.document import read_document

    scored = read_document(file)
    clips = scores.player_clips(scored)
    watched = counted(clips, "converting videos", len(clips), progress)
    found = find_videos(watched, out, file, folder=folder, embed=embed, convert_into=convert_into)
    for text, command in found.notes:
        terminal.note(f"{text}:")
        terminal.warn(command)
    return scores.page(scored, found, title)


def _evaluate(folder: Path, manifest: "Manifest", features: Path, split: str | None) -> "Evaluation":
    from mien.evaluation.evaluate import evaluate
    from mien.features.store import Store
    from mien.model.model_folder import load_bundle

    return evaluate(load_bundle(folder), manifest, Store(features), split)


COMMANDS = [
    (
        report,
        "Example: mien report runs/first --out report.html; mien report studies/out --out study.html; "
        "mien report scores.json --out scores.html",
    )
]
