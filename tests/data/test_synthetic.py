"""Clips of the stand-in corpus are recognised by their folder, and nothing else is taken for them."""

from pathlib import Path

import pytest

from mien.data.manifest import read_manifest
from mien.data.synthetic import count_synthetic
from mien.schema import Clip
from mien.synthetic.corpus import feature_plan, synth

SMALL = ["widths.text=16", "widths.audio=16", "widths.vision=16", "rates.audio=5", "longest_seconds=20"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synth") / "stand-in"
    return synth(root, mode="features", clips=20, plan=feature_plan(SMALL), progress=False)


def test_the_clips_of_a_corpus_are_synthetic_from_wherever_they_are_named(corpus: Path, tmp_path: Path) -> None:
    clips = read_manifest(corpus).clips
    assert count_synthetic(clips) == len(clips) == 20
    table = tmp_path / "clips.csv"  # a table elsewhere, with some of them among others
    table.write_text(f"path,Joy\n{corpus}/raw/00001.mp4,0.5\n{corpus}/test_data/raw/9.mp4,0.5\nmine.mp4,0.5\n")
    assert count_synthetic(read_manifest(table).clips) == 2


@pytest.mark.parametrize("text", [None, "", "[]", '{"version": 1}', '{"texts": 3, "clips": 2, "seed"', "\0"])
def test_a_foreign_file_of_that_name_is_no_marker(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "corpus.json").write_text(text)
    assert count_synthetic([Clip("a", tmp_path / "raw" / "a.mp4")]) == 0
