"""Threads that use mien at the same moment, for the first time in their process, each get what one alone gets."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mien.inference.predict import load
from tests.faults.conftest import Undisturbed
from tests.faults.jobs import CLIPS, EXTRACTION

PROGRAM = f"""
import json, sys, threading
data, run, room, threads = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
gate, made = threading.Barrier(threads), {{}}

def work(number):
    gate.wait()
    import mien
    if number % 2:
        settings = mien.read_settings(overrides={EXTRACTION!r})
        made[number] = mien.extract(data, f"{{room}}/{{number}}", settings, progress=False).made
    else:
        made[number] = mien.load(run).predict(data).column("Joy").to_pylist()

threads = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps([made.get(number) for number in range(len(threads))]))
"""


def check(whole: Undisturbed, room: Path, threads: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, whole.data, whole.run, room, str(threads)], capture_output=True, text=True
    )
    alone = load(whole.run).predict(whole.data).column("Joy").to_pylist()
    assert json.loads(done.stdout) == [CLIPS if number % 2 else alone for number in range(threads)], done.stderr


def test_four_threads_at_once(whole: Undisturbed, tmp_path: Path) -> None:
    check(whole, tmp_path, 4)


@pytest.mark.soak
@pytest.mark.parametrize("threads", [2, 4])
@pytest.mark.parametrize("again", range(5))
def test_threads_at_once_again_and_again(threads: int, again: int, whole: Undisturbed, tmp_path: Path) -> None:
    check(whole, tmp_path, threads)
