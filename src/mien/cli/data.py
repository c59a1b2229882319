"""``mien extract`` and ``mien synth``: features of clips, and a synthetic corpus."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from mien import terminal
from mien.cli.options import (
    ClipSecondsOption,
    ClusterOption,
    ConfigOption,
    DataArgument,
    FetchFromOption,
    LabelScaleOption,
    QuietOption,
    SetOption,
    ShardOption,
    TargetsOption,
    WeightsOption,
    WorkersOption,
    leave,
    pool_from,
    read_data,
    settings_from,
    worker_count,
)  # fmt: skip


def extract(
    data: DataArgument,
    out: Annotated[str, typer.Option("--out", "-o", metavar="STORE", help="Folder of the feature store; also s3://….")],
    weights: WeightsOption = None,
    faces: Annotated[str | None, typer.Option("--faces", help="provided: use the challenge's face_images/.")] = None,
    sound: Annotated[str | None, typer.Option("--sound", help="provided: use the challenge's audio/.")] = None,
    modalities: Annotated[
        str | None, typer.Option("--modalities", metavar="A,B,…", help="Of text, audio, vision, motion.")
    ] = None,
    workers: WorkersOption = -1,
    cluster: ClusterOption = None,
    shard: ShardOption = None,
    clip_seconds: ClipSecondsOption = None,
    fetch_from: FetchFromOption = None,
    keep_inputs: Annotated[
        bool,
        typer.Option(
            "--keep-inputs",
            help="Also keep what the backbones read (transcript, waveform, face crops, motion), so that other weights "
            "decode nothing. The size is estimated first.",
        ),
    ] = False,
    inputs: Annotated[
        Path | None,
        typer.Option("--inputs", metavar="STORE", help="Use the kept inputs of another store; by default of --out."),
    ] = None,
    prune_inputs: Annotated[
        bool, typer.Option("--prune-inputs", help="Remove kept inputs of clips that are not in DATA, and unused ones.")
    ] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    targets: TargetsOption = None,
    label_scale: LabelScaleOption = 1.0,
    quiet: QuietOption = False,
) -> None:
    """Compute the features of every clip, once. The same command continues after an interruption."""
    from mien import api
    from mien.cli.printing import print_extraction
    from mien.data.manifest import fetch_also_from
    from mien.features.extract import prune
    from mien.features.input_size import estimate
    from mien.features.layers_size import estimate_layers
    from mien.storage.files import in_bytes
    from mien.storage.parts import Part
    from mien.weights.adapted import describe_references

    options = {
        "--weights": ("weights", weights),
        "--faces": ("faces.source", faces),
        "--sound": ("speech.source", sound),
        "--modalities": ("modalities", modalities and [name.strip() for name in modalities.split(",")]),
        "--clip-seconds": ("compute.clip_seconds", clip_seconds),
    }
    if shard is not None and prune_inputs:
        raise typer.BadParameter("--prune-inputs does not go with --shard")
    settings = settings_from(config, overrides, options)
    manifest = fetch_also_from(read_data(data, targets, label_scale), fetch_from or ())
    for line in describe_references(settings.backbones):
        terminal.note(line)
    here = replace(manifest, clips=tuple(Part.parse(shard).of(manifest.clips))) if shard else manifest
    if keep_inputs:
        terminal.note(str(estimate(here, settings, Path(out))))
    if layers := estimate_layers(here, settings, Path(out)):
        terminal.note(str(layers))
    pool = pool_from(workers, len(here.clips), cluster, settings.compute)
    extracted = api.extract(
        manifest, out, settings, workers=pool, progress=not quiet, keep_inputs=keep_inputs, inputs=inputs,
        shard=shard,
    )  # fmt: skip
    print_extraction(extracted, out)
    if prune_inputs:
        count, size = prune(Path(out), [clip.id for clip in manifest.clips])
        terminal.say(f"{out}: {count} kept inputs removed ({in_bytes(size)})")
    leave(len(extracted.failed), extracted.made + extracted.reused + len(extracted.failed))


def synth(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    mode: Annotated[str, typer.Option("--mode", help="media: mp4 files; features: a feature store.")] = "media",
    clips: Annotated[int, typer.Option("--clips", min=2, help="Rated clips, for training and validation.")] = 400,
    test_clips: Annotated[int, typer.Option("--test-clips", min=0, help="Unrated clips in test_data/.")] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same labels and signals.")] = 0,
    dirt: Annotated[float, typer.Option("--dirt", min=0, max=1, help="Share of damaged clips (media).")] = 0.0,
    provided: Annotated[
        bool, typer.Option("--provided", help="Also write face_images/ and audio/, as in the challenge's data (media).")
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Property of the features, e.g. widths.audio=256; repeatable."
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only compare a corpus with published figures.")] = False,
    features: Annotated[
        Path | None,
        typer.Option("--features", "-f", metavar="STORE", help="With --check: extracted features of the corpus."),
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option("--gallery", metavar="PNG", help="Only make an image of frames of a corpus (media).")
    ] = None,
    workers: WorkersOption = -1,
    quiet: QuietOption = False,
) -> None:
    """Make the stand-in corpus: synthetic people in the challenge's layout, with known effects on the labels."""
    from mien.cli.printing import print_comparisons
    from mien.synthetic.corpus import check as compare
    from mien.synthetic.corpus import feature_plan
    from mien.synthetic.corpus import synth as make
    from mien.synthetic.gallery import gallery as draw

    if features is not None and not check:
        raise typer.BadParameter("--features goes with --check")
    if check:
        print_comparisons(compare(out, features))
    if gallery is not None:
        draw(out, gallery)
    if check or gallery is not None:
        return
    if mode not in ("media", "features"):
        raise typer.BadParameter(f"--mode is media or features, not {mode}")
    if changes and mode == "media":
        raise typer.BadParameter("--set goes with --mode features")
    processes = worker_count(workers, clips + test_clips)
    make(
        out, mode=mode, clips=clips, test_clips=test_clips, seed=seed, dirt=dirt, provided=provided,
        workers=processes, progress=not quiet, plan=feature_plan(changes or ()),
    )  # fmt: skip
    terminal.say(f"{out}: {clips} rated and {test_clips} unrated clips")
    if mode == "features":
        terminal.say(f"train with: mien train {out} --features {out / 'features'} --out runs/stand-in")


COMMANDS = [
    (
        extract,
        "Example: mien extract hume-vidmimic2/ --weights small --out features; mien extract words.csv --out features; "
        "mien extract hume-vidmimic2/ --keep-inputs --out features. "
        "Exit status: 0 for no failed clip, 3 for some, 1 for all.",
    ),
    (
        synth,
        "Example: mien synth stand-in --clips 400 --test-clips 20; mien synth stand-in --check; "
        "mien synth big --mode features --clips 12660 --set no_text=0.3",
    ),
]
