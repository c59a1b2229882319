"""The demo announces its duration, runs commands that exist, and ends with the next three."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer

from mien.cli import app

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Lines of ``recipes/demo.sh`` with a command that only prints its arguments."""
    folder = tmp_path_factory.mktemp("demo")
    fake = folder / "mien"
    fake.write_text('#!/bin/sh\nprintf "ran"; for word in "$@"; do printf " \'%s\'" "$word"; done; echo\n')
    fake.chmod(0o755)
    words = ["sh", str(ROOT / "recipes" / "demo.sh"), "my demo", "160", "my clip.mp4"]
    path = {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(words, capture_output=True, text=True, check=True, env=path, cwd=folder).stdout.splitlines()


def parses(words: list[str]) -> None:
    command = typer.main.get_command(app)
    while isinstance(command, typer.core.TyperGroup):
        command, words = command.commands[words[0]], words[1:]
    try:
        command.make_context("mien", words)
    except typer.BadParameter as error:  # a file that does not exist yet
        assert error.message.endswith("does not exist.")


def test_the_demo_first_says_how_long_it_takes(printed: list[str]) -> None:
    assert re.match(r"160 clips: about \d+ minutes on two cores", printed[0])


def test_every_step_of_the_demo_is_a_command_that_exists(printed: list[str]) -> None:
    steps = [shlex.split(line)[1:] for line in printed if line.startswith("ran ")]
    assert [step[0] for step in steps] == [
        "weights",
        "synth",
        "extract",
        "synth",
        "train",
        "evaluate",
        "predict",
        "predict",
        "predict",
    ]
    for step in steps:
        parses(step)


def test_the_demo_scores_one_clip_with_both_models_and_says_which_is_which(printed: list[str]) -> None:
    both = [n for n, line in enumerate(printed) if line.startswith("ran 'predict'")][1:]
    assert [shlex.split(printed[n])[2:] for n in both] == [["words-en", "my clip.mp4"], ["my demo/run", "my clip.mp4"]]
    assert "ratings of written English" in printed[both[0] - 1] and "drawn people" in printed[both[1] - 1]


def test_the_demo_ends_with_the_next_three_commands(printed: list[str]) -> None:
    commands = [shlex.split(line, comments=True)[1:] for line in printed[-3:]]
    assert [command[0] for command in commands] == ["report", "predict", "extract"]
    for command in commands:
        parses(command)
    scored = next(shlex.split(line) for line in printed if line.startswith("ran 'predict'"))
    assert commands[0][1] == scored[scored.index("--out") + 1]  # the report is of the file that the demo wrote
