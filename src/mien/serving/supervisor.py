"""Starts worker processes, and replaces those that die.

The standard input of a worker is a socket to this process. Its end tells the worker that the server is gone; over it
the worker says ``ready`` when the model is loaded, or ``failed`` and why. A model that no worker could load since the
server started will not be loaded by the next one either: the server is then to end. Later, it stays: results can still
be fetched, and a full memory or a lost mount may pass.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from mien import terminal

READY, FAILED = "ready", "failed "
"""What a worker says in its first line; the second is followed by the reason."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
STEADY_SECONDS = 60.0
MOST_FAILURES = 3


class Supervisor:
    """Keeps a number of ``mien work`` processes alive; they end when this process does.

    Attributes:
        trouble: why the last worker ended that had not loaded the model; empty once one has.
        gave_up: no worker can load the model.
    """

    def __init__(
        self, number: int, arguments: Sequence[str], environment: Mapping[str, str], patience_seconds: float = 30.0
    ) -> None:
        """Workers with these arguments of ``mien work`` and additions to the environment; nothing is started yet.

        Args:
            number: of workers.
            arguments: of ``mien work``.
            environment: additions to it.
            patience_seconds: failures are only final after this time: a worker of a server that was killed, with
                another model, may hold its lease.
        """
        self.trouble, self.gave_up = "", False
        self._environment = {**os.environ, **environment}
        self._command = [sys.executable, "-m", "mien.cli", "work", *arguments, "--with-server"]
        self._number, self._patience = number, patience_seconds
        self._began = time.monotonic()
        self._stop, self._loaded = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the workers."""
        self._began = time.monotonic()
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
        pause, failures = 0.0, 0
        while not self._stop.is_set():
            began = time.monotonic()
            status, ready = self._run()
            if status is None:
                return
            failures = 0 if ready else failures + 1
            if self._is_hopeless(failures):
                self.gave_up = True
                return
            first = not pause or time.monotonic() - began > STEADY_SECONDS
            pause = min(FIRST_PAUSE if first else 2 * pause, LONGEST_PAUSE)
            terminal.warn(f"a worker ended with status {status}; another starts in {pause:.0f} s")
            self._stop.wait(pause)

    def _is_hopeless(self, failures: int) -> bool:
        late = time.monotonic() - self._began >= self._patience
        return late and failures >= MOST_FAILURES and not self._loaded.is_set()

    def _run(self) -> tuple[int | None, bool]:
        """Run a worker; its status, ``None`` if all are to stop, and whether it had loaded the model."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = subprocess.Popen(
                    self._command, stdin=theirs.fileno(), start_new_session=True, env=self._environment
                )
            ours.setblocking(False)
            said, ready = b"", False
            while process.poll() is None and not self._stop.wait(0.2):
                said += _received(ours)
                if not ready and said.startswith(READY.encode()):
                    ready, self.trouble = True, ""
                    self._loaded.set()
            said += _received(ours)
            if not self._stop.is_set():
                if not ready:
                    self.trouble = _reason(said) or f"it ended with status {process.returncode}"
                return process.returncode, ready
        process.wait()
        return None, ready


def _received(ours: socket.socket) -> bytes:
    with suppress(OSError):  # nothing is there, or its end is closed
        return ours.recv(10_000)
    return b""


def _reason(said: bytes) -> str:
    text = said.decode("utf-8", "replace")
    return text.removeprefix(FAILED).partition("\n")[0] if text.startswith(FAILED) else ""
