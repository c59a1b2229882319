"""Extraction recovers the signals planted in the stand-in corpus."""

from pathlib import Path

import numpy as np
import pytest

from mien.api import extract
from mien.config import read_settings
from mien.errors import DataError
from mien.features.writer import StoreWriter
from mien.storage.files import write_json
from mien.synthetic.corpus import check, synth
from mien.synthetic.corpus_check import check_recovery, pool, ridge_recovery, word_errors
from mien.synthetic.published import Bound

pytest.importorskip("espeakng_loader")

CLIPS = 60
"""Of 300, the recovered r are higher still (docs/synth.md); chance is 0 with a deviation of 1 / sqrt(6 · 60) = .05."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, small_weights: object) -> dict[str, Bound]:
    root = tmp_path_factory.mktemp("understood")
    corpus = synth(root / "corpus", clips=CLIPS, seed=9, workers=2, progress=False)
    settings = ["media.vision_fps=1", "media.motion_fps=4"]
    extract(corpus, root / "features", read_settings(overrides=settings), workers=2, progress=False)
    everything = check(corpus, root / "features")
    return {row.name.split(":")[0]: row for row in everything if isinstance(row, Bound)}


@pytest.mark.weights
@pytest.mark.soak
@pytest.mark.parametrize(
    "figure",
    [
        "frames with a face", "smile", "brow raise", "open jaw", "word error rate",
        "text", "audio", "vision", "motion",
    ],
)  # fmt: skip
def test_planted_signals_are_recovered(rows: dict[str, Bound], figure: str) -> None:
    assert rows[figure].holds, rows[figure]


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("one two three", "one two three", 0),
        ("one two three", "", 3),
        ("one two three", "one three", 1),
        ("one two", "one and two", 1),
        ("One, two!", "one-two", 0),
        ("one two three", "three two one", 2),
        ("", "well", 1),
    ],
)
def test_word_errors_are_the_fewest_changes(said: str, heard: str, errors: int) -> None:
    assert word_errors(said, heard) == (errors, len(said.split()))


def test_a_signal_is_recovered_where_it_is_and_only_there() -> None:
    rng = np.random.default_rng(0)
    signals = rng.normal(size=(200, 2))
    features = np.column_stack([signals[:, 0], rng.normal(size=(200, 3))])
    there, absent = ridge_recovery(features, signals, list(range(200)))
    assert there > 0.95
    assert abs(absent) < 0.25  # 200 clips: deviation of chance .07


def test_a_participant_is_never_predicted_by_a_regression_fitted_on_them() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(40), 5)
    looks, mood = rng.normal(size=(40, 60)), rng.normal(size=(40, 2))  # nothing but who it is tells the mood
    r = ridge_recovery(looks[people] + 0.01 * rng.normal(size=(200, 60)), mood[people], people.tolist())
    assert r.max() < 0.5


def test_a_sequence_is_pooled_by_mean_and_deviation_and_a_single_step_is_kept() -> None:
    assert pool(np.array([[1, 2], [3, 2]], np.float16)).tolist() == [2, 2, 1, 0]
    assert pool(np.array([[1, 2]], np.float16)).tolist() == [1, 2]


def test_a_folder_without_a_media_corpus_is_refused(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", []):
        pass
    with pytest.raises(DataError, match="no videos"):
        check_recovery(tmp_path, tmp_path / "store")


def test_videos_of_another_version_are_not_compared_with_this_versions_plan(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", []):
        pass
    write_json(tmp_path / "corpus.json", {"version": 0, "clips": 20, "seed": 0})
    with pytest.raises(DataError, match="rendered by another version of mien"):
        check_recovery(tmp_path, tmp_path / "store")
