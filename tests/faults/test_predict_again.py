"""``predict`` that is broken off keeps what it has scored: the same command scores the rest, and says so."""

import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from mien.data.manifest import read_manifest
from mien.inference.partial import PartialScores
from mien.inference.predict import Model, load
from mien.schema import Clip
from tests.faults.conftest import Count, Undisturbed
from tests.faults.jobs import CLIPS, command, run_command, sound_clip, started, undated


def broken_off(arguments: list[Any], partial: Path, said: Path, number: int, clips: int = 3) -> tuple[int, str]:
    """Run a command until so many clips are kept, and break it off; its status and what it said."""
    process = started(run_command, arguments, said)
    while not partial.exists() or partial.read_text().count("\n") < 2 * clips:
        assert process.is_alive(), "it was through before it could be broken off"
        time.sleep(0.001)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join()
    return process.exitcode or 0, said.with_suffix(".err").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_same_command_scores_the_rest_and_comes_to_the_same(
    number: signal.Signals, whole: Undisturbed, tmp_path: Path, count: Count
) -> None:
    out, partial = tmp_path / "out" / "scores.json", tmp_path / "out" / ".scores.json.partial"
    line = ["predict", whole.run, whole.data, "--why", "--quiet", "--out"]
    code, _, _ = command(*line, tmp_path / "whole.json", said=tmp_path / "said")
    assert code == 0

    code, complaint = broken_off([*line, out], partial, tmp_path / "broken", number)
    assert not out.exists()
    if number != signal.SIGKILL:
        assert code == 128 + number
        assert re.fullmatch(
            rf"mien: interrupted; \d+ of {CLIPS} clips are scored and stored, the same command continues from "
            r"there\n", complaint
        )  # fmt: skip
    with partial.open("a") as file:
        file.write('{"key": "half a li')  # as a kill in the middle of writing leaves it

    code, _, complaint = command(*line, out, said=tmp_path / "again")
    taken = re.search(rf"note: (\d+) of {CLIPS} clips reused from the interrupted run", complaint)
    assert code == 0
    assert taken and int(taken[1]) >= 3
    assert not partial.exists()
    count(wrong=int(undated(out) != undated(tmp_path / "whole.json")))


def test_without_out_an_interruption_says_that_nothing_was_kept(whole: Undisturbed, tmp_path: Path) -> None:
    process = started(run_command, ["predict", whole.run, whole.data, "--quiet", "--workers", "1"], tmp_path / "said")
    assert process.pid is not None
    children: list[psutil.Process] = []
    while not any(child.num_threads() > 1 for child in children):  # its worker has begun
        assert process.is_alive(), "it was through before it could be broken off"
        children = [
            child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())
        ]
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    said = (tmp_path / "said.err").read_text()
    assert said.startswith("mien: interrupted") and said.count("\n") == 1
    assert "continues where it stopped" not in said or "with --out FILE" in said


def test_a_replaced_clip_another_model_and_other_wishes_are_scored_anew(whole: Undisturbed, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(whole.data.parent, folder)
    clips, model = read_manifest(folder / whole.data.name).clips[:2], load(whole.run)

    def taken(scorer: Model = model, **wishes: Any) -> int:
        kept = PartialScores(tmp_path / "scores.json")
        assert len(list(scorer.score(clips, kept=kept, **wishes))) == 2
        return kept.reused

    assert taken() == 0
    assert taken() == 2
    assert taken(why=True) == 0
    sound_clip(clips[0].path, 0.9, 3.0)
    assert taken() == 1
    assert taken() == 2
    assert taken(load(whole.run / "stage1" / "text")) == 0


def test_a_clip_that_failed_is_tried_again(whole: Undisturbed, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no film")
    clip, model = Clip("bad", tmp_path / "bad.mp4"), load(whole.run)
    for _ in range(2):
        kept = PartialScores(tmp_path / "scores.json")
        (made,) = model.score([clip], kept=kept)
        assert made.error
        assert (kept.reused, kept.stored) == (0, 0)
