"""``mien train``: features → a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.options import ConfigOption, DataArgument, LabelScaleOption, QuietOption, SetOption, TargetsOption

if TYPE_CHECKING:
    from mien.schema import Manifest

FeaturesOption = Annotated[Path, typer.Option("--features", "-f", metavar="STORE", help="The clips' features.")]


def train(
    data: DataArgument,
    features: FeaturesOption,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="Run folder; the model is in RUN/model.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    targets: TargetsOption = None,
    label_scale: LabelScaleOption = 1.0,
    quiet: QuietOption = False,
) -> None:
    """Train an encoder per modality, then all of them together. The same command continues after an interruption."""
    from mien.cli.options import settings_from
    from mien.cli.results import EpochBar, print_run
    from mien.features.store import Store
    from mien.training import train as run

    settings = settings_from(config, overrides)
    manifest = _manifest(data, targets, label_scale)
    with EpochBar(quiet) as bar:
        summary = run(manifest, Store(features), settings, out, bar.say, bar.watch)
    print_run(summary)


def _manifest(data: Path, targets: str | None, label_scale: float) -> "Manifest":
    """Read the data and pass on what was noted about it."""
    from mien.data.manifest import read_manifest

    manifest = read_manifest(data, targets=targets.split(",") if targets else None, label_scale=label_scale)
    for note in manifest.notes:
        typer.echo(f"note: {note}", err=True)
    return manifest


COMMANDS = [(train, "Example: mien train hume-vidmimic2/ --features features --out runs/first")]
