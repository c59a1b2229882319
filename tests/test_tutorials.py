"""The commands and the Python code of the tutorials run, in order, on a small corpus."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mien.config import read_settings
from tests.tutorials import PAGES, blocks_of, run_block, run_python

ROOT = Path(__file__).resolve().parents[1]
SEQUENCE = ("challenge", "own-data", "report", "air-gapped")
"""Tutorials that share one folder, in this order."""

README = ROOT / "README.md"
CALLS = [page for page in (README, *sorted(ROOT.glob("docs/how-to/*.md")), *sorted(ROOT.glob("docs/*.md")))
         if any(block.language == "python" for block in blocks_of(page))]  # fmt: skip
"""Pages whose Python needs a corpus or a model; test_docs.py runs that of docs/explanation/, which needs neither."""
QUIET = (
    "import sys; sys.addaudithook(lambda e, a: e in ('socket.connect', 'socket.getaddrinfo') and sys.exit(f'{e} {a}'))"
)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, small_weights: object) -> Path:
    """The folder of the tutorials, after the first one."""
    folder = tmp_path_factory.mktemp("story")
    with contextlib.chdir(folder):
        for block in blocks_of(PAGES / "challenge.md"):
            if not block.why:
                run_block(block)
    return folder


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("page", SEQUENCE)
def test_a_tutorial_runs_from_top_to_bottom(page: str, story: Path) -> None:
    if page != "challenge":
        with contextlib.chdir(story):
            for block in blocks_of(PAGES / f"{page}.md"):
                if not block.why:
                    run_block(block)
    assert (story / {"challenge": "predictions.csv", "own-data": "runs/own/model/README.md", "report": "report.html",
                     "air-gapped": "offline.csv"}[page]).is_file()  # fmt: skip


@pytest.mark.weights
@pytest.mark.soak
def test_twenty_rated_clips_start_from_words_en(small_weights: object, tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path):
        for block in blocks_of(PAGES / "twenty-clips.md"):
            run_block(block)
    table = (tmp_path / "cv" / "predictions.csv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 1 + 20


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package and the contract tests, in which the tutorial has added its modality and tested it.

    This is the part of the page that needs no corpus.
    """
    folder = tmp_path_factory.mktemp("clone")
    for part in ("src", "examples", "tests/modalities"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in ("__init__", "conftest", "object_storage", "tutorials"):
        shutil.copy(ROOT / "tests" / f"{name}.py", folder / "tests")
    shutil.copytree(PAGES, folder / "docs" / "tutorials")
    run_tutorial(folder, "own-encoder", "--without-mien")
    return folder


def run_tutorial(folder: Path, *words: str) -> str:
    """Run a tutorial in a clone, in a separate process; returns its output."""
    environment = os.environ | {"PYTHONPATH": f"{folder / 'src'}{os.pathsep}{folder}"}
    run = [sys.executable, "-m", "tests.tutorials", *words]
    done = subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_modality_of_the_tutorial_is_registered_and_passes_the_contract_tests(clone: Path) -> None:
    code = "from mien.modalities import MODALITIES as table; print(*table, table['prosody'].prepare.__module__)"
    environment = os.environ | {"PYTHONPATH": str(clone / "src")}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["text", "audio", "vision", "motion", "prosody", "mien.modalities.prosody"]


@pytest.mark.weights
@pytest.mark.soak
def test_a_custom_modality_is_one_file_and_one_table_entry(story: Path, clone: Path) -> None:
    shutil.copytree(story / "stand-in", clone / "stand-in")
    shutil.copy(story / "quick.yaml", clone)
    run_tutorial(clone, "own-encoder", "--only-mien")
    assert (clone / "runs" / "voice" / "stage1" / "prosody" / "model" / "model.safetensors").is_file()
    refused = mien("predict", clone / "runs" / "voice", story / "stand-in" / "raw" / "00000.mp4", cwd=story)
    assert refused.returncode == 2 and "no modality 'prosody'; known are text, audio" in refused.stderr


@pytest.mark.weights
@pytest.mark.slow
def test_scoring_opens_no_connection(story: Path) -> None:
    """By Python's audit of sockets and, where permitted, in an isolated network namespace."""
    alone = ["unshare", "--net"]
    prefix = alone if subprocess.run([*alone, "true"], capture_output=True).returncode == 0 else []
    words = ["mien", "predict", "runs/first", "stand-in/raw/00001.mp4"]
    code = f"{QUIET}; from mien.cli import main; sys.argv = {words}; main()"
    done = subprocess.run([*prefix, sys.executable, "-c", code], cwd=story, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "00001" in done.stdout


def test_the_audit_would_detect_a_connection() -> None:
    code = f"{QUIET}; import socket; socket.create_connection(('127.0.0.1', 9))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "socket." in done.stderr


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("page", CALLS, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page: Path, story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with a trained run, a store, tables, a clip and a folder of clips, named as in the docs."""
    (tmp_path / "stand-in").symlink_to(story / "stand-in")
    shutil.copytree(story / "features", tmp_path / "features")
    shutil.copytree(story / "runs" / "first", tmp_path / "runs" / ("before" if page == README else "first"))
    videos = sorted((story / "stand-in" / "raw").glob("*.mp4"))
    shutil.copy(videos[0], tmp_path / "clip.mp4")
    (tmp_path / "folder").mkdir()
    shutil.copy(videos[1], tmp_path / "folder")
    rows = [f"{video.stem},stand-in/raw/{video.name},{'valid' if n % 3 else 'train'}" for n, video in enumerate(videos)]
    for table, top in (("clips.csv", 1), ("ratings.csv", 100)):
        cells = [f"{row},{n % 4 / 4 * top:g},{n % 3 / 3 * top:g}" for n, row in enumerate(rows)]
        (tmp_path / table).write_text("\n".join(["id,path,split,Warmth,Tension", *cells]) + "\n")
    quick = read_settings(story / "quick.yaml")
    monkeypatch.setattr("mien.api.as_settings", lambda settings: quick if settings is None else settings)
    with contextlib.chdir(tmp_path):
        run_python(page)


def mien(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "mien.cli", *map(str, words)], cwd=cwd, capture_output=True, text=True)
