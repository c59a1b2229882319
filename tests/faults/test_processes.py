"""Two processes on one folder, workers that die, and whoever reads the output or presses Ctrl-C."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mien.data.manifest import read_manifest
from mien.features.extract import extract
from mien.features.store import Store
from mien.study import run_study
from mien.study.cells import StudyContext
from tests.faults.conftest import Count, Undisturbed
from tests.faults.jobs import CLIPS, command, do_extract, finished, hold, plan_of, settings, started
from tests.faults.test_disk import complaint, words
from tests.faults.test_kill import scored, stored
from tests.workers import kill_workers


@pytest.mark.parametrize(("name", "folder"), [("extract", "store"), ("train", "run"), ("study", "study")])
def test_a_second_writer_is_told_who_has_the_folder_until_that_one_is_killed(
    name: str, folder: str, whole: Undisturbed, tmp_path: Path, count: Count
) -> None:
    out = Path(shutil.copytree(getattr(whole, folder), tmp_path / "room" / folder))
    holder = started(hold, out, tmp_path / "ready")
    while not (tmp_path / "ready").exists():
        holder.join(0.01)
    status, _, said = command(*words(name, whole, out), said=tmp_path / "said")
    assert status == 1
    assert f"process {holder.pid} on" in complaint(said)
    assert "is writing to it" in complaint(said)
    holder.kill()
    holder.join()
    status, _, said = command(*words(name, whole, out), said=tmp_path / "said")
    assert (status, complaint(said).startswith("mien: ")) == (0, False)
    count(2)


@pytest.mark.soak
def test_a_killed_worker_costs_its_clip_and_the_next_run_makes_it(
    whole: Undisturbed, tmp_path: Path, count: Count
) -> None:
    killed, failures = False, []
    for outcome in extract(read_manifest(whole.data), tmp_path / "store", settings(), workers=1):
        failures += [outcome.failure] if outcome.failure else []
        if not killed:
            killed = kill_workers() > 0
    assert len(failures) <= 1
    assert all("the worker process died" in reason for reason in failures)
    process = started(do_extract, whole.data, tmp_path / "store", tmp_path / "journal")
    process.join()
    assert sum(finished(tmp_path / "journal").values()) == len(failures)
    made, right = Store(tmp_path / "store"), Store(whole.store)
    wrong = [pair for pair in right.rows if made.array(*pair).tobytes() != right.array(*pair).tobytes()]
    count(lost=int(len(failures) > 1), wrong=len(wrong))


@pytest.mark.soak
def test_a_killed_worker_of_a_study_costs_nothing_but_time(whole: Undisturbed, tmp_path: Path, count: Count) -> None:
    plan, manifest, killed = plan_of(tmp_path / "plan"), read_manifest(whole.data), []

    def watch(done, _):
        for piece in done:
            if not killed:
                killed.append(kill_workers())
            yield piece

    _, reasons, _ = run_study(plan, manifest, whole.store, tmp_path / "study", 1, watch)
    laboratory = StudyContext(manifest, whole.store, tmp_path / "study")
    assert killed == [1]
    assert reasons == ()
    assert all(not laboratory.result(cell)["failed"] for cell in plan.cells)  # type: ignore[index]
    count(lost=int(scored(tmp_path / "study").keys() != scored(whole.study).keys()))


MIEN = [sys.executable, "-m", "mien.cli"]


@pytest.mark.parametrize("arguments", [["settings", "--schema"], ["schema"]])
def test_a_reader_that_goes_ends_it_quietly(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*MIEN, *arguments], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("moment", ["extraction.json", pytest.param("pending/*.safetensors", marks=pytest.mark.soak)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_one_line_and_the_same_command_goes_on(
    number: signal.Signals, moment: str, whole: Undisturbed, tmp_path: Path, count: Count
) -> None:
    line = words("extract", whole, tmp_path / "store")
    line[line.index("--workers") + 1] = "1"
    process = subprocess.Popen(
        [*MIEN, *line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    while not list(tmp_path.glob(f"store/{moment}")):
        time.sleep(0.01)
        assert process.poll() is None
    if moment == "extraction.json":
        time.sleep(0.7)  # the worker is being born
    os.killpg(process.pid, number)  # as a terminal and Slurm do: to all of them
    out, said = process.communicate()
    assert process.returncode == 128 + number
    *notes, last = said.splitlines()
    assert (out, last) == ("", "mien: interrupted; the same command continues where it stopped")
    assert all(note.startswith("note: ") for note in notes)
    before = len(list(tmp_path.glob("store/pending/*.safetensors")))
    again = started(do_extract, whole.data, tmp_path / "store", tmp_path / "journal")
    again.join()
    made = sum(finished(tmp_path / "journal").values())
    count(lost=int(made + before != CLIPS), wrong=int(stored(tmp_path / "store") != stored(whole.store)))
