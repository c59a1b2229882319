"""Killed at random moments and started again, each job ends where it would have ended, and does nothing twice."""

import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Count, Undisturbed
from tests.faults.jobs import do_extract, do_predict, do_study, do_train, finished, leftovers, started, undated


def scored(study: Path) -> dict[str, bytes]:
    return {str(path.relative_to(study)): path.read_bytes() for path in study.rglob("scores.npy")}


def stored(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}


def trained(run: Path) -> dict[str, bytes]:
    files = [*run.rglob("model.safetensors"), run / "predictions.parquet", run / "results.json"]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def extraction(whole: Undisturbed, room: Path) -> tuple[Any, ...]:
    return do_extract, whole.data, room / "store"


def training(whole: Undisturbed, room: Path) -> tuple[Any, ...]:
    return do_train, whole.data, whole.store, room / "run"


def studying(whole: Undisturbed, room: Path) -> tuple[Any, ...]:
    return do_study, whole.data, whole.store, room / "study"


def predicting(whole: Undisturbed, room: Path) -> tuple[Any, ...]:
    return do_predict, whole.data, whole.run, room / "scores.csv"


JOBS: dict[str, tuple[Callable[..., Any], Callable[[Path], Any], str]] = {
    "extract": (extraction, stored, "store"),
    "train": (training, trained, "run"),
    "study": (studying, scored, "study"),
    "predict": (predicting, undated, "scores"),
}


def disturb(name: str, whole: Undisturbed, room: Path, kills: int, seed: int, count: Count) -> None:
    """Start a job, kill it, start it again; what it has made whenever it gets through is compared."""
    prepare, content, what = JOBS[name]
    job, chance, killed = prepare(whole, room), random.Random(seed), 0
    wanted, seconds = content(getattr(whole, what)), undisturbed_seconds(job, room)
    while True:
        process = started(*job, room / "journal")
        process.join(chance.uniform(0.02, 0.7) * seconds if killed < kills else None)
        if process.exitcode is None:
            process.kill()
            killed += 1
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        if process.exitcode == 0:
            twice = [thing for thing, times in finished(room / "journal").items() if times > 1]
            count(0, lost=len(twice), wrong=int(content(job[-1]) != wanted))
            assert not leftovers(room)
            if killed == kills:
                break
            clear(room)
    count(killed)


def undisturbed_seconds(job: tuple[Any, ...], room: Path) -> float:
    """What it takes here and now."""
    room.mkdir(parents=True)
    began = time.monotonic()
    started(*job, room / "journal").join()
    clear(room)
    return time.monotonic() - began


def clear(room: Path) -> None:
    shutil.rmtree(room)
    room.mkdir()


@pytest.mark.parametrize(("name", "kills"), [("extract", 3), ("train", 3), ("study", 2), ("predict", 1)])
def test_a_killed_job_ends_where_it_would_have_ended(
    name: str, kills: int, whole: Undisturbed, tmp_path: Path, count: Count
) -> None:
    disturb(name, whole, tmp_path / "room", kills, 0, count)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("name", "kills"), [("extract", 10), ("train", 10), ("study", 8), ("predict", 5)])
def test_many_kills(name: str, kills: int, seed: int, whole: Undisturbed, tmp_path: Path, count: Count) -> None:
    disturb(name, whole, tmp_path / "room", kills, seed, count)
