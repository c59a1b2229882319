"""A disk that is full, or read-only: one line, what was finished stays, and with room the same command goes on."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mien.errors import MienError
from mien.storage.files import write_json
from tests.faults.conftest import Count, Undisturbed
from tests.faults.jobs import EXTRACTION, TRAINING, command, leftovers, plan_of, started
from tests.faults.test_kill import scored, stored, trained

ROOMS = {"extract": ("store", stored), "train": ("run", trained), "study": ("study", scored)}


class Disk:
    """A small disk of its own, in memory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def mount(self, kilobytes: int) -> bool:
        options = ["-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs"]
        return not subprocess.run(["mount", *options, self.root], capture_output=True).returncode

    def change(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", self.root], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self.root], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 64 KiB."""
    (tmp_path / "disk").mkdir()
    made = Disk(tmp_path / "disk")
    if os.geteuid() != 0 or not made.mount(64):
        pytest.skip("no disk of its own can be mounted here (that wants root); the limit on file sizes is tested")
    yield made
    made.unmount()


def words(name: str, whole: Undisturbed, out: Path) -> list[str]:
    """The command of a job that writes into ``out``."""
    flags = ["--quiet", *(word for setting in EXTRACTION for word in ("--set", setting))]
    if name == "extract":
        return ["extract", str(whole.data), "--out", str(out), "--workers", "0", *flags]
    if name == "train":
        settings = [word for setting in TRAINING for word in ("--set", setting)]
        return ["train", str(whole.data), "--features", str(whole.store), "--out", str(out), "--quiet", *settings]
    if name == "predict":
        return ["predict", str(whole.run), str(whole.data), "--out", str(out), "--quiet"]
    plan_of(out.parents[1] / "plan")
    study = str(out.parents[1] / "plan" / "study.yaml")
    return ["study", study, str(whole.data), "--features", str(whole.store), "--out", str(out), "--quiet"]


def complaint(stderr: str) -> str:
    """The last line of an error stream, which has no traceback in it."""
    assert "Traceback" not in stderr
    return stderr.splitlines()[-1] if stderr else ""


@pytest.mark.parametrize("name", ["extract", "train", "study"])
def test_a_full_disk_is_one_line_and_with_room_it_goes_on(
    name: str, whole: Undisturbed, disk: Disk, tmp_path: Path, count: Count
) -> None:
    folder, content = ROOMS[name]
    out = disk.root / folder
    status, _, said = command(*words(name, whole, out), said=tmp_path / "said")
    assert (status, complaint(said).startswith("mien: ")) == (1, True), said
    assert "No space left on device" in complaint(said)
    assert str(disk.root) in complaint(said)
    assert not leftovers(disk.root)
    kept = len(list(out.glob("pending/*.safetensors")))
    disk.change("size=64m")
    status, told, said = command(*words(name, whole, out), said=tmp_path / "said")
    assert status == 0, said
    if name == "extract":
        assert kept > 0
        assert f"{kept} reused" in told
    count(wrong=int(content(out) != content(getattr(whole, folder))))


@pytest.mark.parametrize("name", ["extract", "train", "study", "predict"])
def test_a_read_only_disk_is_one_line(name: str, whole: Undisturbed, disk: Disk, tmp_path: Path, count: Count) -> None:
    disk.change("ro")
    status, _, said = command(*words(name, whole, disk.root / "out.csv"), said=tmp_path / "said")
    assert status == 1
    assert "Read-only file system" in complaint(said)
    assert str(disk.root) in complaint(said)
    count()


@pytest.mark.parametrize("name", ["extract", "train", "study"])
def test_a_limit_on_file_sizes_is_one_line(name: str, whole: Undisturbed, tmp_path: Path, count: Count) -> None:
    out = tmp_path / "room" / "out"
    status, _, said = command(*words(name, whole, out), said=tmp_path / "said", largest_file=1000)
    assert status == 1
    assert "File too large" in complaint(said)
    assert not leftovers(out.parent)
    count()


def test_scores_that_do_not_fit_leave_no_half_file(
    whole: Undisturbed, disk: Disk, tmp_path: Path, count: Count
) -> None:
    (disk.root / "others").write_bytes(bytes(64 * 1024))
    status, _, said = command(*words("predict", whole, disk.root / "scores.csv"), said=tmp_path / "said")
    assert status == 1
    assert "scores.csv: cannot be written (No space left on device); make room" in complaint(said)
    assert [path.name for path in disk.root.iterdir()] == ["others"]
    count()


@pytest.mark.soak
@pytest.mark.parametrize("name", ["extract", "train", "study"])
def test_a_disk_that_fills_up_at_any_moment(
    name: str, whole: Undisturbed, disk: Disk, tmp_path: Path, count: Count
) -> None:
    """More room each time, until it suffices; what was made with less is gone on from."""
    folder, content = ROOMS[name]
    out, full = disk.root / folder, 0
    for kilobytes in range(16, 4000, 12):
        disk.change(f"size={kilobytes}k")
        status, _, said = command(*words(name, whole, out), said=tmp_path / "said")
        assert not leftovers(disk.root)
        if status == 0:
            break
        assert re.search("No space left on device|is the disk full", complaint(said)), said
        full += 1
    count(full, wrong=int(content(out) != content(getattr(whole, folder))))
    assert full > 5


def write_as_nobody(file: Path, said: Path) -> None:
    os.setgid(65534)
    os.setuid(65534)
    try:
        write_json(file, 1)
    except MienError as error:
        os.write(os.open(said, os.O_WRONLY), str(error).encode())


def test_a_place_of_somebody_else_is_one_line(tmp_path: Path, count: Count) -> None:
    if os.geteuid() != 0:
        pytest.skip("who is not root cannot become somebody else")
    (tmp_path / "said").touch()
    (tmp_path / "said").chmod(0o666)
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path("/tmp"):
            break
        folder.chmod(0o755)
    process = started(write_as_nobody, tmp_path / "a.json", tmp_path / "said")
    process.join()
    assert "a.json: cannot be written (Permission denied); name another place" in (tmp_path / "said").read_text()
    count()
