"""Progress bars, on the error stream."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mien.terminal import Printer

Item = TypeVar("Item")


def counted(items: Iterable[Item], what: str, total: int, show: bool, unit: str = "clips") -> Iterator[Item]:
    """Yield the items and show their count, rate and remaining time."""
    columns = (
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Printer(stderr=True), disable=not show) as bar:
        task = bar.add_task(what, total=total, rate="")
        for item in items:
            yield item
            speed = bar.tasks[0].speed
            bar.update(task, advance=1, rate=f"{speed:.2g} {unit}/s" if speed else "")
