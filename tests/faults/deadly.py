"""Work that kills and asks, in a module that is quick to import in a worker."""

import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadly:
    """``actor`` kills the actor of its worker; ``network`` says why its worker has none; others come back."""

    def __call__(self) -> Callable[[str], str]:
        return self._do

    def _do(self, what: str) -> str:
        if what == "actor":
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        if what == "network":
            try:
                socket.socket()
            except OSError as error:
                return error.strerror or ""
        return what
