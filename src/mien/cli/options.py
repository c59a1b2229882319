"""Options that several commands share, and the settings that they amount to. No room is imported here."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mien.config import Settings

DataArgument = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="The challenge's folder, a folder of videos, or a CSV, TSV or Parquet table."),
]
ConfigOption = Annotated[Path | None, typer.Option("--config", metavar="YAML", help="A file of settings.")]
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
    int, typer.Option("--workers", min=-1, help="Processes; 0 works in this one, -1 takes one for each core.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
TargetsOption = Annotated[
    str | None, typer.Option("--targets", metavar="A,B,…", help="Label columns; by default all that hold numbers.")
]
LabelScaleOption = Annotated[float, typer.Option("--label-scale", help="The highest possible rating, e.g. 100.")]


def seconds(text: str) -> float:
    """A length of time as it is typed: ``4``, ``4s``, ``0.5 s``."""
    try:
        return float(text.strip().removesuffix("s"))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no length of time; write seconds, e.g. 4s") from error


ClipSecondsOption = Annotated[
    float | None,
    typer.Option(
        "--clip-seconds",
        parser=seconds,
        metavar="SECONDS",
        help="Give up a clip that takes longer, e.g. 60s. By default 600 s, and 1 s more per 50 kB of its file.",
    ),
]
RawCellsOption = Annotated[
    bool,
    typer.Option(
        "--raw-cells", help="In .csv and .tsv, put no apostrophe before texts that a spreadsheet takes for formulas."
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Of --out: wide, long, windows, words, why (tables: .csv, .tsv, .parquet, .json), eaf, textgrid "
        "(folders), hume, json. By default the file's ending says: json, or a wide table.",
    ),
]
WindowsOption = Annotated[
    float | None,
    typer.Option("--windows", parser=seconds, metavar="SECONDS", help="Also score windows of this length, e.g. 4s."),
]
HopOption = Annotated[
    float | None,
    typer.Option("--hop", parser=seconds, metavar="SECONDS", help="From window to window; default: a quarter of one."),
]


def settings_from(config: Path | None, overrides: list[str] | None, **given: str | None) -> "Settings":
    """Settings from ``--config``, then options of their own (``given``, where not ``None``), then ``--set``."""
    from mien.config import read_settings

    own = [f"{name.replace('__', '.')}={value}" for name, value in given.items() if value is not None]
    return read_settings(config, [*own, *(overrides or [])])


PARTLY = 3
"""The status of a command that some of its clips or cells failed in, and others not."""


def leave(failed: int, total: int) -> None:
    """End with the status for so many that failed: 0 for none, 1 for all, ``PARTLY`` otherwise."""
    if failed:
        raise typer.Exit(1 if failed == total else PARTLY)


def worker_count(workers: int, items: int) -> int:
    """Processes to start: never more than there are items, and one for each core when -1 is asked."""
    from mien.scale import cores

    wanted = cores() if workers < 0 else workers
    return 0 if items <= 1 else min(wanted, items)
