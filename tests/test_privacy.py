"""No network access and no stray files, traced at the level of system calls, including native libraries.

Every command runs under strace in an empty network namespace. Counted over all its processes and threads: sockets,
connection attempts, addresses sent to, programs started, and files written outside the stated folders.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from mien.media.decoder_start import NAME
from mien.storage.files import cache_folder
from mien.weights import Weights
from tests.media.clips import SHARED, make_clip, tone

CALLS = "trace=network,execve,openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,symlink,symlinkat,link,linkat"
SPACES = ["unshare", "--map-root-user", "--net"]

pytestmark = [
    pytest.mark.weights,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
    pytest.mark.skipif(
        shutil.which("unshare") is None or subprocess.run([*SPACES, "true"], capture_output=True).returncode != 0,
        reason="no network namespace can be made here",
    ),
]

NETWORK = re.compile(r"\b(socket\((?!AF_NETLINK).*= \d|connect\(|sendto\(.*sa_family|sendmsg\(.*sa_family)")
# Also calls whose result strace wrote on a line of its own, "<unfinished ...>", as another process did something.
STARTED = re.compile(r'\bexecve\("([^"]+)"(?!.* = -1)')
WRITTEN = re.compile(r'\b(?:open|openat|creat)\((?:[^"]*, )?"([^"]+)", [^)]*(?:O_WRONLY|O_RDWR|O_CREAT)(?!.* = -1)')
MADE = re.compile(r'\b(?:mkdir|rename|symlink|link)[a-z0-9]*\(.*"([^"]+)"(?!.*")(?!.* = -1)')


@dataclass(frozen=True)
class Seen:
    """System calls of a command and its child processes."""

    network: list[str]
    started: set[str]
    written: set[Path]
    home: list[Path]
    decoders: list[int]
    torch: int
    """The lines on which decoders are started, and the first of a library of torch's."""


class Workspace:
    """A folder with clips, a model, and a home that should stay empty; runs traced commands in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home, self.temporary = root / "home", root / "tmp"
        self.home.mkdir()
        self.temporary.mkdir()

    def run(self, *words: str, sandbox: str = "on", program: tuple[str, ...] = ("-m", "mien.cli")) -> Seen:
        log = self.root / "strace.log"
        path = os.pathsep.join(place for place in sys.path if place)
        environment: Mapping[str, str] = {
            "PATH": os.environ["PATH"], "HOME": str(self.home), "TMPDIR": str(self.temporary), "PYTHONPATH": path,
            "MIEN_CACHE": str(cache_folder()), "MIEN_SANDBOX": sandbox, "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        strace = ["strace", "-f", "-qq", "--seccomp-bpf", "-s", "200", "-e", CALLS, "-e", "signal=none", "-o", str(log)]
        command = [*SPACES, *strace, sys.executable, *program, *words]
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, timeout=280)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return self._seen(log.read_text(errors="replace").splitlines())

    def _seen(self, lines: list[str]) -> Seen:
        written = {self.root / found[1] for line in lines for kind in (WRITTEN, MADE) if (found := kind.search(line))}
        ours = (self.root, cache_folder(), Path("/dev"), Path("/proc"))
        return Seen(
            network=[line for line in lines if NETWORK.search(line)],
            started={found[1] for line in lines if (found := STARTED.search(line))} - {sys.executable},
            written={path for path in written if not any(path.is_relative_to(place) for place in ours)},
            home=list(self.home.rglob("*")),
            decoders=[place for place, line in enumerate(lines) if STARTED.search(line) and NAME in line],
            torch=next((place for place, line in enumerate(lines) if "libtorch_cpu.so" in line), -1),
        )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, small_weights: dict[str, Weights]) -> Workspace:
    """Clips with video and audio, one with speech if available, and a small model."""
    root = tmp_path_factory.mktemp("private")
    rows = ["id,path,split,Joy"]
    for number in range(8):
        make_clip(root / f"{number}.mp4", seconds=1, wave=lambda t, pitch=1 + number / 8: tone(pitch * t))
        rows.append(f"{number},{number}.mp4,{'valid' if number % 4 == 0 else 'train'},{number / 8}")
    (root / "clips.csv").write_text("\n".join(rows))
    (root / "new" / "text").mkdir(parents=True)
    (root / "spoken").mkdir()
    for folder in (root / "new", root / "spoken"):
        make_clip(folder / "tone.mp4", seconds=1)
        shutil.copy(SHARED / "speech_mpeg4.mp4" if SHARED.is_dir() else folder / "tone.mp4", folder / "said.mp4")
    (root / "new" / "text" / "said.txt").write_text("random weights recognise nothing")
    made = Workspace(root)
    made.run("extract", "clips.csv", "--out", "features", "--quiet", "--workers", "0", "--weights", "tiny")
    quick = ["--set", "weights=tiny", "--set", "seeds=[0]", "--set", "stage1.epochs=1", "--set", "stage2.epochs=1"]
    made.run("train", "clips.csv", "--features", "features", "--out", "run", "--quiet", *quick)
    return made


PREDICT = ("predict", "run", "new", "--out", "scores.json", "--quiet")

COMMANDS = {
    "predict": PREDICT,
    "predict, workers": (*PREDICT, "--workers", "2", "--why", "--windows", "1"),
    "extract, a worker": ("extract", "spoken", "--out", "small", "--quiet", "--workers", "1", "--weights", "small"),
    "extract, 8 bits": ("extract", "new", "--out", "int8", "--quiet", "--workers", "0", "--weights", "tiny",
                        "--set", "compute.precision=int8"),
    "train": ("train", "clips.csv", "--features", "features", "--out", "another", "--quiet", "--set", "weights=tiny",
              "--set", "seeds=[0]", "--set", "stage1.epochs=1", "--set", "stage2.epochs=1"),
    "report": ("report", "run", "--out", "report.html"),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_opens_no_connection_and_writes_only_to_the_stated_folders(name: str, workspace: Workspace) -> None:
    seen = workspace.run(*COMMANDS[name])
    assert seen.network == []
    assert seen.started <= {shutil.which("fc-list")}  # matplotlib calls it once for fonts, and caches the result
    assert seen.written == set()
    assert seen.home == []
    if name == "predict":  # the decoder that is started ahead is the one that is used
        (started,) = seen.decoders
        assert started < seen.torch


LIBRARY = """
import mien, socket, sys
mien.extract("new", "library", mien.read_settings(overrides=["weights=tiny"]), progress=False)
table = mien.load("run").predict("new", workers=int(sys.argv[1]))
assert all(error == "" for error in table["error"].to_pylist()), table["error"]
if sys.argv[1] == "2":
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()  # the program itself has kept its network
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_program_using_the_library_keeps_its_network_unused_by_mien(workspace: Workspace, workers: str) -> None:
    seen = workspace.run(workers, program=("-c", LIBRARY))
    sockets = [line for line in seen.network if "socket(AF_INET" in line]
    assert len(sockets) == len(seen.network) == (1 if workers == "2" else 0)
    assert seen.started == set()
    assert seen.written == set()
    assert seen.home == []


FACES = """
import sys
from pathlib import Path
from mien.media.face_detection import FaceFinder
from tests.media.test_face_tracks import drawn_face
assert FaceFinder(*map(Path, sys.argv[1:])).find(drawn_face())
"""


def test_finding_faces_opens_no_connection_even_without_the_sandbox(workspace: Workspace, small_weights) -> None:
    files = [str(small_weights[role].path) for role in ("landmarker", "full_range")]
    seen = workspace.run(*files, sandbox="off", program=("-c", FACES))
    assert seen.network == []
    assert seen.started == set()
    assert seen.written == set()
    assert seen.home == []


def test_the_patterns_recognise_telemetry(workspace: Workspace) -> None:
    code = (
        "import socket, os, subprocess; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setblocking(False); "
        "open('/tmp/mien-privacy-probe', 'w').close(); os.remove('/tmp/mien-privacy-probe'); subprocess.run(['true']); "
        "s.sendto(b'query', ('127.0.0.1', 53))"
    )
    log = workspace.root / "probe.log"
    run = [*SPACES, "strace", "-f", "-qq", "--seccomp-bpf", "-e", CALLS, "-o", str(log), sys.executable, "-c", code]
    subprocess.run(run, check=False, capture_output=True)  # nothing can be sent in an empty namespace
    seen = workspace._seen(log.read_text().splitlines())
    assert len(seen.network) == 2  # the socket and the transmission
    assert seen.started
    assert seen.written == {Path("/tmp/mien-privacy-probe")}
