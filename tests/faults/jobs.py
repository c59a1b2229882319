"""The four jobs that may be broken off at any moment, and processes that are cheap to break.

A fork server imports everything once; each trial is a real process of its own, forked in milliseconds and killed by a
signal that it cannot catch. Every job writes down what it has finished, so that what is done twice can be counted.
"""

import csv
import multiprocessing
import os
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mien.cli
import mien.cli.results
import mien.inference.predict
import mien.training.stage1
import mien.training.stage2
from mien.config import Settings, read_settings
from mien.data.manifest import read_manifest
from mien.features.extract import extract
from mien.features.store import Store
from mien.schema import EMOTIONS
from mien.storage.exclusive import exclusive_writer
from mien.study import run_study
from mien.study.plan import Plan, read_study
from mien.training import train
from tests.media.clips import make_clip, tone

EXTRACTION = ("weights=tiny", "modalities=[text, audio]", "compute.precision=float32")
TRAINING = (
    *EXTRACTION, "seeds=[0,1]", "stage1.embedding=16", "stage2.hidden=16", "stage1.epochs=8", "stage2.epochs=8",
)  # fmt: skip
STUDY = """
question: Does it matter?
settings: {stage1.embedding: 8, stage1.motion_embedding: 8, stage1.epochs: 4, stage1.motion_epochs: 4,
           stage2.hidden: 8, stage2.epochs: 3, modalities: [text, audio]}
seeds: 2
axes:
  regime:
    adapted: {stage2.adaptation: encoder}
    joint: {stage2.adaptation: joint}
    ridge: {method: ridge}
    mean: {method: unimodal_mean}
  modalities: [[text, audio], [text]]
"""
CLIPS = 12

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(["tests.faults.jobs"])


def make_corpus(root: Path, clips: int = CLIPS) -> Path:
    """Sound clips with given words, rated, split in two: a challenge-like table of its own."""
    root.mkdir(parents=True)
    chance = np.random.default_rng(3)
    with (root / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "split", "participant", "transcript", *EMOTIONS])
        for number in range(clips):
            sound_clip(root / f"{number:02d}.mkv", 0.3 + 0.05 * (number % 5), 1 + number / 7)
            side = "train" if number < clips * 2 // 3 else "valid"
            words = f"so very number {number * number}"
            writer.writerow([f"{number:02d}.mkv", side, f"p{number}", words, *chance.uniform(0, 1, 6).round(3)])
    return root / "clips.csv"


def sound_clip(path: Path, seconds: float, pitch: float) -> Path:
    """A clip of nothing but a tone."""
    return make_clip(
        path, codec=None, seconds=seconds, sound="pcm_s16le", sound_rate=16000, layout="mono",
        wave=lambda t: tone(pitch * t),
    )  # fmt: skip


def plan_of(folder: Path) -> Plan:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(STUDY)
    return read_study(folder / "study.yaml")


def started(job: Any, *arguments: Any) -> BaseProcess:
    """A process at work."""
    process = server.Process(target=_alone, args=(job, *arguments))
    process.start()
    return process


def _alone(job: Any, *arguments: Any) -> None:
    torch.set_num_threads(1)
    job(*arguments)


def note(journal: Path, what: str) -> None:
    """One line, whole or not at all."""
    handle = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{what}\n".encode())
    os.close(handle)


def finished(journal: Path) -> Counter[str]:
    """What has been finished, and how often."""
    return Counter(journal.read_text().splitlines()) if journal.exists() else Counter()


def do_extract(data: Path, out: Path, journal: Path, workers: int = 0) -> None:
    """Make the features of all clips."""
    for outcome in extract(read_manifest(data), out, settings(), workers=workers):
        if outcome.made.features:
            note(journal, outcome.clip.id)


def do_train(data: Path, features: Path, out: Path, journal: Path) -> None:
    """Train a model, with a checkpoint after every epoch."""
    for stage in (mien.training.stage1, mien.training.stage2):
        stage.TrainingJob = partial(stage.TrainingJob, checkpoint_seconds=0.0)  # type: ignore[misc]

    def watch(name: str, epoch: Any) -> None:
        note(journal, f"{name} {epoch.number}")

    train(read_manifest(data), Store(features), read_settings(overrides=TRAINING), out, on_epoch=watch)


def do_study(data: Path, features: Path, out: Path, journal: Path, workers: int = 0) -> None:
    """Train and compare the cells of a study."""

    def watch(done: Any, _: int) -> Any:
        for work, reasons in done:
            note(journal, repr([cell.name for cell in work.cells] if hasattr(work, "cells") else work.modality))
            yield work, reasons

    run_study(plan_of(out.parent / "plan"), read_manifest(data), features, out, workers, watch)


def do_predict(data: Path, run: Path, out: Path, journal: Path) -> None:
    """Score all clips into a table, by the command."""
    run_command(["predict", run, data, "--out", out, "--quiet"], out.with_suffix(".said"))
    note(journal, "predicted")


def undated(scores: Path) -> bytes:
    """The bytes of a file of scores but for the moment at which they were made."""
    return re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", b"", scores.read_bytes())


def hold(folder: Path, ready: Path) -> None:
    """Own a folder until killed."""
    with exclusive_writer(folder):
        ready.touch()
        server.Event().wait()


def run_command(arguments: Sequence[Any], said: Path, largest_file: int | None = None, years_ago: float = 0.0) -> None:
    """The command line, as ``mien`` runs it; what it prints goes to files ``said`` (.out, .err).

    ``largest_file`` limits what it may write, in bytes; ``years_ago`` sets its clock back.
    """
    for stream, ending in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(said.with_suffix(ending), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if years_ago:
        true_time = time.time
        time.time = lambda: true_time() - years_ago * 365 * 86400
    sys.argv = ["mien", *map(str, arguments)]
    mien.cli.main()


def command(
    *arguments: Any, said: Path, largest_file: int | None = None, years_ago: float = 0.0
) -> tuple[int, str, str]:
    """Run the command line in a process of its own; its status, and what it printed on either stream."""
    process = started(run_command, arguments, said, largest_file, years_ago)
    process.join()
    return process.exitcode or 0, said.with_suffix(".out").read_text(), said.with_suffix(".err").read_text()


def settings() -> Settings:
    return read_settings(overrides=EXTRACTION)


def leftovers(*folders: Path) -> list[Path]:
    """Half-written things."""
    return [path for folder in folders for path in folder.rglob(".*.mien")]
