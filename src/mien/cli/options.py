"""Options that several commands share. Nothing of mien is imported at the top."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mien.config import ComputeSettings, Override, Settings
    from mien.scale import Pool
    from mien.schema import Manifest

MODEL_HELP = "A model folder, a run folder with one, or words-en, which ships with mien."
DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="The challenge's folder, a folder of videos, or a CSV, TSV or Parquet table (of paths or of words); a "
        "folder or table may be in object storage (s3://bucket/…).",
    ),
]
FetchFromOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fetch-from",
        metavar="ADDRESS",
        help="Also fetch clips that a table on this disk names below this address, e.g. s3://bucket/clips; repeatable.",
    ),
]
ConfigOption = Annotated[Path | None, typer.Option("--config", metavar="YAML", help="Settings file.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="One setting, e.g. stage2.lr=1e-4; repeatable.")
]
LocalSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A limit of this machine, e.g. compute.threads=1 or media.longest_seconds=20000; repeatable.",
    ),
]
WeightsOption = Annotated[str | None, typer.Option("--weights", metavar="SET", help="Weights: small, paper or tiny.")]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=-1, help="Worker processes; 0 runs in this process, -1 starts one per core.")
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ray[=ADDRESS]",
        help="Workers on a Ray cluster, e.g. ray=10.0.0.1:6379; ray alone takes RAY_ADDRESS, or starts Ray on this "
        "machine. Then --workers is the number of workers in the cluster, by default one per core (or GPU).",
    ),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="NUMBER/COUNT",
        help="Only this part of the clips, e.g. 3/16 (from 1 on), into OUT.parts/; then: mien merge OUT.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
TargetsOption = Annotated[
    str | None, typer.Option("--targets", metavar="A,B,…", help="Label columns; by default all columns of ratings.")
]
LabelScaleOption = Annotated[float, typer.Option("--label-scale", help="The highest possible rating, e.g. 100.")]


def seconds(text: str) -> float:
    """Parse a duration in seconds: ``4``, ``4s``, ``0.5 s``."""
    try:
        return float(text.strip().removesuffix("s"))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a duration; write seconds, e.g. 4s") from error


ClipSecondsOption = Annotated[
    float | None,
    typer.Option(
        "--clip-seconds",
        parser=seconds,
        metavar="SECONDS",
        help="Time limit per clip, e.g. 60s. By default 600 s, plus 1 s per 50 kB of its file.",
    ),
]
RawCellsOption = Annotated[
    bool,
    typer.Option(
        "--raw-cells",
        help="In .csv and .tsv, put no apostrophe before text that a spreadsheet would read as a formula.",
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Format of --out: {formats}. By default from the file's ending: json, or a wide table.",
    ),
]
WindowsOption = Annotated[
    float | None,
    typer.Option("--windows", parser=seconds, metavar="SECONDS", help="Also score windows of this length, e.g. 4s."),
]
HopOption = Annotated[
    float | None,
    typer.Option(
        "--hop", parser=seconds, metavar="SECONDS", help="From window to window; by default a quarter of a window."
    ),
]


def settings_from(
    config: Path | None, overrides: list[str] | None, options: "Mapping[str, tuple[str, Any]] | None" = None
) -> "Settings":
    """Settings from ``--config``, then the command's own ``options``, then ``--set``.

    Args:
        config: YAML file.
        overrides: as given to ``--set``.
        options: name and value of a setting by option, e.g. ``{"--weights": ("weights", "tiny")}``; not if ``None``.
    """
    from mien.config import Override, read_settings

    own = [Override(name, value, label) for label, (name, value) in (options or {}).items() if value is not None]
    return read_settings(config, [*own, *set_overrides(overrides)])


def set_overrides(overrides: list[str] | None) -> "list[Override]":
    """The values of ``--set``, which errors name with the option."""
    from mien.config import parse_override

    return [parse_override(text, f"--set {text.partition('=')[0].strip()}") for text in overrides or ()]


PARTLY = 3
"""Exit status of a command in which some clips or cells failed."""


def leave(failed: int, total: int) -> None:
    """Exit with a status by the number of failures: 0 for none, 1 for all, ``PARTLY`` otherwise."""
    if failed:
        raise typer.Exit(1 if failed == total else PARTLY)


def worker_count(workers: int, items: int) -> int:
    """Number of processes to start: at most the number of items; one per core for -1."""
    from mien.scale import cores

    wanted = cores() if workers < 0 else workers
    return 0 if items <= 1 else min(wanted, items)


def pool_from(workers: int, items: int, cluster: str | None, compute: "ComputeSettings") -> "Pool":
    """Worker processes on this machine, or on a cluster: a worker has the threads of ``compute``, or a GPU."""
    if cluster is None:
        return worker_count(workers, items)
    from mien.compute.device import choose_device
    from mien.scale import Cluster

    gpus = int(choose_device(compute).type == "cuda")
    return Cluster(address_of(cluster), max(0, min(workers, items)), compute.threads or 1, gpus)


def address_of(cluster: str) -> str | None:
    """The address in ``ray=ADDRESS``; ``None`` for ``ray``."""
    engine, given, address = cluster.partition("=")
    if engine != "ray" or (given and not address):
        raise typer.BadParameter(f"--cluster {cluster}: expected ray or ray=ADDRESS, e.g. ray=10.0.0.1:6379")
    return address or None


def read_data(data: str | Path, targets: str | None, label_scale: float) -> "Manifest":
    """Read the data and print its notes."""
    from mien import terminal
    from mien.data.manifest import read_manifest
    from mien.scale import follows

    manifest = read_manifest(data, targets=targets.split(",") if targets else None, label_scale=label_scale)
    for note in () if follows() else manifest.notes:
        terminal.note(note)
    return manifest
