"""Bad input is normal: each kind gets one line that says why, and the good clip beside it is scored all the same."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from mien.config import Settings
from mien.data.manifest import read_manifest
from mien.features.extract import extract
from mien.features.extraction_summary import ExtractionSummary
from mien.features.store import Store
from mien.weights import Weights
from tests.media.clips import make_clip

pytestmark = [pytest.mark.weights, pytest.mark.slow]


def music(t: np.ndarray) -> np.ndarray:
    """A chord that swells four times a second: loud, tonal, and no speech."""
    chord = sum(np.sin(2 * np.pi * pitch * t) for pitch in (220, 277.2, 329.6, 440))
    return 0.1 * chord * (1.2 + np.sin(2 * np.pi * 4 * t))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bad input")
    make_clip(root / "good sönd.mp4", seconds=1)
    make_clip(root / "silence.mp4", seconds=1, wave=lambda t: 0 * t)
    make_clip(root / "music.mp4", seconds=3, wave=music)
    make_clip(root / "no sound.mp4", seconds=1, sound=None)
    make_clip(root / "short.mp4", seconds=0.06)
    make_clip(root / "five frames.mp4", seconds=0.2, sound=None)
    make_clip(root / "sound only.mp4", seconds=1, codec=None)
    whole = make_clip(root / "truncated.mkv", seconds=4).read_bytes()
    (root / "truncated.mkv").write_bytes(whole[: len(whole) // 2])
    whole = make_clip(root / "no index.mp4", seconds=2).read_bytes()
    (root / "no index.mp4").write_bytes(whole[: len(whole) // 2])
    (root / "empty.mp4").touch()
    (root / "not a video.mp4").write_text("dear diary")
    (root / "folder.mp4").mkdir()
    names = [path.name for path in sorted(root.iterdir())]
    (root / "table.csv").write_text("\n".join(["path", *names, "gone.mp4"]))
    return root


@pytest.fixture(scope="module")
def result(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, small_weights: dict[str, Weights]
) -> tuple[Store, ExtractionSummary]:
    root, tally = tmp_path_factory.mktemp("store"), ExtractionSummary()
    for outcome in extract(read_manifest(folder / "table.csv"), root, Settings()):
        tally.count(outcome)
    return Store(root), tally


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        ("no index", r"index \(moov\) is missing"),
        ("empty", "empty file"),
        ("not a video", "not a video"),
        ("folder", "a folder"),
        ("gone", "no such file"),
    ],
)
def test_what_cannot_be_read_at_all_fails_with_its_reason(
    result: tuple[Store, ExtractionSummary], clip: str, reason: str
) -> None:
    failed = dict(result[1].failed)
    assert re.search(reason, failed[clip])
    assert "\n" not in failed[clip]
    assert len(failed[clip]) < 300


def test_only_those_fail(result: tuple[Store, ExtractionSummary]) -> None:
    assert set(dict(result[1].failed)) == {"no index", "empty", "not a video", "folder", "gone"}
    assert result[1].made == 8


@pytest.mark.parametrize(
    ("clip", "modality", "reason"),
    [
        ("silence", "audio", "digitally silent"),
        ("silence", "text", "no speech"),
        ("music", "text", "no speech|no words"),
        ("no sound", "audio", "no audio track"),
        ("no sound", "text", "no audio track"),
        ("five frames", "vision", "no face in 1 frames"),
        ("sound only", "vision", "no video"),
        ("good sönd", "vision", "no face in 4 frames"),
    ],
)
def test_what_is_missing_has_its_reason(
    result: tuple[Store, ExtractionSummary], clip: str, modality: str, reason: str
) -> None:
    row = result[0].row(clip, modality)
    assert row is not None
    assert row.status == "absent"
    assert re.search(reason, row.reason)


@pytest.mark.parametrize("clip", ["good sönd", "music", "sound only", "short"])
def test_what_is_there_is_heard(result: tuple[Store, ExtractionSummary], clip: str) -> None:
    row = result[0].row(clip, "audio")
    assert row is not None
    assert row.steps > 0


def test_a_truncated_file_gives_what_is_left_of_it_and_says_so(result: tuple[Store, ExtractionSummary]) -> None:
    store, _ = result
    seconds = store.clips["truncated"]["seconds"]
    assert math.isfinite(seconds)
    assert 0.5 < seconds < 3.9
    row = store.row("truncated", "audio")
    assert row is not None
    assert 0 < row.steps < 195
