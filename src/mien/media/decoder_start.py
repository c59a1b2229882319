"""Starts decoder processes (``decoder_process.py``), one of them before it is needed.

    with one_ahead():                       # returns at once
        ...                                 # import torch: a second
        process, requests = started()       # that one, which has imported libav in the meantime

A process of mien's own, started with ``subprocess``, not ``multiprocessing``, which would run the caller's script again
and unpickle what a compromised codec sends. It ends when its parent has gone. Imports little, as it comes first.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PIPE_BYTES = 1 << 20

START = "from mien.sandbox import deny_network; deny_network(); from mien.media.decoder_process import serve; serve()"
"""The code that the process runs: it gives up the network before any native library is loaded."""

NAME = "mien-decoder"
"""Its last argument, which identifies it in lists of processes."""

Started = tuple["subprocess.Popen[bytes]", socket.socket]
"""A process, whose standard output has its replies, and where requests go."""

_ahead: list[Started] = []


@contextmanager
def one_ahead() -> Iterator[None]:
    """Start the process that the next call of ``started`` returns; it ends here if there was none."""
    _ahead.append(_start())
    try:
        yield
    finally:
        while _ahead:
            end(*_ahead.pop())


def started() -> Started:
    """A process that has started; it may not be ready yet, but requests can be sent."""
    while _ahead:
        process, requests = _ahead.pop()
        if process.poll() is None:
            return process, requests
        end(process, requests)
    return _start()


def end(process: "subprocess.Popen[bytes]", requests: socket.socket) -> None:
    """Kill a process, and close the connections with it."""
    process.kill()
    process.wait()
    requests.close()
    if process.stdout is not None:
        process.stdout.close()


def _start() -> Started:
    path = os.pathsep.join(place for place in sys.path if place)
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", START, NAME],
            stdin=theirs.fileno(),
            stdout=subprocess.PIPE,
            bufsize=0,
            pipesize=PIPE_BYTES,
            env=os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
            process_group=0,  # keyboard interrupts are handled by the parent
        )
    return process, ours
