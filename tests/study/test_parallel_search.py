"""A search with several workers: as many trials at once, none lost and none counted twice, whatever is killed."""

import time
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
import yaml

from mien.scale import Pool
from mien.schema import Manifest
from mien.study.proposals import LOG, Proposals
from mien.study.space import Range
from mien.study.tune import Search, Trial, read_space
from tests.training.planted import planted

SPACE: dict[str, Any] = {
    "settings": {
        "modalities": ["text", "motion"], "stage1.embedding": 8, "stage1.motion_embedding": 8, "stage1.epochs": 2,
        "stage1.motion_epochs": 2, "stage2.hidden": 8, "stage2.epochs": 2, "stage2.adaptation": "frozen",
    },
    "seeds": 1,
    "folds": 3,
    "space": {"stage2.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "stage2.missing": ["zero", "token"]},
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Path]:
    root = tmp_path_factory.mktemp("data") / "store"
    return planted(root, train=90, valid=10)[0], root


def search(folder: Path, data: tuple[Manifest, Path], trials: int, workers: Pool, **more: Any) -> Search:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE | {"trials": trials} | more))
    return Search(read_space(folder / "space.yaml"), *data, folder / "out", workers)


def log_of(folder: Path) -> list[Any]:
    """All trials that Optuna has recorded, with their times."""
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "out" / LOG)))
    return optuna.load_study(study_name=None, storage=storage).trials


def folders(out: Path) -> dict[str, int]:
    """Stored stage-1 models and cells, and when they were written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/*/SHA256SUMS")}


@pytest.mark.parametrize("workers", [0, 1])
def test_with_one_worker_each_proposal_is_made_of_all_results_before(
    workers: int, data: tuple[Manifest, Path], tmp_path: Path
) -> None:
    trials = list(search(tmp_path, data, 13, workers))
    sampler = optuna.samplers.TPESampler(seed=0)  # draws ten at random, then learns
    replayed = optuna.create_study(sampler=sampler, direction="maximize")
    for number, trial in enumerate(trials):
        asked = replayed.ask()
        lr, missing = (
            asked.suggest_float("stage2.lr", 1e-4, 1e-2, log=True),
            asked.suggest_categorical("stage2.missing", ["zero", "token"]),
        )
        assert trial == Trial(number, {"stage2.lr": lr, "stage2.missing": missing}, trial.r)
        replayed.tell(asked, trial.r)


def test_two_workers_try_two_at_a_time_and_share_stage_1(data: tuple[Manifest, Path], tmp_path: Path) -> None:
    made = search(tmp_path, data, 6, 2)
    assert sorted(trial.number for trial in made) == [0, 1, 2, 3, 4, 5]
    assert [trial.number for trial in made.done] == [0, 1, 2, 3, 4, 5]
    times = [(trial.datetime_start, trial.datetime_complete) for trial in log_of(tmp_path)]
    assert max(sum(begin <= moment < end for begin, end in times) for moment, _ in times) == 2
    encoders = [path.stat().st_mtime for path in (tmp_path / "out" / "encoders").glob("*/SHA256SUMS")]
    assert len(encoders) == 2  # text and motion
    assert datetime.fromtimestamp(max(encoders)) < min(begin for begin, _ in times)
    assert made.finish().is_file()


def test_a_killed_worker_fails_its_trial_with_the_reason_and_the_search_goes_on(
    data: tuple[Manifest, Path], tmp_path: Path
) -> None:
    epochs = {"stage2.epochs": [2, 100_000]}
    settings = SPACE["settings"] | {"modalities": ["text"], "stage2.adaptation": "joint", "stage2.patience": 0}
    made = search(tmp_path, data, 4, 2, settings=settings, space=epochs, search_seed=8)  # the first draws 100,000
    for number, _ in enumerate(made):
        if number == 1:  # two others are done, and the last is not asked for yet
            busiest().kill()
    assert [(trial.r is None, trial.reason) for trial in made.done] == [
        (True, "the worker process died (exit code -9)"), *[(False, "")] * 3
    ]  # fmt: skip
    assert list(search(tmp_path, data, 4, 2, settings=settings, space=epochs, search_seed=8)) == made.done
    made.finish()
    assert "the worker process died" in (tmp_path / "out" / "trials.csv").read_text()


def busiest() -> psutil.Process:
    """The worker that has a trial; the other waits for one."""
    workers = [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
    assert len(workers) == 2
    before = [sum(worker.cpu_times()[:2]) for worker in workers]
    time.sleep(1)
    return max(zip(workers, before, strict=True), key=lambda pair: sum(pair[0].cpu_times()[:2]) - pair[1])[0]


def test_trials_in_work_when_it_is_interrupted_are_proposed_again_and_counted_once(
    data: tuple[Manifest, Path], tmp_path: Path
) -> None:
    first = taken(search(tmp_path, data, 5, 0), 1)
    assert taken(search(tmp_path, data, 5, 2), 2)[0] == first[0]
    (in_work,) = (trial for trial in log_of(tmp_path) if not trial.state.is_finished())
    made = search(tmp_path, data, 5, 0)
    trials = list(made)
    assert trials[0] == first[0]
    assert len(made.done) == 5 and all(trial.r is not None for trial in made.done)
    assert [trial.chosen for trial in made.done].count(in_work.params) == 1
    assert in_work.number not in {trial.number for trial in made.done}


def taken(made: Search, count: int) -> list[Trial]:
    """The first trials of a search that is then interrupted."""
    trials = iter(made)
    found = [next(trials) for _ in range(count)]
    trials.close()  # type: ignore[attr-defined]
    return found


def test_a_trial_that_is_interrupted_again_and_again_is_repeated_until_it_is_done(tmp_path: Path) -> None:
    def opened() -> Proposals:
        return Proposals(tmp_path, "search", {"x": Range(low=0, high=1)}, 0)

    killed = opened()
    asked = [killed.ask() for _ in range(3)]
    killed.tell(0, 0.5, "")
    again = opened()
    assert again.ask()[1] == asked[1][1]  # interrupted too, while the third still waits
    last = opened()
    assert [last.ask()[1] for _ in range(2)] == [asked[2][1], asked[1][1]]
    for number in sorted(last._asked):
        last.tell(number, 0.1, "")
    assert sorted(trial.chosen["x"] for trial in opened().done()) == sorted(chosen["x"] for _, chosen in asked)


def test_the_same_settings_are_trained_once_also_after_the_log_is_lost(
    data: tuple[Manifest, Path], tmp_path: Path
) -> None:
    only = {"stage2.missing": ["zero"]}
    results = {trial.r for trial in search(tmp_path, data, 3, 0, space=only)}
    written = folders(tmp_path / "out")
    assert len(results) == 1 and len(written) == 2 + 1  # stage 1 of text and motion, and the cell
    (tmp_path / "out" / LOG).unlink()
    assert {trial.r for trial in search(tmp_path, data, 3, 2, space=only)} == results
    assert folders(tmp_path / "out") == written
