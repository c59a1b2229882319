"""A cell whose modality has no features fails, and the report of a study has the notes on the data that a run has."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.features.store import Store
from mien.reporting.study_files import write_study_files
from mien.schema import Manifest
from mien.storage.files import read_json
from mien.study import run_study
from mien.study.cells import StudyContext, plan_work
from mien.study.data_notes import data_notes
from tests.study.test_study import study
from tests.training.planted import planted

STAGED = "regime: {adapted: {}, mean: {method: unimodal_mean}}"
SINGLE = "regime: {joint: {stage2.adaptation: joint}, ridge: {method: ridge}}"
MODALITIES = "modalities: [[text, motion], [text, vision, motion]]"


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Path]:
    root = tmp_path_factory.mktemp("blind") / "store"
    return planted(root, train=120, valid=60, without=("vision",))[0], root


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Path]:
    """Half of the clips lack each modality."""
    root = tmp_path_factory.mktemp("half") / "store"
    return planted(root, train=120, valid=60, missing=0.5)[0], root


@pytest.mark.parametrize("regimes", [STAGED, SINGLE], ids=["stage 1", "no stage 1"])
def test_a_cell_fails_whose_modality_has_no_features_and_the_others_are_trained(
    blind: tuple[Manifest, Path], tmp_path: Path, regimes: str
) -> None:
    """Otherwise it would be the cell without the modality, and a difference of 0 would say that it adds nothing."""
    plan = study(tmp_path / "file", f"axes:\n  {regimes}\n  {MODALITIES}\n")
    encoders, _ = plan_work(StudyContext(*blind, tmp_path / "out"), plan.cells)
    assert {work.modality for work in encoders} == ({"text", "motion"} if regimes == STAGED else set())
    results, failed, _ = run_study(plan, *blind, tmp_path / "out")
    why = "no training clip has features of vision; extract them with: mien extract, or leave vision out of modalities"
    assert len(failed) == 2 and all(why in reason for reason in failed)
    for outcome in results.outcomes:
        assert (why in outcome.failed) == ("vision" in outcome.cell.settings.modalities)
        assert outcome.failed or np.isfinite(outcome.mean_r).all()
    assert not results.steps["modalities"]
    assert f"{blind[1]}: {why}" in write_study_files(tmp_path / "out").read_text()


def test_a_modality_that_only_validation_clips_have_is_none(half: tuple[Manifest, Path], tmp_path: Path) -> None:
    manifest, store = half
    seen = {clip for (clip, name), row in Store(store).rows.items() if name == "vision" and row.steps}
    clips = tuple(replace(clip, split="valid" if clip.id in seen else "train") for clip in manifest.clips)
    plan = study(tmp_path / "file", f"axes: {{{MODALITIES}}}")
    results, failed, _ = run_study(plan, replace(manifest, clips=clips), store, tmp_path / "out")
    assert [reason.partition(":")[0] for reason in failed] == ["stage 1 vision", "text+vision+motion"]
    assert [bool(outcome.failed) for outcome in results.outcomes] == [False, True]


def test_the_report_has_the_notes_of_a_run(half: tuple[Manifest, Path], tmp_path: Path) -> None:
    manifest, store = half
    clips = [replace(clip, participant="p1") if n in (5, 130) else clip for n, clip in enumerate(manifest.clips)]
    clips[0] = replace(clips[0], labels=None)
    manifest = replace(manifest, clips=tuple(clips))
    has = [bool((row := Store(store).row(clip.id, "text")) and row.steps) for clip in clips[1:120]]
    plan = study(tmp_path / "file", "axes: {modalities: [[text, motion], [text]]}")
    run_study(plan, manifest, store, tmp_path / "out")
    (notes,) = (line for line in read_json(tmp_path / "out" / "study.json")["about"] if line.startswith("Notes on"))
    first = clips[1 + has.index(False)].id
    assert "1 clip without labels left out, first 00000" in notes
    assert "1 participant in both train and valid, first p1; r may be too high" in notes
    assert f"text: missing from {has.count(False)} of 119 training clips, first {first}" in notes
    assert "motion: missing from" in notes and "audio" not in notes
    assert notes in write_study_files(tmp_path / "out").read_text()


def test_notes_on_another_split_name_its_cell_and_draws_have_none(half: tuple[Manifest, Path], tmp_path: Path) -> None:
    manifest, store = half
    clips = tuple(replace(clip, participant=None) for clip in manifest.clips)
    context = StudyContext(replace(manifest, clips=clips), store, tmp_path / "out")
    axes = "axes:\n  split: {official: {}, drawn: {split.kind: ratio}}\n  modalities: [[text]]\n"
    notes = data_notes(study(tmp_path / "few", axes), context)
    official, layers, leak, drawn = notes
    assert official.startswith("text: missing from 55 of 120 training clips")
    assert "have no layers" in layers  # of both splits, and so once
    assert leak.startswith("participants are unknown, so one person") and leak.endswith("too high (drawn · text)")
    assert drawn.startswith("text: missing from") and "of 144 training clips" in drawn and "(drawn" in drawn
    draws = "  split.train_clips: [null, 40, 60]\n  split.train_clips_seed: [0, 1]\n"
    many = data_notes(study(tmp_path / "many", axes + draws), context)
    assert [note.replace("(drawn · text · all · 0)", "(drawn · text)") for note in many] == list(notes)
