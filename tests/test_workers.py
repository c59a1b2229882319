"""Workers start from any program, however it was started itself, and a machine that sleeps costs no item its time."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = sys.executable

SQUARES = """
print("started")
from mien.scale import run
from tests.test_scale import Squares
print(sorted((item, result[0]) for item, result in run(Squares(), [1, 2, 3], workers=2)))
"""
SAID = "started\n[(1, 1), (2, 4), (3, 9)]\n"

LIBRARY = """
import sys
from collections.abc import Callable
from pathlib import Path
from tests.faults.jobs import EXTRACTION, TRAINING, make_corpus
import mien
print("started")
root = Path(sys.argv[1])
data = make_corpus(root / "data")
store, run = root / "store", root / "run"
print(mien.extract(data, store, mien.read_settings(overrides=EXTRACTION), workers=2, progress=False).made)
mien.train(data, store, run, mien.read_settings(overrides=TRAINING), progress=False)
print(set(mien.load(run).predict(data, workers=2).column("error").to_pylist()))
mien.synth(root / "synth", clips=2, workers=2, progress=False)
from mien.study import run_study
from tests.faults.jobs import plan_of
results, failed, report = run_study(plan_of(root / "plan"), mien.read_manifest(data), store, root / "study", 2)
print(failed, report.is_file())
"""

EXTRACT = LIBRARY.partition("mien.train")[0]

SLEEPER = """
import sys, time
from dataclasses import dataclass
import mien.deadline
mien.deadline.LONGEST_GAP = 1.0
from mien.scale import run
from tests.test_workers import Sleep
for item, result in run(Sleep(), [1.5, 99.0], workers=2, seconds_each=lambda _: 4.0):
    print(item, result, flush=True)
"""


class Sleep:
    """Works for so many seconds of its own time, as they are counted by a process that may be stopped."""

    def __call__(self) -> Callable[[float], str]:
        return self._sleep

    def _sleep(self, seconds: float) -> str:
        print("working", flush=True)
        while seconds > 0:
            time.sleep(0.1)
            seconds -= 0.1
        return "done"


@pytest.fixture
def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}


@pytest.mark.parametrize("how", ["file", "-c", "stdin", "exec", "-m"])
def test_a_program_without_a_main_guard_runs_once_with_its_workers(
    how: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "script.py").write_text(SQUARES)
    command = {
        "file": [PYTHON, "script.py"],
        "-c": [PYTHON, "-c", SQUARES],
        "stdin": [PYTHON, "-"],
        "exec": [PYTHON, "-c", f"exec({SQUARES!r}, {{'__name__': '__main__'}})"],
        "-m": [PYTHON, "-m", "script"],
    }[how]
    given = SQUARES if how == "stdin" else ""
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60
    )
    assert (done.stdout, done.stderr, done.returncode) == (SAID, "", 0)


def test_features_are_extracted_with_workers_in_a_script_without_a_main_guard(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "script.py").write_text(EXTRACT)
    done = subprocess.run(
        [PYTHON, "script.py", tmp_path / "made"], capture_output=True, text=True, cwd=tmp_path, env=environment,
        timeout=240,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["started", "12"], done.stderr


@pytest.mark.soak
def test_the_whole_library_works_with_workers_in_a_script_without_a_main_guard(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "script.py").write_text(LIBRARY)
    done = subprocess.run(
        [PYTHON, "script.py", tmp_path / "made"], capture_output=True, text=True, cwd=tmp_path, env=environment,
        timeout=240,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["started", "12", "{''}", "() True"], done.stderr


def test_a_deleted_working_directory_is_reported_instead_of_losing_the_workers(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    gone = tmp_path / "gone"
    program = f"import os; os.mkdir({str(gone)!r}); os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})\n{SQUARES}"
    done = subprocess.run(
        [PYTHON, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60
    )
    assert "FileNotFoundError" in done.stderr.splitlines()[-1]


def test_ctrl_c_while_workers_start_is_handled_by_their_parent_alone(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """Native modules that are interrupted while they are imported may complain of anything, so those come first."""
    program = f"import pebble, tests.test_scale\ntry:\n    exec({SQUARES!r})\nexcept KeyboardInterrupt:\n"
    program += "    print('interrupted')"
    for late in (0.05, 0.1, 0.2, 0.3):
        process = subprocess.Popen(
            [PYTHON, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
            env=environment, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        time.sleep(late)
        os.killpg(process.pid, signal.SIGINT)
        said, complained = process.communicate(timeout=60)
        assert complained == "", f"{late} s after the start"
        assert said in ("interrupted\n", SAID.removeprefix("started\n"))


@pytest.mark.soak
def test_suspended_time_does_not_count_towards_the_limit_of_an_item(
    environment: dict[str, str],
) -> None:
    process = subprocess.Popen(
        [PYTHON, "-c", SLEEPER], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment, start_new_session=True
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["working\n"] * 2
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(5)  # longer than an item may take
    os.killpg(process.pid, signal.SIGCONT)
    said = process.communicate(timeout=60)[0].splitlines()
    assert said == ["1.5 done", "99.0 Failed(reason='gave up after 4 s')"]
