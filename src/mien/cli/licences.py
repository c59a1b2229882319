"""``mien licences``: the weights that a model builds on, and their licences."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien import terminal
from mien.cli.options import MODEL_HELP

if TYPE_CHECKING:
    from mien.weights.licences import WeightLicence


def licences(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """List the pretrained weights that a model builds on, with their licences, and flag non-commercial ones."""
    from rich.table import Table

    from mien.cli.printing import console
    from mien.model.licences import licences_of
    from mien.model.model_folder import read_config, read_provenance, resolve_model_dir

    folder = resolve_model_dir(model)
    found = licences_of(read_config(folder), read_provenance(folder))
    if as_json:
        terminal.say_document(json.dumps(found.record(), indent=2))
        return
    table = Table("for", "weights", "licence", "packaging", "commercial use", "source and SHA-256", box=None)
    for one in found.weights:
        table.add_row(one.role, one.name, one.licence, one.packaging or "–", _commercial_use(one), one.source)
        table.add_row("", "", "", "", "", _hash(one, folder))
    console.print(table)
    for line in (*found.follows, found.data):
        console.print(line)


def _hash(one: "WeightLicence", folder: Path) -> str:
    """The hash of the weights: of their file in the table or in the model's folder, else their fingerprint."""
    from mien.storage.files import sha256_of

    if one.sha256:
        return f"{one.sha256} {one.file}"
    if one.fingerprint and Path(one.source).name == one.source and (folder / one.source).is_file():
        return f"{sha256_of(folder / one.source)} {one.source}"
    return f"fingerprint {one.fingerprint}" if one.fingerprint else "hash unknown"


def _commercial_use(one: "WeightLicence") -> str:
    return "unknown" if one.non_commercial is None else "FORBIDDEN" if one.non_commercial else "not forbidden"


COMMANDS = [(licences, "Example: mien licences runs/first")]
