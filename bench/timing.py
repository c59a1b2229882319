"""Timing on a machine that may be busy: methods in turns, medians, separate processes."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIEN = str(Path(sys.executable).with_name("mien"))
"""The ``mien`` command of this Python installation."""


def in_turns(ways: Mapping[str, Callable[[], Any]], rounds: int, warm: bool = True) -> dict[str, list[float]]:
    """Seconds of each method in each round. They take turns (A B C A B C …), so that other load affects all alike."""
    if warm:
        for way in ways.values():
            way()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begin = time.perf_counter()
            result = way()
            taken[name].append(result if isinstance(result, float) else time.perf_counter() - begin)
    return taken


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Speed-up: the median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


@dataclass(frozen=True)
class Ran:
    """A finished process: wall and processor seconds, what it printed, and its largest memory, or a child's, in MB."""

    seconds: float
    cpu: float
    printed: str
    peak: float


def process(*arguments: str, **environment: str) -> Ran:
    """Run a command to its end.

    Raises:
        subprocess.CalledProcessError: it failed; its messages are on stderr.
    """
    begin = time.perf_counter()
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=os.environ | environment) as child:
        assert child.stdout is not None
        printed = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, arguments, printed)
    return Ran(time.perf_counter() - begin, used.ru_utime + used.ru_stime, printed, used.ru_maxrss / 1024)


def python(*arguments: str, **environment: str) -> Ran:
    """Run Python with these arguments."""
    return process(sys.executable, *arguments, **environment)
