"""Temporary folders: removed after use, those of killed processes by the next, and nothing else."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mien.storage.temporary import FILES, LOCK, temporary_folder

HOLDER = """
import time
from mien.storage.temporary import temporary_folder
with temporary_folder() as folder:
    (folder / "clip").mkdir()
    (folder / "clip" / "a.mp4").touch()
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of its own, for processes that are started, too."""
    (folder := tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


@contextmanager
def holder() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that has made a temporary folder with a clip in it."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip()).parent
    finally:
        process.kill()
        process.communicate()


def left_folder() -> Path:
    """What a killed process has left."""
    with holder() as (_, folder):
        pass
    assert (folder / FILES / "clip" / "a.mp4").exists()
    return folder


def make_one() -> None:
    with temporary_folder():
        pass


def test_a_folder_is_empty_private_and_gone_after_the_block(temporary: Path) -> None:
    with temporary_folder() as folder:
        assert not list(folder.iterdir())
        assert folder.parent.stat().st_mode & 0o777 == 0o700
        (folder / "clip").touch()
    assert not list(temporary.iterdir())


def test_what_a_killed_process_left_is_removed_and_what_is_held_stays(temporary: Path) -> None:
    with holder() as (killed, left), holder() as (_, held):
        make_one()  # while both are held
        assert {left, held} == set(temporary.iterdir())
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        make_one()
        assert [held] == list(temporary.iterdir())
        assert (held / FILES / "clip" / "a.mp4").exists()


def test_a_removal_that_was_broken_off_is_finished(temporary: Path) -> None:
    shutil.rmtree(left_folder() / FILES)
    make_one()
    assert not list(temporary.iterdir())


CHANGES = {
    "no lock": lambda folder: (folder / LOCK).unlink(),
    "other files": lambda folder: (folder / "notes.txt").touch(),
    "open to others": lambda folder: folder.chmod(0o755),
    "of another machine": lambda folder: (folder / LOCK).write_text("another machine"),
    "a link": lambda folder: folder.rename(folder.with_name("own")) and folder.symlink_to(folder.with_name("own")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_folder_that_is_not_certainly_a_left_one_stays(change: Callable[[Path], object]) -> None:
    change(folder := left_folder())
    make_one()
    assert (folder / FILES / "clip" / "a.mp4").exists()


def test_a_link_to_a_lock_is_not_followed(temporary: Path, tmp_path: Path) -> None:
    folder = left_folder()
    (folder / LOCK).rename(tmp_path / "lock")
    (folder / LOCK).symlink_to(tmp_path / "lock")
    make_one()
    assert (folder / FILES / "clip" / "a.mp4").exists()


def test_links_in_a_left_folder_are_removed_and_not_what_they_point_to(temporary: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.mp4").touch()
    (left_folder() / FILES / "link").symlink_to(tmp_path / "mine")
    make_one()
    assert not list(temporary.iterdir())
    assert (tmp_path / "mine" / "a.mp4").exists()


def test_folders_of_another_user_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = left_folder()
    other = os.geteuid() + 1
    monkeypatch.setattr("os.geteuid", lambda: other)
    make_one()
    assert folder.exists()
