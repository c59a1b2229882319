"""``mien merge``: join what ``--shard`` made in parts."""

from pathlib import Path
from typing import Annotated

import typer

from mien import terminal
from mien.cli.options import FormatOption, RawCellsOption
from mien.cli.scoring import versions_before, write_output
from mien.wording import plural


def merge(
    out: Annotated[
        str, typer.Argument(metavar="OUT", help="The --out of the parts: a feature store or scores; also s3://….")
    ],
    form: FormatOption = None,
    raw_cells: RawCellsOption = False,
) -> None:
    """Join the parts that extract or predict made with --shard; what is missing is named."""
    from mien.features import parts as features
    from mien.scores import parts as scores
    from mien.scores.exports import check_form
    from mien.storage.parts import place_of, read_division

    division = read_division(out)
    if division.kind == features.KIND:
        features.merge(out, division)
    else:
        form, before = check_form(Path(out), form), versions_before(out)
        write_output(scores.merge(out, division), out, form, raw_cells, before)
    clips, parts = plural(len(division.clips), "clip"), plural(division.count, "part")
    folder = str(place_of(out, "")).rstrip("/")
    terminal.say(f"{out}: {clips} from {parts}; {folder} may be removed")


COMMANDS = [
    (
        merge,
        "Example: mien extract DATA --out features --shard 1/2; mien extract DATA --out features --shard 2/2; "
        "mien merge features",
    )
]
