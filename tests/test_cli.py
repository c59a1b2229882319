"""The command line: fast start, one-line errors."""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

MIEN = [sys.executable, "-m", "mien.cli"]
COMMANDS = [
    "extract",
    "train",
    "study",
    "tune",
    "summarize",
    "report",
    "predict",
    "evaluate",
    "compare",
    "submit",
    "import-features",
    "import-elan",
    "export",
    "schema",
    "synth",
    "doctor",
    "settings",
    "licences",
    "weights",
]


def mien(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    command = [*MIEN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=120)


def test_help_is_fast() -> None:
    """In CPU seconds, which do not depend on other load."""
    mien("--help")
    spent = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert mien("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.4


def test_every_command_is_listed_and_has_help_with_an_example() -> None:
    listed = mien("--help").stdout
    for command in COMMANDS:
        assert command in listed
        shown = mien(command, "--help")
        assert shown.returncode == 0
        assert re.search(r"Example: mien ", shown.stdout), f"mien {command} --help has no example"


@pytest.mark.parametrize("command", ["predict", "evaluate", "compare", "serve", "work", "live", "licences"])
def test_the_help_names_the_model_that_needs_no_training(command: str) -> None:
    shown = " ".join(re.sub("[│|]", " ", mien(command, "--help").stdout).split())
    assert "A model folder, a run folder with one, or words-en, which ships with mien." in shown


def test_the_help_of_doctor_names_no_option_that_it_lacks() -> None:
    shown = mien("doctor", "--help").stdout
    assert "--cluster" in shown and "--workers" not in shown


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["extract"], ["extract", "x"], ["settings", "--set", "media.vison_fps=2"],
     ["settings", "--set", "weights=big"], ["predict", "m", "c", "--out", "scores.xls"]],
)  # fmt: skip
def test_incorrect_usage_exits_with_2(arguments: list[str], tmp_path: Path) -> None:
    done = mien(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract", "nowhere", "--out", "s"], "nowhere: no such file or folder"),
        (["predict", "no-model", "clip.mp4"], "no-model"),
        (["settings", "--config", "none.yaml"], "none.yaml: cannot be read"),
    ],
)
def test_a_data_error_is_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = mien(*arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("mien: ")


def test_printed_settings_can_be_read_back(tmp_path: Path) -> None:
    first = mien("settings", "--set", "stage2.lr=1e-4", "--out", tmp_path / "a.yaml")
    assert first.returncode == 0
    again = mien("settings", "--config", tmp_path / "a.yaml")
    assert again.stdout == (tmp_path / "a.yaml").read_text()
    assert "lr: 0.0001" in again.stdout


def test_the_schema_is_json() -> None:
    import json

    assert json.loads(mien("settings", "--schema").stdout)["title"] == "Settings"
