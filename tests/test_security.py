"""No pickle, no code from data, no connection: checked in the source and at run time."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mien.media.decoder_start import NAME
from mien.weights import Weights
from tests.media.clips import make_clip, tone

SOURCE = Path(__file__).resolve().parents[1] / "src" / "mien"

FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load", "pd.read_pickle",
    "yaml.unsafe_load", "yaml.full_load", "subprocess.getoutput", "tempfile.mktemp",
}  # fmt: skip
NEEDS = {"np.load": ("allow_pickle", False), "numpy.load": ("allow_pickle", False), "np.save": ("allow_pickle", False)}
"""Calls that are safe only with this argument."""


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                yield f"{file.relative_to(SOURCE)}:{node.lineno}", ast.unparse(node.func), node


def argument(call: ast.Call, name: str) -> object:
    return next((ast.literal_eval(each.value) for each in call.keywords if each.arg == name), None)


def test_the_source_unpickles_nothing_and_executes_no_strings() -> None:
    called = list(calls())
    assert len(called) > 3000
    assert not [(where, name) for where, name, _ in called if name in FORBIDDEN_CALLS]
    assert not [(where, name) for where, name, call in called if argument_is_true(call, "shell")]
    assert not [
        (where, name)
        for where, name, call in called
        if name in NEEDS and argument(call, NEEDS[name][0]) is not NEEDS[name][1]
    ]


def argument_is_true(call: ast.Call, name: str) -> bool:
    return any(
        each.arg == name and not (isinstance(each.value, ast.Constant) and not each.value.value)
        for each in call.keywords
    )


def test_yaml_is_read_by_the_safe_loader_alone() -> None:
    assert not [
        name for _, name, _ in calls() if name.startswith("yaml.") and ("load" in name.lower() or "compose" in name)
    ]
    assert "class StrictLoader(yaml.SafeLoader)" in (SOURCE / "config" / "yaml_file.py").read_text()


def test_no_module_that_creates_code_from_data_is_imported() -> None:
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & FORBIDDEN_MODULES, file


HOMES = frozenset({"mien", "pebble", "multiprocessing", "pathlib", "numpy", "builtins", "collections", "copyreg"})
"""Modules whose names may appear in pickles between processes."""

WATCH = """
import json, os, sys
def watch(event, arguments):
    if event in EVENTS:
        line = json.dumps([sys.argv[-1], event, [str(each) for each in arguments]]) + "\\n"
        handle = os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, line.encode()); os.close(handle)
EVENTS = {"pickle.find_class", "socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo",
          "socket.gethostbyname", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen"}
sys.addaudithook(watch)
"""
"""Imported at start-up by every Python process of a run: writes audit events to one file."""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, small_weights: dict[str, Weights]) -> Path:
    """A model of random weights, and clips to score: a video, an audio file, and a misnamed pickle and playlist."""
    root = tmp_path_factory.mktemp("workspace")
    (root / "watch").mkdir()
    (root / "watch" / "sitecustomize.py").write_text(WATCH)
    (root / "text").mkdir()
    rows = ["id,path,split,Joy"]
    for number in range(12):
        make_clip(
            root / f"{number:02d}.mkv", codec=None, seconds=0.4, sound="pcm_s16le", sound_rate=16000, layout="mono",
            wave=lambda t, pitch=1 + number / 8: tone(pitch * t),
        )  # fmt: skip
        (root / "text" / f"{number:02d}.txt").write_text("so happy " * (number // 4 + 1))
        rows.append(f"{number:02d},{number:02d}.mkv,{'valid' if number % 4 == 0 else 'train'},{number / 12}")
    (root / "clips.csv").write_text("\n".join(rows))
    (root / "new").mkdir()
    make_clip(root / "new" / "film.mp4", seconds=1)
    (root / "new" / "pickled.mp4").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    (root / "new" / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")
    (root / "new" / "[red]\x1b[31m\udcff.mp4").write_bytes((root / "03.mkv").read_bytes())
    tiny = ["--set", "weights=tiny", "--set", "modalities=[text,audio]", "--set", "seeds=[0]", "--quiet"]
    mien(root, "extract", "clips.csv", "--out", "features", *tiny, "--workers", "0")
    quick = ["--set", "stage1.epochs=1", "--set", "stage2.epochs=1"]
    mien(root, "train", "clips.csv", "--features", "features", "--out", "run", *tiny, *quick)
    return root


@dataclass(frozen=True)
class Run:
    """Output of a command, and the audit events of its processes: who, what, arguments."""

    printed: str
    did: list[tuple[str, str, list[str]]]

    def events(self, start: str) -> list[list[str]]:
        return [arguments for _, event, arguments in self.did if event.startswith(start)]


def mien(workspace: Path, *words: str) -> Run:
    path = os.pathsep.join([str(workspace / "watch"), *(place for place in sys.path if place)])
    environment = os.environ | {"PYTHONPATH": path, "WATCH_LOG": str(workspace / "log"), "PYTHONUTF8": "1"}
    (workspace / "log").write_text("")
    run = [sys.executable, "-m", "mien.cli", *words]
    done = subprocess.run(run, cwd=workspace, env=environment, capture_output=True, timeout=280)
    assert done.returncode == (3 if "new" in words else 0), done.stderr.decode(errors="replace")  # 3: some clips failed
    return Run(done.stdout.decode(), [json.loads(line) for line in (workspace / "log").read_text().splitlines()])


@pytest.fixture(scope="module")
def predicted(workspace: Path) -> Run:
    return mien(workspace, "predict", "run", "new", "--out", "scores.json", "--quiet")


@pytest.fixture(scope="module")
def extracted(workspace: Path) -> Run:
    tiny = ["--weights", "tiny", "--modalities", "audio,motion", "--workers", "0"]
    return mien(workspace, "extract", "new", "--out", "store", "--quiet", *tiny)


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("command", ["predicted", "extracted"])
def test_scoring_unpickles_nothing_and_opens_no_connection(
    command: str, workspace: Path, request: pytest.FixtureRequest
) -> None:
    """In all processes, including the decoder. A pickle of plain values is not seen, but is harmless."""
    run: Run = request.getfixturevalue(command)
    assert any(NAME in started[1] for started in run.events("subprocess.Popen"))
    assert run.events("pickle.find_class") == []
    assert run.events("socket.") == []
    assert run.events("os.system") == []
    assert not list(workspace.rglob("pwned"))


@pytest.mark.weights
@pytest.mark.slow
def test_workers_unpickle_only_messages_of_mien(workspace: Path) -> None:
    """Workers exchange pickles over their own pipes, with classes of mien and the standard library only.

    The output of the decoder process is never unpickled.
    """
    run = mien(workspace, "predict", "run", "new", "--workers", "2", "--quiet")
    words = {(module, name) for module, name in run.events("pickle.find_class")}
    assert words
    assert {module.partition(".")[0] for module, _ in words} <= HOMES, words
    assert not {"eval", "exec", "system", "__import__"} & {name for _, name in words}
    assert {who for who, event, _ in run.did if event == "pickle.find_class"}.isdisjoint({NAME})
    assert run.events("socket.getaddrinfo") == []


@pytest.mark.weights
@pytest.mark.slow
def test_a_name_cannot_control_a_terminal_or_break_a_table(workspace: Path, predicted: Run) -> None:
    name = r"[red]\x1b[31m\udcff"
    assert "\x1b" not in predicted.printed
    assert name in predicted.printed
    clips = {clip["clip"]: clip for clip in json.loads((workspace / "scores.json").read_text())["clips"]}
    assert clips[name]["error"] is None


def test_the_audit_would_detect_both(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    code = "import pickle, socket; pickle.loads(b'cos\\ngetcwd\\n.'); socket.getaddrinfo('localhost', 9)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "WATCH_LOG": str(tmp_path / "log")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    seen = (tmp_path / "log").read_text()
    assert '["posix", "getcwd"]' in seen or '["os", "getcwd"]' in seen
    assert "socket.getaddrinfo" in seen
