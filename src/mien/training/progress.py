"""Progress of a training: one status line on stderr."""

from types import TracebackType
from typing import Self

import numpy as np
from rich.status import Status

from mien.terminal import Printer, shown
from mien.training.fit import Epoch


class EpochBar:
    """A status line for the current epoch, and log lines above it."""

    def __init__(self, show: bool = True) -> None:
        self._status = Status(shown("starting"), console=Printer(stderr=True)) if show else None

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the status line."""
        if self._status:
            self._status.stop()

    def log(self, line: str) -> None:
        """Print a log line."""
        if self._status:
            self._status.console.print(line)

    def on_epoch(self, name: str, epoch: Epoch) -> None:
        """Show an epoch."""
        if self._status:
            running = int((~epoch.stopped).sum())
            r = f"{np.nanmean(epoch.mean_r):.4f}" if np.isfinite(epoch.mean_r).any() else "–"
            self._status.update(
                shown(
                    f"{name}: epoch {epoch.number}, loss {epoch.loss.mean():.4f}, r {r}, "
                    f"{running} of {len(epoch.stopped)} models training, {epoch.seconds:.1f} s per epoch"
                )
            )
