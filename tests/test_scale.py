"""Running over items: every item gets a result, and one that kills its worker is reported as failed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from mien.scale import Failed, run
from tests.workers import kill_workers


@dataclass(frozen=True)
class Squares:
    """Squares numbers; -1 kills its process, -2 hangs, -3 raises."""

    def __call__(self) -> Callable[[int], tuple[int, int]]:
        return self._square

    def _square(self, number: int) -> tuple[int, int]:
        if number == -1:
            os._exit(9)
        if number == -2:
            time.sleep(60)
        if number == -3:
            raise ArithmeticError("minus three")
        return number * number, os.getpid()


@pytest.mark.parametrize("workers", [0, 2])
def test_every_item_comes_back_with_its_result(workers: int) -> None:
    results = dict(run(Squares(), range(20), workers=workers))
    assert {item: result[0] for item, result in results.items() if not isinstance(result, Failed)} == {
        i: i * i for i in range(20)
    }


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_without_items_ahead_the_next_is_taken_when_a_worker_is_free(workers: int) -> None:
    results: list[int] = []
    known: list[int] = []

    def items() -> Iterator[int]:
        for number in range(8):
            known.append(len(results))  # when this one is taken
            yield number

    for item, _ in run(Squares(), items(), workers=workers, ahead=0):
        results.append(item)
    in_work = [number - results_then for number, results_then in enumerate(known)]
    assert in_work[: max(1, workers)] == list(range(max(1, workers)))
    assert max(in_work) == max(0, workers - 1)  # besides it


def test_workers_get_new_items_while_results_are_taken_slowly() -> None:
    """Two items are with a worker; each result that is taken makes room for another."""
    given: list[int] = []
    results = run(Squares(), (given.append(number) or number for number in range(9)), workers=1)
    assert len(given) == 0
    next(results)
    time.sleep(1)  # meanwhile the second is finished
    next(results)
    assert given == [0, 1, 2]
    results.close()


def test_workers_are_other_processes() -> None:
    here = os.getpid()
    assert all(result[1] != here for _, result in run(Squares(), range(4), workers=1) if not isinstance(result, Failed))
    assert all(result[1] == here for _, result in run(Squares(), range(4), workers=0) if not isinstance(result, Failed))


def test_a_dead_and_a_hanging_worker_cost_only_their_items() -> None:
    results = dict(run(Squares(), [1, -1, 2, -2, 3, 4], workers=2, seconds_each=lambda _: 4))
    lost = {item: result for item, result in results.items() if isinstance(result, Failed)}
    assert set(lost) == {-1, -2}
    assert "died" in lost[-1].reason
    assert "4 s" in lost[-2].reason


@pytest.mark.parametrize("workers", [0, 1])
def test_an_exception_is_raised_here(workers: int) -> None:
    with pytest.raises(ArithmeticError, match="minus three"):
        list(run(Squares(), [-3], workers=workers))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_are_killed_while_they_wait_for_work_are_replaced(workers: int) -> None:
    def slowly() -> Iterator[int]:
        for number in range(6):
            if number == 5:  # the first four are answered, the others not yet asked for
                time.sleep(2)
                killed.append(kill_workers())
            yield number

    killed: list[int] = []
    results = dict(run(Squares(), slowly(), workers=workers))
    assert killed == [workers]
    lost = [item for item, result in results.items() if isinstance(result, Failed)]
    assert sorted(results) == list(range(6))
    assert len(lost) <= 1  # one that was just being taken


def test_every_worker_killed_again_and_again_ends() -> None:
    started = time.monotonic()
    done = []
    for item, result in run(Squares(), range(8), workers=1):
        done.append((item, isinstance(result, Failed)))
        kill_workers()
    assert sorted(item for item, _ in done) == list(range(8))
    assert time.monotonic() - started < 240


def test_a_worker_does_not_outlive_its_killed_parent() -> None:
    program = (
        "from mien.scale import run; from tests.test_scale import Squares; print(*run(Squares(), [-2], workers=1))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[1])
    children: list[psutil.Process] = []
    while not any(child.num_threads() > 1 for child in children):  # the worker has begun
        assert parent.poll() is None
        children = [
            child for child in psutil.Process(parent.pid).children() if "spawn_main" in " ".join(child.cmdline())
        ]
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
