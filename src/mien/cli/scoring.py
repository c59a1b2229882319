"""``mien predict``."""

import posixpath
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien import terminal
from mien.cli.options import (
    MODEL_HELP,
    ClipSecondsOption,
    ClusterOption,
    FetchFromOption,
    FormatOption,
    HopOption,
    LocalSetOption,
    QuietOption,
    RawCellsOption,
    ShardOption,
    WindowsOption,
    WorkersOption,
    leave,
    pool_from,
    set_overrides,
)
from mien.errors import Interrupted

if TYPE_CHECKING:
    from mien.inference.partial import PartialScores
    from mien.schema import Prediction
    from mien.scores.document import ScoresDocument

SOURCE_HELP = (
    "video, provided (files of the challenge's folder), or auto: provided if a clip has them, else from the video. "
    "By default as in training, and auto if that was provided."
)
WhyOption = Annotated[bool, typer.Option("--why", help="Also compute each modality's contribution to each score.")]
RawOption = Annotated[bool, typer.Option("--raw", help="The model's own numbers, not clipped to the rating scale.")]


def predict(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    clips: Annotated[
        list[str],
        typer.Argument(metavar="CLIP…", help="Videos, folders, or a table of clips; also in object storage (s3://…)."),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Also write the scores: a table (.csv, .tsv, .parquet), or everything (.json); also to s3://…",
        ),
    ] = None,
    form: FormatOption = None,
    windows: WindowsOption = None,
    hop: HopOption = None,
    why: WhyOption = False,
    workers: WorkersOption = 0,
    cluster: ClusterOption = None,
    clip_seconds: ClipSecondsOption = None,
    faces: Annotated[str | None, typer.Option("--faces", metavar="SOURCE", help=SOURCE_HELP)] = None,
    sound: Annotated[str | None, typer.Option("--sound", metavar="SOURCE", help=SOURCE_HELP)] = None,
    fetch_from: FetchFromOption = None,
    raw: RawOption = False,
    shard: ShardOption = None,
    overrides: LocalSetOption = None,
    raw_cells: RawCellsOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score clips: how strongly each emotion shows, from the modalities that a clip has."""
    from mien.media.decoder_start import one_ahead

    if not workers and cluster is None:
        context.with_resource(one_ahead())  # it is ready when torch is
    from mien.config import read_local
    from mien.data.manifest import fetch_also_from
    from mien.features.spans import windows_of
    from mien.inference.partial import PartialScores
    from mien.inference.parts import part_of
    from mien.inference.predict import load, manifest_of_paths
    from mien.inference.provenance import media_notes
    from mien.inference.windows import window_notes
    from mien.scores.exports import check_form
    from mien.storage.outgoing import local_file
    from mien.storage.parts import Part

    windows_of(windows, hop)
    if shard is not None and out is None:
        raise typer.BadParameter("--shard goes with --out")
    form = "" if out is None else check_form(Path(out), form)
    loaded = load(model, read_local(set_overrides(overrides)))
    manifest = fetch_also_from(manifest_of_paths(clips), fetch_from or ())
    if shard is not None and out is not None:
        options = {"windows": windows, "hop": hop, "why": why, "faces": faces, "sound": sound, "raw": raw}
        manifest, part = part_of(loaded, manifest, out, Part.parse(shard), options)
        out, form = str(part), check_form(Path(part))
    before = versions_before(out)
    here = None if out is None else local_file(out)
    for note in manifest.notes:
        terminal.note(note)
    pool = pool_from(workers, len(manifest.clips), cluster, loaded.bundle.settings.compute)
    kept = None if here is None else PartialScores(here)
    try:
        made = loaded.predictions(
            manifest, windows=windows, hop=hop, why=why, workers=pool,
            clip_seconds=clip_seconds, faces=faces, sound=sound, raw=raw, progress=not quiet, kept=kept,
        )  # fmt: skip
    except KeyboardInterrupt:
        raise Interrupted(_interrupted(kept, len(manifest.clips))) from None
    scored = loaded.document(made, windows=windows, hop=hop, raw=raw)
    if kept is not None and kept.reused:
        terminal.note(f"{kept.reused} of {len(made)} clips reused from the interrupted run")
    inputs = (*loaded.feature_notes(), *loaded.source_notes(manifest.clips, made, faces, sound))
    of_windows = window_notes(made) if windows is not None else ()
    for note in (*_warnings(scored), *inputs, *of_windows, *loaded.clipping_notes(made), *media_notes(made)):
        terminal.note(note)
    written = [] if out is None else write_output(scored, out, form, raw_cells, before)
    if kept is not None:
        kept.remove()
    _show(scored, made, why, windows is not None and out is None)
    for name in written:
        terminal.say(f"{name}: written")
    leave(sum(one.error is not None for one in made), len(made))


def _warnings(scored: "ScoresDocument") -> "list[str]":
    random = ["the model was trained on random weights; its scores are meaningless"] * scored.model.random_weights
    return [*random, *([f"the model was {scored.model.banner}"] if scored.model.banner else [])]


def _show(scored: "ScoresDocument", made: "list[Prediction]", why: bool, windows: bool) -> None:
    """Print the scores, and contributions and windows if requested."""
    from mien.cli.printing import print_scores, print_why, print_windows
    from mien.scores.exports import tabular
    from mien.scores.provenance import provenance_line

    print_scores(tabular.wide(scored), scored.targets)
    if why:
        print_why(made, scored.targets)
    if windows:
        print_windows(tabular.windows(scored), scored.targets)
    terminal.say(provenance_line(scored))


def _interrupted(kept: "PartialScores | None", clips: int) -> str:
    if kept is None:
        return "interrupted; nothing was stored: with --out FILE, the same command continues where it stopped"
    return f"interrupted; {kept.stored} of {clips} clips are scored and stored, the same command continues from there"


def versions_before(out: str | None) -> dict[str, str]:
    """What is at the addresses of an output before the work on it begins; nothing for one on this disk."""
    from mien.storage.addresses import is_address
    from mien.storage.outgoing import versions

    return versions([out, windows_file(out)]) if out is not None and is_address(out) else {}


def write_output(
    scored: "ScoresDocument", out: str, form: str, raw_cells: bool, before: "dict[str, str]"
) -> "list[str]":
    """Write the files, before printing, which may fail; returns their paths or addresses."""
    from mien.scores.exports import write_scores
    from mien.storage.addresses import is_address, join, parent
    from mien.storage.outgoing import local_file, publish

    here = local_file(out)
    files = {here: form}
    if scored.provenance and scored.provenance.windows and form == "wide":
        files[here.with_name(windows_file(here.name))] = "windows"
    for file, kind in files.items():
        for note in write_scores(scored, file, kind, raw_cells=raw_cells):
            terminal.note(note)
    if not is_address(out):
        return [str(file) for file in files]
    addresses = {file: join(parent(out), file.name) for file in files}
    for file, address in addresses.items():
        publish(file, address, before)
    return list(addresses.values())


def windows_file(name: str) -> str:
    """The file of the windows of a wide table, beside it.

    >>> windows_file("scores.csv")
    'scores.windows.csv'
    """
    begin, suffix = posixpath.splitext(name)
    return f"{begin}.windows{suffix}"


COMMANDS = [
    (
        predict,
        "Example: mien predict runs/first clip.mp4 more-clips/ --out scores.csv; "
        "mien predict runs/first clip.mp4 --windows 4s --hop 1s --why --out scores.json; "
        "mien predict runs/first s3://bucket/clips --out s3://bucket/scores.parquet. "
        "Exit status: 0 all clips scored, 3 some, 1 none.",
    )
]
