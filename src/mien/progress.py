"""How far long work is: a bar on the error stream, away from results."""

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
