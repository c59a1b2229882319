"""What commands print: small tables of what was done, made, or scored."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import pyarrow as pa

    from mien.data.synth.labels import Bound, Comparison
    from mien.features.tally import Tally

console = Console(highlight=False)
if not console.is_terminal:
    console.width = 160  # a file or a pipe is not 80 columns wide
SHOWN = 10


def print_scores(scores: "pa.Table", targets: Sequence[str]) -> None:
    """A row per clip, then a line for each clip that was scored without something, or not at all."""
    table = Table("clip", *targets, "scored from", box=None)
    rows = scores.to_pylist()
    for row in rows:
        cells = ["–" if row[name] is None or row[name] != row[name] else f"{row[name]:.3f}" for name in targets]
        table.add_row(row["clip"], *cells, row["present"] or "nothing")
    console.print(table)
    for row in rows:
        if row["error"]:
            console.print(f"{row['clip']}: not scored: {row['error']}", markup=False)
        elif row["absent"]:
            console.print(f"{row['clip']}: without {row['absent']}", markup=False)


def print_tally(tally: "Tally", store: Path) -> None:
    """What an extraction came to: counts, then what was absent or odd by reason, then what failed."""
    for (modality, _), (count, first) in sorted(tally.absent.items()):
        console.print(f"  {modality} absent in {count} (first: {first})", markup=False)
    for count, first in tally.remarks.values():
        console.print(f"  noted in {count} (first: {first})", markup=False)
    for clip, reason in tally.failed[:SHOWN]:
        console.print(f"  failed: {clip}: {reason}", markup=False)
    if len(tally.failed) > SHOWN:
        console.print(f"  … and {len(tally.failed) - SHOWN} more failed; the store's index names them all")
    partly = sum(count for count, _ in tally.absent.values())
    console.print(
        f"{store}: {tally.made} made, {tally.reused} reused, {partly} modalities absent, {len(tally.failed)} failed",
        markup=False,
    )
    if tally.seconds:
        total = sum(tally.seconds.values())
        stages = ", ".join(f"{name} {100 * spent / total:.0f} %" for name, spent in tally.seconds.most_common())
        console.print(f"work: {total:.0f} s ({stages})")


def print_comparisons(rows: "Sequence[Comparison | Bound]") -> None:
    """Figures published, or asked for, beside those of a corpus, and whether each is as close as it should be."""
    table = Table("", "figure", "published", "made", "allowed", box=None)
    for row in rows:
        table.add_row("ok" if row.holds else "--", row.name, f"{row.published:.3f}", f"{row.made:.3f}", row.allowed)
    console.print(table)
    held = sum(row.holds for row in rows)
    console.print(f"{held} of {len(rows)} hold")
    if held < len(rows):
        console.print("published figures are those of 12,660 clips: a small corpus misses some by sampling alone")
