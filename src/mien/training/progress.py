"""How far a training is: one changing line on the error stream."""

from types import TracebackType
from typing import Self

import numpy as np
from rich.status import Status

from mien.terminal import Printer, shown
from mien.training.fit import Epoch


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
