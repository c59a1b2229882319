"""Tables that commands print: extraction, synthesis, scores."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from mien.storage.files import in_bytes
from mien.terminal import Printer
from mien.wording import decimal, plural

if TYPE_CHECKING:
    import pyarrow as pa

    from mien.features.extraction_summary import ExtractionSummary
    from mien.schema import Prediction
    from mien.synthetic.published import Bound, Comparison


console = Printer()
SHOWN = 10


def print_scores(scores: "pa.Table", targets: Sequence[str]) -> None:
    """A row per clip, then a line for each clip that lacks a modality or could not be scored.

    When more than ``SHOWN`` clips lack the same for the same reason, they share a line.
    """
    table = Table("clip", *targets, "scored from", box=None)
    rows = scores.to_pylist()
    for row in rows:
        cells = [score(row[name]) for name in targets]
        table.add_row(row["clip"], *cells, row["present"] or "none")
    console.print(table)
    alike = Counter(row["absent"] for row in rows if not row["error"])
    for row in rows:
        if row["error"]:
            console.print(f"{row['clip']}: not scored: {row['error']}")
        elif row["absent"] and alike[row["absent"]] <= SHOWN:
            console.print(f"{row['clip']}: without {row['absent']}")
    for absent, count in alike.items():
        if absent and count > SHOWN:
            console.print(f"{count} clips: without {absent}")


def print_windows(windows: "pa.Table", targets: Sequence[str]) -> None:
    """A row per window: its time, scores and modalities."""
    table = Table("clip", "seconds", *targets, "scored from", box=None)
    for row in windows.to_pylist():
        span = f"{row['start']:g}–{row['end']:g}"
        table.add_row(row["clip"], span, *(score(row[name]) for name in targets), row["present"] or "none")
    console.print(table)


def print_why(predictions: "Sequence[Prediction]", targets: Sequence[str]) -> None:
    """Contribution of each modality to each score; with the baseline they add up to the scores."""
    table = Table("clip", "contribution of", *targets, box=None)
    for made in (made for made in predictions if made.why is not None):
        assert made.why is not None
        table.add_row(made.clip, "baseline", *(score(made.why.baseline[name]) for name in targets))
        for modality, values in made.why.shapley.items():
            table.add_row("", modality, *(decimal(values[name], "+.3f") for name in targets))
    console.print(table)


def score(value: float | None) -> str:
    """A score with three decimals, or a dash."""
    return "–" if value is None or value != value else decimal(value, ".3f")


def print_extraction(summary: "ExtractionSummary", store: str) -> None:
    """Missing modalities, remarks and failures, each with a count and an example, then the totals."""
    for (modality, _), (count, first) in sorted(summary.absent.items()):
        console.print(f"  {modality} missing in {count} (first: {first})")
    for reason, (count, first) in summary.recomputed.items():
        console.print(f"  computed again: {count} {reason} (first: {first})")
    for count, first in summary.remarks.values():
        console.print(f"  noted in {count} (first: {first})")
    for clip, reason in summary.failed[:SHOWN]:
        console.print(f"  failed: {clip}: {reason}")
    if len(summary.failed) > SHOWN:
        console.print(f"  … and {len(summary.failed) - SHOWN} more failed; the store's index lists them all")
    missing = sum(count for count, _ in summary.absent.values())
    counts = (
        f"{summary.made} computed, {summary.reused} reused, {missing} modalities missing, {len(summary.failed)} failed"
    )
    console.print(f"{store}: {counts}")
    if summary.kept_files:
        size, new = in_bytes(summary.kept_bytes), in_bytes(summary.kept_new_bytes)
        console.print(f"kept inputs: {size} in {plural(summary.kept_files, 'file')}, {new} of it new")
    if summary.seconds:
        total = sum(summary.seconds.values())
        stages = ", ".join(f"{name} {100 * spent / total:.0f} %" for name, spent in summary.seconds.most_common())
        console.print(f"work: {total:.0f} s ({stages})")


def print_comparisons(rows: "Sequence[Comparison | Bound]") -> None:
    """Figures of a corpus beside the published or required ones; checks that need more clips are counted instead."""
    made = [row for row in rows if row.possible]
    if made:
        table = Table("", "figure", "expected", "found", "allowed", box=None)
        for row in made:
            table.add_row(
                "ok" if row.holds else "--", row.name, f"{row.published:.3f}", f"{row.found:.3f}", row.allowed
            )
        console.print(table)
        console.print(f"{sum(row.holds for row in made)} of {len(made)} checks hold")
    needs = Counter((row.clips, row.needs) for row in rows if not row.possible)
    for (clips, needed), count in sorted(needs.items()):
        console.print(f"not made: {plural(count, 'check')} that would need {needed:,} clips (here {clips:,})")
