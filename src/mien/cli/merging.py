"""``mien merge``: join what ``--shard`` made in parts."""

from pathlib import Path
from typing import Annotated

import typer

from mien import terminal
from mien.cli.options import FormatOption, RawCellsOption
from mien.cli.scoring import write_files
from mien.wording import plural


def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The --out of the parts: a feature store or scores.")],
    form: FormatOption = None,
    raw_cells: RawCellsOption = False,
) -> None:
    """Join the parts that extract or predict made with --shard; what is missing is named."""
    from mien.features import parts as features
    from mien.scores import parts as scores
    from mien.scores.exports import check_form
    from mien.storage.parts import folder_of, read_division

    division = read_division(out)
    if division.kind == features.KIND:
        features.merge(out, division)
    else:
        write_files(scores.merge(out, division), out, check_form(out, form), raw_cells)
    clips, parts = plural(len(division.clips), "clip"), plural(division.count, "part")
    terminal.say(f"{out}: {clips} from {parts}; {folder_of(out)} may be removed")


COMMANDS = [
    (
        merge,
        "Example: mien extract DATA --out features --shard 1/2; mien extract DATA --out features --shard 2/2; "
        "mien merge features",
    )
]
