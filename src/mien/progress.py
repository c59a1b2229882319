"""How far long work is: a bar for clips, one changing line for trainings. On the error stream, away from results."""

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.status import Status

from mien.terminal import Printer, shown
from mien.training.fit import Epoch

Thing = TypeVar("Thing")


def counted(things: Iterable[Thing], what: str, total: int, show: bool, unit: str = "clips") -> Iterator[Thing]:
    """The same things, with a bar that counts them, their rate, and the time left."""
    columns = (
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Printer(stderr=True), disable=not show) as bar:
        task = bar.add_task(what, total=total, rate="")
        for thing in things:
            yield thing
            speed = bar.tasks[0].speed
            bar.update(task, advance=1, rate=f"{speed:.2g} {unit}/s" if speed else "")


class EpochBar:
    """One changing line that says how far a training is, and lines that stay."""

    def __init__(self, show: bool = True) -> None:
        self._status = Status(shown("starting"), console=Printer(stderr=True)) if show else None

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
            self._status.console.print(line)

    def watch(self, name: str, epoch: Epoch) -> None:
        """Show an epoch."""
        if self._status:
            running = int((~epoch.stopped).sum())
            r = f"{np.nanmean(epoch.mean_r):.4f}" if np.isfinite(epoch.mean_r).any() else "undefined"
            self._status.update(
                shown(
                    f"{name}: epoch {epoch.number}, loss {epoch.loss.mean():.4f}, r {r}, "
                    f"{running} of {len(epoch.stopped)} models learning, {epoch.seconds:.1f} s per epoch"
                )
            )
