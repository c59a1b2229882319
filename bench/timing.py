"""Measuring on a machine that may be busy: ways side by side in turns, medians, and processes of their own."""

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
"""The command that belongs to this Python."""


def in_turns(ways: Mapping[str, Callable[[], Any]], rounds: int, warm: bool = True) -> dict[str, list[float]]:
    """Seconds of each way in each round. The ways take turns (A B C A B C …), so that what else runs hits all alike."""
    if warm:
        for way in ways.values():
            way()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begin = time.perf_counter()
            told = way()
            taken[name].append(told if isinstance(told, float) else time.perf_counter() - begin)
    return taken


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """How many times as fast: the median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


@dataclass(frozen=True)
class Ran:
    """A finished process: wall and processor seconds, and what it printed."""

    seconds: float
    cpu: float
    printed: str


def process(*arguments: str, **environment: str) -> Ran:
    """Run a command to its end.

    Raises:
        subprocess.CalledProcessError: it failed; what it complained of is on the error stream.
    """
    begin = time.perf_counter()
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=os.environ | environment) as child:
        assert child.stdout is not None
        printed = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, arguments, printed)
    return Ran(time.perf_counter() - begin, used.ru_utime + used.ru_stime, printed)


def python(*arguments: str, **environment: str) -> Ran:
    """Run Python with these arguments, its complaints of nothing suppressed."""
    return process(sys.executable, *arguments, **environment)
