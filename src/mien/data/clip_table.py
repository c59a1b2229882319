"""Writes a manifest as the CSV table that ``read_manifest`` reads."""

import csv
import math
import os
from collections.abc import Callable
from pathlib import Path

from mien.schema import Clip, Manifest
from mien.spreadsheet import escaped_row
from mien.storage.files import atomic_file


def write_clips(manifest: Manifest, out: Path, *, raw_cells: bool = False) -> None:
    """Write the clips of a manifest with the columns that any of them uses; paths are relative to the table.

    Args:
        manifest: its labels are written as they are.
        out: the table.
        raw_cells: leave texts unescaped that a spreadsheet would take for formulas.

    Raises:
        OutputError: it cannot be written.
    """
    here = out.absolute().parent

    def path(clip: Clip) -> str | None:
        return Path(os.path.relpath(clip.path.absolute(), here)).as_posix() if clip.path else clip.address

    cells: dict[str, Callable[[Clip], object]] = {
        "id": lambda clip: clip.id,
        "path": path,
        "start": lambda clip: clip.start,
        "end": lambda clip: clip.end,
        "split": lambda clip: clip.split,
        "participant": lambda clip: clip.participant,
        "group": lambda clip: clip.group,
        "transcript": lambda clip: clip.transcript,
    }
    used = [name for name, cell in cells.items() if any(cell(clip) is not None for clip in manifest.clips)]
    row = list if raw_cells else escaped_row
    with atomic_file(out) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(row([*used, *manifest.targets]))
        for clip in manifest.clips:
            values = ["" if (value := cells[name](clip)) is None else value for name in used]
            labels = clip.labels or (math.nan,) * len(manifest.targets)
            writer.writerow(row([*values, *("" if math.isnan(label) else label for label in labels)]))
