"""``mien doctor`` and ``mien settings``: check this machine, and list the settings."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mien import terminal
from mien.cli.options import ConfigOption, SetOption, address_of, leave

ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ray[=ADDRESS]",
        help="The nodes of a Ray cluster, e.g. ray=10.0.0.1:6379; ray alone takes RAY_ADDRESS, or starts Ray on this "
        "machine.",
    ),
]


def doctor(cluster: ClusterOption = None) -> None:
    """Check this machine, or the nodes of a cluster: what is installed, what is missing, and what to do about it."""
    from rich.table import Table

    from mien.cli.printing import console
    from mien.doctor import check_nodes, examine

    table = Table("", "what", "found", "what to do", title="mien doctor", title_justify="left", box=None)
    findings = examine() if cluster is None else check_nodes(address_of(cluster))
    for finding in findings:
        table.add_row(
            "ok" if finding.fine else "--", finding.what, finding.found, "" if finding.fine else finding.remedy
        )
    console.print(table)
    missing = sum(not finding.fine for finding in findings)
    console.print(f"{missing} missing" if missing else "nothing missing")
    if cluster is not None:
        leave(missing, missing)


def settings(
    config: ConfigOption = None,
    overrides: SetOption = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema instead.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write to a file instead.")] = None,
) -> None:
    """Print every setting with its value, as YAML that --config reads again, or their JSON Schema."""
    import yaml

    from mien.cli.options import settings_from
    from mien.config import Settings

    if schema:
        text = json.dumps(Settings.model_json_schema(), indent=2)
    else:
        text = yaml.safe_dump(settings_from(config, overrides).model_dump(mode="json"), sort_keys=False).rstrip()
    if out is None:
        terminal.say_document(text)
    else:
        out.write_text(text + "\n", encoding="utf-8")


COMMANDS = [
    (
        doctor,
        "Example: mien doctor; mien doctor --cluster ray=10.0.0.1:6379 (exit status 1 if a node cannot be used).",
    ),
    (settings, "Example: mien settings --set stage2.lr=1e-4 > mine.yaml; mien settings --schema"),
]
