"""Folders that somebody else made: no command hangs on what lies in them, follows a link out of them, or takes more
than its share; whatever is wrong is one line, and what is not ours stays.

A FIFO, a socket, a folder, a device, a terabyte of nothing, half a file in the place of every file that a command
reads; a link to somebody's photos in the place of everything that it writes or deletes.
"""

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mien.storage.checksums import SUMS
from tests.faults.conftest import Count, Undisturbed
from tests.faults.jobs import EXTRACTION, TRAINING, plan_of, run_command, started

SECONDS = 60
"""After which a command counts as hung."""


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path has to be short
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 10**12)


KINDS: dict[str, Callable[[Path], Any]] = {
    "fifo": os.mkfifo,
    "socket": _socket,
    "folder": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "sparse": _sparse,
    "dangling": lambda path: path.symlink_to("nowhere"),
    "empty": Path.touch,
    "zeros": lambda path: path.write_bytes(bytes(1000)),
    "deep": lambda path: path.write_text("[" * 10_000 + "]" * 10_000),
    "list": lambda path: path.write_text("[1e999, NaN, null]"),
}

MODEL = ("config.json", "model.safetensors", "provenance.json", SUMS)
STORE = ("store.json", *(f"shards/00000-0/{name}" for name in ("index.parquet", SUMS, "audio.npy", "text_layers.npy")))
READ = {
    "evaluate": [*(f"run/model/{name}" for name in (*MODEL, "licences.json")), *(f"store/{name}" for name in STORE),
                 "data/clips.csv"],
    "licences": ["run/model/config.json"],
    "predict": ["run/model/model.safetensors"],
    "report": [*(f"run/{name}" for name in ("run.json", "environment.json", "split.json", "results.json",
                                            "stage1/text/epochs.jsonl", "stage2/epochs.jsonl", "predictions.parquet",
                                            "model/config.json", "model/provenance.json"))],
    "report study": ["study/study.json"],
    "train": ["run/run.json", "run/stage1/text/model/config.json", "run/stage1/text/model/model.safetensors",
              "store/extraction.json", "store/store.json", "store/shards/00000-0/index.parquet", "settings.yaml"],
    "extract": ["store/store.json", "data/clips.csv", "settings.yaml"],
}  # fmt: skip
CASES = [(command, name) for command, names in READ.items() for name in names]


@pytest.fixture
def home(whole: Undisturbed, tmp_path: Path) -> Path:
    """Everything that was made, to be spoilt; and somebody's photos."""
    for name, made in (("data", whole.data.parent), ("store", whole.store), ("run", whole.run), ("study", whole.study)):
        shutil.copytree(made, tmp_path / name)
    (tmp_path / "settings.yaml").write_text("weights: tiny\n")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "beach.jpg").write_bytes(b"a photo")
    (tmp_path / "letter.txt").write_text("Dear Anna")
    return tmp_path


def ended(home: Path, name: str) -> tuple[int, str]:
    """How a command ends on what lies in ``home``: its status, and what it said on stderr."""
    sets = [part for one in EXTRACTION for part in ("--set", one)]
    data, store, run, study = home / "data" / "clips.csv", home / "store", home / "run", home / "study"
    plan_of(home / "plan")
    commands: dict[str, list[Any]] = {
        "evaluate": ["evaluate", run, data, "-f", store, "--resamples", 100, "--no-subsets"],
        "licences": ["licences", run],
        "predict": ["predict", run, home / "data" / "00.mkv", "--out", home / "out.csv", "--quiet"],
        "report": ["report", run, "--out", home / "out.html"],
        "report study": ["report", study, "--out", home / "out.html"],
        "train": ["train", data, "-f", store, "--out", run, "--config", home / "settings.yaml",
                  *(part for one in TRAINING for part in ("--set", one))],
        "extract": ["extract", data, "--out", store, "--config", home / "settings.yaml", *sets],
        "study": ["study", home / "plan" / "study.yaml", data, "-f", store, "--out", study],
    }  # fmt: skip
    process = started(run_command, commands[name], home / "said")
    process.join(SECONDS)
    hung = process.exitcode is None
    if hung:
        process.kill()
        process.join()
    assert not hung, f"{name} hung"
    said = (home / "said.err").read_text()
    assert "Traceback" not in said + (home / "said.out").read_text(), said
    return process.exitcode or 0, said


def refused(home: Path, command: str, count: Count) -> str:
    """See that a command refuses what lies in ``home``, in one line."""
    status, said = ended(home, command)
    assert status in (1, 2), f"{command} took it: {said}"
    line = said.splitlines()[-1]
    assert line.startswith("mien: ")
    assert "--help" not in line, f"{command} was not even called as it should be"
    assert len(line) < 1100
    count()
    return line


def put(place: Path, kind: str) -> None:
    place.unlink()
    KINDS[kind](place)


def test_all_of_it_works_undisturbed(home: Path) -> None:
    for command in READ:
        assert ended(home, command)[0] == 0, command


@pytest.mark.parametrize(("command", "name"), CASES)
def test_a_fifo_in_the_place_of_a_file_keeps_no_command_waiting(
    command: str, name: str, home: Path, count: Count
) -> None:
    put(home / name, "fifo")
    assert "not a regular file" in refused(home, command, count)


@pytest.mark.parametrize(
    ("command", "name", "kind"),
    [
        ("evaluate", "run/model/model.safetensors", "sparse"),
        ("evaluate", "run/model/SHA256SUMS", "sparse"),
        ("evaluate", "data/clips.csv", "sparse"),
        ("evaluate", "store/shards/00000-0/audio.npy", "zeros"),
        ("licences", "run/model/config.json", "deep"),
        ("report", "run/results.json", "list"),
        ("report", "run/stage2/epochs.jsonl", "socket"),
        ("report study", "study/study.json", "device"),
        ("train", "run/run.json", "dangling"),
        ("train", "settings.yaml", "sparse"),
        ("extract", "store/store.json", "folder"),
    ],
)
def test_what_is_no_such_file_is_refused_in_one_line(
    command: str, name: str, kind: str, home: Path, count: Count
) -> None:
    put(home / name, kind)
    refused(home, command, count)


AS_MISSING = {
    ("settings.yaml", "empty"),  # no settings are the defaults
    *(
        (f"run/{name}/epochs.jsonl", "dangling") for name in ("stage1/text", "stage2")
    ),  # curves are shown if there are any
    ("store/extraction.json", "dangling"),  # a store that was imported has none
}
"""What leads nowhere, in the place of a file that need not be there, is as if it were not there."""


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("command", "name"), CASES)
def test_every_kind_in_every_place_is_refused_in_one_line(
    command: str, name: str, kind: str, home: Path, count: Count
) -> None:
    put(home / name, kind)
    if (name, kind) in AS_MISSING:
        assert ended(home, command)[0] == 0
        count()
    else:
        refused(home, command, count)


LINKS = {
    "extract": [".lock", "store.json", "extraction.json", "shards", "pending", "shards/00000-0",
                "shards/00000-0/audio.npy"],
    "train": [".lock", "run.json", "results.json", "stage1", "stage1/text", "stage1/text/model", "model",
              "tensorboard"],
    "evaluate": ["evaluation", "evaluation/valid.json"],
    "study": [".lock", "cells", "encoders", "report.md", "cells/0"],
}  # fmt: skip
FOLDERS = {"extract": "store", "train": "run", "evaluate": "run", "study": "study"}


@pytest.mark.parametrize(("command", "place"), [(command, place) for command in LINKS for place in LINKS[command]])
def test_no_link_is_followed_for_writing_or_deleting(command: str, place: str, home: Path, count: Count) -> None:
    at = home / FOLDERS[command] / place
    if place == "cells/0":
        at = min(at.parent.iterdir())
    target = home / ("letter.txt" if at.suffix or place == ".lock" else "photos")
    if at.is_dir():
        shutil.rmtree(at)
    at.unlink(missing_ok=True)
    at.parent.mkdir(exist_ok=True)
    at.symlink_to(target)
    line = refused(home, command, count)
    assert f"{at}: " in line
    assert "link" in line
    assert at.is_symlink()
    assert (home / "letter.txt").read_text() == "Dear Anna"
    assert [path.read_bytes() for path in (home / "photos").iterdir()] == [b"a photo"]


def test_the_folder_that_was_named_may_be_a_link(home: Path) -> None:
    for name in ("store", "run"):
        (home / name).rename(home / f"{name}.moved")
        (home / name).symlink_to(f"{name}.moved")
    for command in ("extract", "train", "evaluate"):
        assert ended(home, command)[0] == 0


THEIRS = [
    ("shards/holiday/beach.jpg", False, True),
    ("shards/beach.jpg", False, True),
    ("pending/novel.safetensors", False, True),
    ("shards/00000-0/beach.npy", False, False),
    ("shards/00000-0/beach.npy", True, True),
    ("shards/00000-0/.x.part", True, True),
    (".film.mp4.part/half", False, False),
    (".backup.20240101.part", False, False),
]
"""Files of somebody else in a store; whether its shard is damaged, to be dropped; whether the store is refused."""


@pytest.mark.parametrize(("name", "damaged", "is_refused"), THEIRS)
def test_nothing_is_deleted_that_is_not_ours(
    name: str, damaged: bool, is_refused: bool, home: Path, count: Count
) -> None:
    theirs = home / "store" / name
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_bytes(b"theirs")
    if damaged:
        (home / "store" / "shards" / "00000-0" / "index.parquet").write_bytes(b"spoilt")
    status, said = ended(home, "extract")
    assert theirs.read_bytes() == b"theirs"
    assert status == int(is_refused), said
    count()


def test_a_lock_that_is_somebodys_file_is_not_emptied(home: Path, count: Count) -> None:
    lock = home / "store" / ".lock"
    lock.write_text("the key to the shed")
    assert "not a lock file of mien" in refused(home, "extract", count)
    assert lock.read_text() == "the key to the shed"
    lock.unlink()
    lock.hardlink_to(home / "letter.txt")
    refused(home, "extract", count)
    assert (home / "letter.txt").read_text() == "Dear Anna"


def test_a_damaged_cell_with_somebodys_notes_is_not_replaced(home: Path, count: Count) -> None:
    cell = min(path.parent for path in (home / "study" / "cells").glob("*/scores.npy"))
    (cell / "notes.txt").write_text("look at this one again")
    (cell / "scores.npy").write_bytes(b"spoilt")
    assert "notes.txt" in refused(home, "study", count)
    assert (cell / "notes.txt").exists()


@pytest.mark.parametrize("name", ["../../letter.txt", "/etc/hostname", "sub/file", "..", ""])
def test_checksums_of_files_outside_the_folder_are_refused(name: str, home: Path, count: Count) -> None:
    sums = home / "run" / "model" / SUMS
    sums.write_text(sums.read_text() + f"{'0' * 64}  {name}\n")
    assert "not a file of this folder" in refused(home, "evaluate", count)
