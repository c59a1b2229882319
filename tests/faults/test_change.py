"""Clips that were replaced, and clocks that are wrong."""

import os
import shutil
import time
from pathlib import Path

import pytest

from mien.data.manifest import read_manifest
from mien.errors import DataError
from mien.features.extract import REPLACED, extract
from mien.features.extraction_summary import ExtractionSummary
from mien.features.source_files import check_unchanged
from mien.features.store import Store
from mien.study import run_study
from tests.faults.conftest import Count, Undisturbed
from tests.faults.jobs import command, plan_of, settings
from tests.faults.test_disk import complaint, words
from tests.faults.test_kill import stored


@pytest.fixture
def moved(whole: Undisturbed, tmp_path: Path) -> Undisturbed:
    """The same clips and store elsewhere, to be changed."""
    data = Path(shutil.copytree(whole.data.parent, tmp_path / "data")) / "clips.csv"
    return Undisturbed(
        data, Path(shutil.copytree(whole.store, tmp_path / "store")), whole.run, whole.study, whole.scores
    )


def replaced(moved: Undisturbed) -> None:
    """Two clips get the content of others."""
    for name, other in (("03", "04"), ("09", "10")):
        shutil.copy(moved.data.parent / f"{other}.mkv", moved.data.parent / f"{name}.mkv")


def test_a_replaced_clip_is_made_again_and_that_is_said(moved: Undisturbed, count: Count) -> None:
    replaced(moved)
    tally = ExtractionSummary()
    for outcome in extract(read_manifest(moved.data), moved.store, settings()):
        tally.count(outcome)
    assert (tally.made, tally.recomputed) == (2, {REPLACED: (2, "03")})
    store = Store(moved.store)
    for name, other in (("03", "04"), ("09", "10")):
        count(wrong=int(store.array(name, "audio").tobytes() != store.array(other, "audio").tobytes()))


@pytest.mark.parametrize("name", ["train", "study"])
def test_old_features_of_a_replaced_clip_are_refused(
    name: str, moved: Undisturbed, tmp_path: Path, count: Count
) -> None:
    replaced(moved)
    status, _, said = command(*words(name, moved, tmp_path / "room" / "out"), said=tmp_path / "said")
    assert status == 1
    assert "2 clips changed since feature extraction, first 03" in complaint(said)
    with pytest.raises(DataError, match="2 clips changed"):
        run_study(plan_of(tmp_path / "plan"), read_manifest(moved.data), moved.store, tmp_path / "out")
    count(2)


def test_another_part_of_a_clip_is_another_clip(moved: Undisturbed) -> None:
    table = moved.data.read_text().splitlines()
    lines = [f"start,{table[0]}", *(f"{'0.1' if number == 5 else ''},{line}" for number, line in enumerate(table[1:]))]
    moved.data.write_text("\n".join(lines))
    manifest = read_manifest(moved.data)
    with pytest.raises(DataError, match="1 clip changed"):
        check_unchanged(Store(moved.store), manifest.clips, ("text", "audio"))


def test_a_clip_that_is_gone_is_not_missed_by_training(moved: Undisturbed) -> None:
    manifest = read_manifest(moved.data)
    (moved.data.parent / "03.mkv").unlink()
    check_unchanged(Store(moved.store), manifest.clips, ("text", "audio"))


def test_a_file_from_the_future_and_a_clock_that_was_set_back_change_nothing(
    moved: Undisturbed, whole: Undisturbed, tmp_path: Path, count: Count
) -> None:
    soon = time.time() + 5 * 365 * 86400
    for file in [*moved.data.parent.iterdir(), *moved.store.rglob("*")]:
        os.utime(file, (soon, soon))
    status, out, said = command(*words("extract", moved, moved.store), said=tmp_path / "said", years_ago=20)
    assert status == 0, said
    assert "0 computed, 12 reused" in out
    count(2, wrong=int(stored(moved.store) != stored(whole.store)))
    status, _, said = command(*words("train", moved, tmp_path / "run"), said=tmp_path / "said", years_ago=20)
    assert status == 0, said
    model = Path("model") / "model.safetensors"
    count(wrong=int((tmp_path / "run" / model).read_bytes() != (whole.run / model).read_bytes()))
