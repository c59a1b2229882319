"""Extraction: one bad clip stops nothing, and nothing is computed twice. Kills are in ``tests/faults``.

With random weights, which need no network; real weights and clips are in ``test_real_clips.py``.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mien
from mien.config import Settings, read_settings
from mien.data.manifest import read_manifest
from mien.errors import InUse
from mien.features import keys
from mien.features.extract import extract
from mien.features.extraction_summary import ExtractionSummary
from mien.features.jobs import ClipOutcome
from mien.features.store import Store
from mien.features.worker import Extraction, Extractor
from mien.features.writer import StoreWriter
from mien.modalities import MODALITIES
from mien.schema import Clip, Manifest
from mien.weights import Weights
from tests.media.clips import make_clip, tone
from tests.workers import decoders

AUDIO = read_settings(overrides=["weights=tiny", "modalities=[audio]", "compute.precision=float32"])
TEXT_AUDIO = read_settings(
    overrides=["weights=tiny", "backbone.text=frozen", "modalities=[text, audio]", "compute.precision=float32"]
)


def audio_clip(path: Path, seconds: float, pitch: float = 1.0) -> Path:
    """An audio clip of a tone, with an exact number of samples."""
    return make_clip(
        path, codec=None, seconds=seconds, sound="pcm_s16le", sound_rate=16000, layout="mono",
        wave=lambda t: tone(pitch * t),
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three audio clips with known words, and four files that cannot be read for different reasons."""
    root = tmp_path_factory.mktemp("clips")
    (root / "text").mkdir()
    for name, pitch in (("a", 1.0), ("b", 1.5), ("süß c", 2.0)):
        audio_clip(root / f"{name}.mkv", 0.6, pitch)
        (root / "text" / f"{name}.txt").write_text(f"so proud of {name}")
    (root / "empty.mp4").touch()
    (root / "page.mp4").write_text("<html>not a video</html>")
    shutil.copy(root / "a.mkv", root / "cut.mp4")
    os.truncate(root / "cut.mp4", 300)
    (root / "gone.mp4").symlink_to(root / "nowhere.mp4")
    return root


def run(
    manifest: Manifest, store: Path, settings: Settings, workers: int = 0
) -> tuple[ExtractionSummary, list[ClipOutcome]]:
    summary = ExtractionSummary()
    outcomes = list(extract(manifest, store, settings, workers=workers))
    for outcome in outcomes:
        summary.count(outcome)
    return summary, outcomes


def bytes_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_bad_clips_are_reported_and_the_others_go_on(folder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(folder)
    missing = Manifest(manifest.source, (), (*manifest.clips, Clip("listed", folder / "listed.mp4")))
    summary, _ = run(missing, tmp_path / "store", TEXT_AUDIO)
    assert summary.made == 3
    reasons = dict(summary.failed)
    assert set(reasons) == {"empty", "page", "cut", "listed"}
    assert "no such file" in reasons["listed"]
    assert all("\n" not in reason and len(reason) < 250 for reason in reasons.values())
    store = Store(tmp_path / "store")
    assert store.array("süß c", "audio").shape == (30, store.row("a", "audio").width)  # type: ignore[union-attr]
    assert store.row("empty", "audio").status == "failed"  # type: ignore[union-attr]
    assert store.random_weights


def test_running_again_computes_nothing_and_changes_nothing(folder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(folder)
    run(manifest, tmp_path, TEXT_AUDIO)
    before = bytes_of(tmp_path)
    summary, outcomes = run(manifest, tmp_path, TEXT_AUDIO)
    assert (summary.made, summary.reused, len(summary.failed)) == (0, 3, 3)
    assert all(not outcome.made.features for outcome in outcomes)
    assert bytes_of(tmp_path) == before


def test_two_workers_make_the_same_store_as_none(folder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(folder)
    run(manifest, tmp_path / "here", AUDIO)
    run(manifest, tmp_path / "there", AUDIO, workers=2)
    assert bytes_of(tmp_path / "here") == bytes_of(tmp_path / "there")


def changed(folder: Path, store: Path, settings: Settings) -> set[tuple[str, str]]:
    """The (clip, modality) pairs that a run with other settings computes."""
    _, outcomes = run(read_manifest(folder), store, settings)
    return {
        (outcome.clip.id, feature.modality)
        for outcome in outcomes
        for feature in outcome.made.features
        if feature.status != "failed"
    }


def test_a_setting_recomputes_what_it_touches_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    run(read_manifest(folder), tmp_path, TEXT_AUDIO)
    overrides = ["weights=tiny", "modalities=[text, audio]", "backbone.text=frozen", "compute.precision=float32"]
    assert changed(folder, tmp_path, read_settings(overrides=[*overrides, "media.vision_fps=2"])) == set()
    assert changed(folder, tmp_path, read_settings(overrides=[*overrides, "speech.vad_threshold=0.4"])) == set()
    other = [*overrides[:3], "compute.precision=bfloat16"]
    everything = {(clip, name) for clip in ("a", "b", "süß c") for name in ("text", "tokens", "audio")}
    assert changed(folder, tmp_path, read_settings(overrides=other)) == everything


@pytest.mark.weights
def test_features_and_kept_inputs_of_an_earlier_version_are_made_again_and_no_others(
    tmp_path: Path, small_weights: dict[str, Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, store = tmp_path / "clips", tmp_path / "store"
    clips.mkdir()
    make_clip(clips / "a.mp4", seconds=0.6)
    settings = read_settings(overrides=["weights=tiny", "modalities=[audio, motion]", "compute.precision=float32"])
    with monkeypatch.context() as earlier:
        earlier.setitem(MODALITIES, "motion", replace(MODALITIES["motion"], version=2))
        earlier.setitem(keys.INPUT_VERSIONS, "motion", 1)
        mien.extract(clips, store, settings, progress=False, keep_inputs=True)
        (before,) = (store / "inputs" / "motion").rglob("*.*")
    done = mien.extract(clips, store, settings, progress=False, keep_inputs=True)
    assert done.made == 1
    kept = [file.stem for file in (store / "inputs" / "motion").rglob("*.*")]
    assert len(set(kept) - {before.stem}) == 1
    assert changed(clips, store, settings) == set()
    assert len(list((store / "inputs" / "audio").rglob("*.*"))) == 1


def test_another_content_under_the_same_name_is_computed_again(folder: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    shutil.copytree(folder, clips, symlinks=True)
    run(read_manifest(clips), tmp_path / "store", TEXT_AUDIO)
    shutil.copy(clips / "b.mkv", clips / "a.mkv")
    assert changed(clips, tmp_path / "store", TEXT_AUDIO) == {("a", "audio")}  # its words were given and stay
    store = Store(tmp_path / "store")
    assert np.array_equal(store.array("a", "audio"), store.array("b", "audio"))


def test_a_clip_that_becomes_unreadable_is_not_scored_from_what_it_was(folder: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    shutil.copytree(folder, clips, symlinks=True)
    run(read_manifest(clips), tmp_path / "store", AUDIO)
    (clips / "a.mkv").write_bytes(b"spoiled")
    summary, _ = run(read_manifest(clips), tmp_path / "store", AUDIO)
    assert "a" in dict(summary.failed)
    assert Store(tmp_path / "store").row("a", "audio").status == "failed"  # type: ignore[union-attr]


def test_a_clip_that_is_gone_keeps_its_features(folder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(folder)
    run(manifest, tmp_path, AUDIO)
    away = tuple(Clip(clip.id, folder / "away" / clip.path.name) for clip in manifest.clips)
    moved = Manifest(manifest.source, (), away)
    summary, _ = run(moved, tmp_path, AUDIO)
    assert {clip for clip, reason in summary.failed if "no such file" in reason} >= {"a", "b"}
    assert Store(tmp_path).row("a", "audio").status == "present"  # type: ignore[union-attr]


def test_a_part_of_a_clip_is_that_part(folder: Path, tmp_path: Path) -> None:
    part = Manifest(folder, (), (Clip("part", folder / "a.mkv", start=0.2, end=0.5),))
    run(part, tmp_path, AUDIO)
    assert len(Store(tmp_path).array("part", "audio")) == pytest.approx(15, abs=1)  # 0.3 s at 50 steps a second


def test_a_store_that_is_written_to_is_refused(folder: Path, tmp_path: Path) -> None:
    with StoreWriter(tmp_path, []), pytest.raises(InUse, match="is writing to it"):
        run(read_manifest(folder), tmp_path, AUDIO)


def test_a_folder_without_videos_gives_the_features_of_its_other_files(tmp_path: Path) -> None:
    """Audio and text as the challenge provides them; motion needs the video, which does not exist."""
    sound = make_clip(tmp_path / "sound.wav", codec=None, sound="pcm_s16le")
    clip = Clip("a", tmp_path / "raw" / "a.mp4", transcript="so there", sound=sound)
    settings = read_settings(
        overrides=["weights=tiny", "backbone.text=frozen", "modalities=[text,audio,motion]", "speech.source=provided"]
    )
    (outcome,) = extract(Manifest(tmp_path, (), (clip,)), tmp_path / "store", settings)
    assert outcome.failure is None
    made = {feature.modality: feature.status for feature in outcome.made.features}
    assert made == {"text": "present", "tokens": "present", "audio": "present", "motion": "failed"}
    (again,) = extract(Manifest(tmp_path, (), (clip,)), tmp_path / "store", settings)
    assert again.reused == ("text", "audio")
    assert not again.made.features


def test_extraction_ends_its_decoder_process(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if something, such as the traceback of an error, still refers to what used it."""
    kept, make = [], Extraction.__call__

    def made(self: Extraction) -> Extractor:
        kept.append(make(self))
        return kept[-1]

    monkeypatch.setattr(Extraction, "__call__", made)
    before = decoders()
    run(read_manifest(folder), tmp_path / "whole", AUDIO)
    assert decoders() == before
    abandoned = extract(read_manifest(folder), tmp_path / "part", AUDIO)
    next(abandoned)
    assert len(decoders()) == len(before) + 1
    abandoned.close()
    assert decoders() == before
    assert len(kept) == 2
