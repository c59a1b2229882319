"""Starts worker processes, and replaces those that die."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from mien import terminal

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
STEADY_SECONDS = 60.0


class Supervisor:
    """Keeps a number of ``mien work`` processes alive; they end when this process does."""

    def __init__(self, number: int, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Workers with these arguments of ``mien work`` and additions to the environment; nothing is started yet."""
        self._environment = {**os.environ, **environment}
        self._command = [sys.executable, "-m", "mien.cli", "work", *arguments, "--with-server"]
        self._number = number
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the workers."""
        self._threads = [threading.Thread(target=self._keep, daemon=True) for _ in range(self._number)]
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float) -> None:
        """Have the workers finish their clips; after some seconds they are left to end by themselves."""
        self._stop.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _keep(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            began = time.monotonic()
            process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, start_new_session=True, env=self._environment
            )
            while process.poll() is None and not self._stop.wait(0.2):
                pass
            if self._stop.is_set():
                with suppress(OSError):
                    process.stdin.close()  # type: ignore[union-attr]
                process.wait()
                return
            pause = FIRST_PAUSE if time.monotonic() - began > STEADY_SECONDS else min(2 * pause, LONGEST_PAUSE)
            terminal.warn(f"a worker ended with status {process.returncode}; another starts in {pause:.0f} s")
            self._stop.wait(pause)
