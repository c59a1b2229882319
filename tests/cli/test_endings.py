"""However a command ends, it is a line or silence, and a status: never a traceback."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

MIEN = [sys.executable, "-m", "mien.cli"]
NOISE = ("Traceback", "Exception", "Fatal", "what()", "Error:")

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def shell(line: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a shell line in which ``mien`` is the command."""
    spoken = line.replace("mien", f"{sys.executable} -m mien.cli")
    return subprocess.run(
        ["/bin/sh", "-c", spoken], capture_output=True, text=True, cwd=cwd, env=os.environ | more, timeout=60
    )


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("mien settings >&-", 0, ""),
        ("mien weights list >&-", 0, ""),
        ("mien settings --set media.vison_fps=2 2>&-", 2, ""),
        ("mien export nowhere.json --out s.csv 2>&-", 1, ""),
        ("mien nonsense 2>&-", 2, ""),
        ("mien --help <&- >&- 2>&-", 0, ""),
        ("mien schema <&-", 0, ""),
    ],
)
def test_a_closed_stream_changes_nothing_but_what_is_shown(line: str, status: int, said: str, tmp_path: Path) -> None:
    done = shell(line, tmp_path)
    assert (done.returncode, done.stderr) == (status, said)


def test_what_is_printed_with_output_closed_goes_into_no_file_that_is_written(tmp_path: Path) -> None:
    assert shell("mien schema --out schema.json", tmp_path).returncode == 0
    assert shell("mien schema --out closed.json >&- <&-", tmp_path).returncode == 0
    assert (tmp_path / "closed.json").read_bytes() == (tmp_path / "schema.json").read_bytes()


@needs_full
@pytest.mark.parametrize("command", ["settings", "weights list", "schema", "--help"])
def test_a_full_disk_under_the_output_is_one_line(command: str, tmp_path: Path) -> None:
    done = shell(f"mien {command} > /dev/full", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("mien: ") and done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr


@needs_full
def test_a_full_disk_under_the_error_stream_leaves_the_status(tmp_path: Path) -> None:
    assert shell("mien export nowhere.json --out s.csv 2> /dev/full", tmp_path).returncode == 1


def test_a_deleted_directory_is_one_line(tmp_path: Path) -> None:
    done = shell("mkdir gone; cd gone; rmdir ../gone; mien settings", tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "mien: the current directory was deleted; change to one that exists (cd), and run it again\n"
    )


@pytest.mark.parametrize("settings", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONUTF8": "0"}])
def test_a_terminal_without_unicode_gets_what_it_can_show(settings: dict[str, str], tmp_path: Path) -> None:
    for command in ("extract --help", "weights list"):
        done = shell(f"mien {command}", tmp_path, **settings)
        assert (done.returncode, done.stderr) == (0, "")
    done = shell("mien export 'Bären.json' --out s.csv", tmp_path, **settings)
    assert done.returncode == 1
    assert done.stderr.startswith((r"mien: B\xe4ren.json: ", "mien: Bären.json: "))


def test_a_home_that_cannot_be_written_is_one_line_where_it_is_needed(tmp_path: Path) -> None:
    home = {"HOME": "/proc", "XDG_CACHE_HOME": "", "MIEN_CACHE": ""}  # root cannot write there either
    for command in ("weights list", "settings"):
        done = shell(f"mien {command}", tmp_path, **home)
        assert (done.returncode, done.stderr) == (0, "")
    done = shell("mien weights fetch tiny --offline", tmp_path, **home)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("mien: /proc/.cache")
    assert not any(noise in done.stderr for noise in NOISE)


def interrupted(late: float, *arguments: str, cwd: Path) -> tuple[int, str]:
    """Press Ctrl-C so many seconds after the start; the status and what was said."""
    process = subprocess.Popen(
        [Path(sys.executable).with_name("mien"), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, cwd=cwd, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    time.sleep(late)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    return process.returncode, said


@pytest.mark.parametrize("moments", [4, pytest.param(20, marks=pytest.mark.soak)])
@pytest.mark.parametrize("command", ["doctor", "extract"])
def test_ctrl_c_at_any_moment_is_one_line_or_silence(command: str, moments: int, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"not a video")
    line = ["doctor"] if command == "doctor" else ["extract", "clip.mp4", "--out", "store", "--weights", "tiny", "-q"]
    for step in range(moments):
        late = 0.05 + 2.95 * step / moments  # the first 0.05 s are Python's own
        status, said = interrupted(late, *line, cwd=tmp_path)
        assert not any(noise in said for noise in NOISE), f"after {late:.2f} s: {said}"
        if status == 130:
            assert said.startswith("mien: interrupted") and said.count("\n") == 1
        else:  # it was through, or had said all that it had to say
            assert status in (0, 1, -signal.SIGINT), f"after {late:.2f} s: {status} {said}"


ENDING = """
import os, signal, subprocess, sys, time
import mien.cli
import mien.cli.commands

def command():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        subprocess.run([sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGTERM).name)"])
        print("cleaned up")

mien.cli.commands.run = command
mien.cli.main()
"""


def test_sigterm_that_is_sent_twice_lets_the_command_clean_up() -> None:
    """``timeout`` sends it to its child and to the child's group. A process that is started handles it by default."""
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (143, "mien: interrupted\n")
    assert done.stdout == "SIG_DFL\ncleaned up\n"


def test_sigterm_that_is_ignored_stays_ignored() -> None:
    code = ENDING.replace("import os,", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nimport os,")
    code = code.replace("time.sleep(10)", "return 0")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "SIG_IGN\ncleaned up\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_that_is_not_there_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"not a video")
    done = shell("mien extract clip.mp4 --out s --weights tiny --set compute.device=cuda -q", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert re.search(r"compute\.device: cuda was requested, but .*use auto or cpu", done.stderr)
    assert not (tmp_path / "s").exists()
