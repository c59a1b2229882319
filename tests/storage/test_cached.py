"""Folders of the cache are made once, and go when they have not been used for a season."""

import os
import time
from pathlib import Path

import pytest

from mien.storage.cached import UNUSED_DAYS, cached_folder


def put(folder: Path, text: str) -> Path:
    """The folder, with a file of this text if it was not there."""

    def make(part: Path) -> None:
        (part / "file").write_text(text)

    return cached_folder(folder, make)


def age(folder: Path, days: float) -> None:
    """Make it look as if it was used so many days ago."""
    then = time.time() - days * 86_400
    os.utime(folder, (then, then))


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    assert put(tmp_path / "kind" / "a", "first") == tmp_path / "kind" / "a"
    assert (put(tmp_path / "kind" / "a", "second") / "file").read_text() == "first"


def test_when_one_is_made_those_go_that_nothing_used_for_a_season(tmp_path: Path) -> None:
    kind = tmp_path / "kind"
    ages = {"old": UNUSED_DAYS + 1, "used": UNUSED_DAYS + 1, "young": UNUSED_DAYS - 1}
    for folder in [put(kind / name, "x") for name in ages]:
        age(folder, ages[folder.name])
    put(kind / "used", "x")
    assert (kind / "old").exists()
    put(kind / "new", "x")
    assert sorted(folder.name for folder in kind.iterdir() if folder.is_dir()) == ["new", "used", "young"]


def test_what_is_made_in_vain_leaves_nothing(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cached_folder(tmp_path / "kind" / "a", fail)
    assert not any(path.is_dir() for path in (tmp_path / "kind").iterdir())
