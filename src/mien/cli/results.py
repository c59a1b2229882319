"""What training and judging print: progress while it runs, tables at the end."""

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from rich.console import Console
from rich.status import Status
from rich.table import Table

if TYPE_CHECKING:
    from mien.training import RunSummary
    from mien.training.fit import Epoch

console = Console(highlight=False)


class EpochBar:
    """One changing line that says how far a training is, and lines that stay."""

    def __init__(self, quiet: bool) -> None:
        self._status = None if quiet else Status("starting", console=Console(stderr=True))

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the changing line away."""
        if self._status:
            self._status.stop()

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if self._status:
            console.print(line, markup=False)

    def watch(self, name: str, epoch: "Epoch") -> None:
        """Show an epoch."""
        if self._status:
            running = int((~epoch.stopped).sum())
            r = f"{np.nanmean(epoch.mean_r):.4f}" if np.isfinite(epoch.mean_r).any() else "undefined"
            self._status.update(
                f"{name}: epoch {epoch.number}, loss {epoch.loss.mean():.4f}, r {r}, "
                f"{running} of {len(epoch.stopped)} models learning, {epoch.seconds:.1f} s per epoch"
            )


def print_run(summary: "RunSummary") -> None:
    """Validation r of every model of a run: mean over seeds, and their spread."""
    table = Table("validation r", *summary.targets, "mean", "± seeds", box=None)
    for name, r in summary.r.items():
        means = np.array([np.mean(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in r])
        spread = f"{means.std(ddof=1):.4f}" if len(means) > 1 else "–"
        table.add_row(name, *cells(r.mean(0)), number(float(means.mean())), spread)
    console.print(table)
    console.print(f"{summary.folder}: trained in {summary.seconds:.0f} s; the model is in {summary.folder / 'model'}")


def cells(values: Sequence[float] | np.ndarray) -> list[str]:
    """Numbers for a row of a table."""
    return [number(float(value)) for value in values]


def number(value: float) -> str:
    """Three decimals, or a dash where there is no number.

    >>> number(float("nan"))
    '–'
    """
    return f"{value:.3f}" if np.isfinite(value) else "–"
