"""What commands print: small tables of what was done, made, or scored."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from mien.terminal import Printer

if TYPE_CHECKING:
    import pyarrow as pa

    from mien.features.extraction_summary import ExtractionSummary
    from mien.schema import Prediction
    from mien.synthetic.labels import Bound, Comparison


console = Printer()
SHOWN = 10


def print_scores(scores: "pa.Table", targets: Sequence[str]) -> None:
    """A row per clip, then a line for each clip that was scored without something, or not at all."""
    table = Table("clip", *targets, "scored from", box=None)
    rows = scores.to_pylist()
    for row in rows:
        cells = [score(row[name]) for name in targets]
        table.add_row(row["clip"], *cells, row["present"] or "nothing")
    console.print(table)
    for row in rows:
        if row["error"]:
            console.print(f"{row['clip']}: not scored: {row['error']}")
        elif row["absent"]:
            console.print(f"{row['clip']}: without {row['absent']}")


def print_windows(windows: "pa.Table", targets: Sequence[str]) -> None:
    """A row per window: when, its scores, and what they come from."""
    table = Table("clip", "seconds", *targets, "scored from", box=None)
    for row in windows.to_pylist():
        span = f"{row['start']:g}–{row['end']:g}"
        table.add_row(row["clip"], span, *(score(row[name]) for name in targets), row["present"] or "nothing")
    console.print(table)


def print_why(predictions: "Sequence[Prediction]", targets: Sequence[str]) -> None:
    """How much each modality of each clip moved each score; nothing and all of them add up to the scores."""
    table = Table("clip", "moved by", *targets, box=None)
    for made in (made for made in predictions if made.why is not None):
        assert made.why is not None
        table.add_row(made.clip, "nothing", *(score(made.why.baseline[name]) for name in targets))
        for modality, moved in made.why.shapley.items():
            table.add_row("", modality, *(f"{moved[name]:+.3f}" for name in targets))
    console.print(table)


def score(value: float | None) -> str:
    """A score as it is shown."""
    return "–" if value is None or value != value else f"{value:.3f}"


def print_tally(tally: "ExtractionSummary", store: Path) -> None:
    """What an extraction came to: counts, then what was absent or odd by reason, then what failed."""
    for (modality, _), (count, first) in sorted(tally.absent.items()):
        console.print(f"  {modality} absent in {count} (first: {first})")
    for reason, (count, first) in tally.recomputed.items():
        console.print(f"  made again: {count} {reason} (first: {first})")
    for count, first in tally.remarks.values():
        console.print(f"  noted in {count} (first: {first})")
    for clip, reason in tally.failed[:SHOWN]:
        console.print(f"  failed: {clip}: {reason}")
    if len(tally.failed) > SHOWN:
        console.print(f"  … and {len(tally.failed) - SHOWN} more failed; the store's index names them all")
    partly = sum(count for count, _ in tally.absent.values())
    counts = f"{tally.made} made, {tally.reused} reused, {partly} modalities absent, {len(tally.failed)} failed"
    console.print(f"{store}: {counts}")
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
