"""Epochs are chosen on an inner split; validation clips have no influence; a refit repeats what was chosen."""

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from mien.cli.results import print_run
from mien.config import SplitSettings, read_settings
from mien.data.splits import inner_split, split_clips
from mien.errors import DataError, SettingsError
from mien.evaluation.evaluate import evaluate
from mien.evaluation.seen_clips import run_split
from mien.features.store import Store
from mien.model.bundle import Bundle
from mien.model.model_folder import load_bundle
from mien.reporting.blocks import Notice, Prose
from mien.reporting.run import page
from mien.reporting.rundata import read_run
from mien.schema import Clip, Manifest
from mien.storage.files import key_of
from mien.study import run_study
from mien.study.cells import StudyContext
from mien.study.plan import read_study
from mien.training import RunSummary, train
from mien.training.schedule import EpochPlan, History
from tests.training.planted import planted

QUICK = [
    *("seeds=[0,1]", "modalities=[text,motion]", "stage1.epochs=6", "stage1.motion_epochs=6", "stage1.embedding=8"),
    *("stage1.motion_embedding=4", "stage2.epochs=8", "stage2.hidden=8", "stage2.plateau_patience=0"),
    *("stage1.plateau_patience=0", "compute.precision=float32", "train.select=inner"),
]


class Runs(NamedTuple):
    inner: Path
    refit: Path
    manifest: Manifest
    store: Store


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The same training without and with a refit."""
    root = tmp_path_factory.mktemp("selection")
    manifest, store = planted(root / "store", train=120, valid=58)
    for name in ("inner", "refit"):
        train(manifest, store, read_settings(overrides=[*QUICK, f"train.refit={name == 'refit'}".lower()]), root / name)
    return Runs(root / "inner", root / "refit", manifest, store)


def weights(bundle: Bundle) -> torch.Tensor:
    return torch.cat([part.flatten() for part in bundle.module.state_dict().values()])


def test_the_inner_split_divides_the_training_clips_by_participant(runs: Runs) -> None:
    written = json.loads((runs.inner / "split.json").read_text())
    inner = written["inner"]
    assert sorted((*inner["train_clips"], *inner["valid_clips"])) == written["train_clips"]
    assert (inner["train"], inner["valid"], inner["participants"]) == (96, 24, [24, 6])  # 30 people with 4 clips each
    person = {clip.id: clip.participant for clip in runs.manifest.clips}
    assert not {person[c] for c in inner["train_clips"]} & {person[c] for c in inner["valid_clips"]}


def test_without_participants_clips_are_divided_one_by_one_and_one_person_is_refused() -> None:
    def split_of(people: list[str | None]):
        clips = [Clip(str(i), Path("x"), split="train", participant=p, labels=(0.5,)) for i, p in enumerate(people)]
        valid = Clip("v", Path("x"), split="valid", labels=(0.5,))
        return split_clips(Manifest(Path("t.csv"), ("Joy",), (*clips, valid)), SplitSettings())

    made = inner_split(split_of([None] * 50), SplitSettings(), 4)
    assert (len(made.train), len(made.valid), made.participants) == (40, 10, None)
    assert made.notes == ("inner split: some participants are unknown, so one person may be on both sides",)
    with pytest.raises(DataError, match=r"train\.select=inner .* needs at least 2 participants, but there is 1"):
        inner_split(split_of(["ann"] * 50), SplitSettings(), 4)
    with pytest.raises(DataError, match="needs at least 2 clips, but there is 1"):
        inner_split(split_of([None]), SplitSettings(), 4)


def test_validation_clips_have_no_influence_on_a_model_selected_on_an_inner_split(runs: Runs, tmp_path: Path) -> None:
    """Neither their ratings nor their number: the weights and the intervals are the same bits."""
    other = [
        clip if clip.split == "train" else replace(clip, labels=tuple(1 - x for x in clip.labels or ()))
        for clip in runs.manifest.clips
    ][:-8]
    train(replace(runs.manifest, clips=tuple(other)), runs.store, read_settings(overrides=QUICK), tmp_path / "run")
    for part in ("stage1/text", "stage1/motion", "."):
        first, second = load_bundle(runs.inner / part), load_bundle(tmp_path / "run" / part)
        assert torch.equal(weights(first), weights(second))
        one, two = ({n: v.tolist() for n, v in b.calibration.items()} for b in (first, second))
        assert one == two
        one, two = ({n: v.widths.tolist() for n, v in b.half_widths.items()} for b in (first, second))
        assert one == two


def test_results_selected_on_an_inner_split_are_not_called_optimistic(runs: Runs) -> None:
    bundle = load_bundle(runs.inner)
    found = evaluate(bundle, runs.manifest, runs.store, resamples=100)
    assert (found.clips, found.trained_on, found.validated_on) == (58, 0, 0)
    assert found.coverage is not None and found.coverage.calibration_clips == 0
    assert "chose the best epoch" not in found.basis and not any("optimistic" in note for note in found.notes)
    assert "the epochs and the prediction intervals come from an inner split of the training clips" in found.notes
    trained = evaluate(bundle, runs.manifest, runs.store, "train", resamples=100)
    assert (trained.trained_on, trained.validated_on) == (96, 24)
    card = (runs.inner / "model" / "README.md").read_text()
    assert (
        "Of the training clips, 96 trained the weights, 24 chose the epochs and calibrated scores and intervals" in card
    )
    assert "the validation clips were only evaluated" in card and "too good" not in card
    assert bundle.provenance["intervals"] == {"level": 0.9, "clips": 24, "calibrated_on": "inner split"}


def points(folder: Path) -> str:
    return " ".join(
        point for block in page(read_run(folder)).head if isinstance(block, Prose) for point in block.points
    )


def test_the_report_says_what_chose_the_epochs_and_which_model_is_measured(runs: Runs) -> None:
    assert "An inner split of the training clips chose the best epochs" in points(runs.inner)
    assert "optimistic" not in points(runs.inner) and "trained again" not in points(runs.inner)
    assert "These results are of the model before that" in points(runs.refit)


def test_a_refit_reports_r_and_intervals_of_the_model_before_it(runs: Runs) -> None:
    for name in ("results.json", "predictions.parquet"):
        before, after = (folder / name for folder in (runs.inner, runs.refit))
        if name == "results.json":
            assert json.loads(before.read_text())["r"] == json.loads(after.read_text())["r"]
        else:
            assert before.read_bytes() == after.read_bytes()
    selected, final = load_bundle(runs.refit / "stage2"), load_bundle(runs.refit)
    assert torch.equal(weights(selected), weights(load_bundle(runs.inner)))
    assert not torch.equal(weights(selected), weights(final))
    assert all(
        np.array_equal(selected.half_widths[name].widths, final.half_widths[name].widths) for name in final.half_widths
    )
    assert final.calibration.keys() == selected.calibration.keys() == {"text", "motion", "text+motion"}
    assert all(np.array_equal(selected.calibration[name], final.calibration[name]) for name in final.calibration)
    assert final.provenance["calibration"] == selected.provenance["calibration"]
    assert final.provenance["results"] == selected.provenance["results"]
    card = (runs.refit / "model" / "README.md").read_text()
    assert "**Trained again on all 178 clips, training and validation**" in card
    assert "results of the model before it was trained again" in card and "was trained on 96 clips" in card
    assert "before the refit" in card.partition("# Emotion")[0]


def test_a_refitted_model_is_not_evaluated_on_the_clips_of_its_run_unawares(runs: Runs) -> None:
    bundle = load_bundle(runs.refit)
    with pytest.raises(DataError, match=r"its 58 validation clips included; .* mien evaluate .*refit/stage2"):
        evaluate(bundle, runs.manifest, runs.store, resamples=100)
    named = evaluate(bundle, runs.manifest, runs.store, "valid", resamples=100)
    assert (named.trained_on, named.validated_on) == (58, 0)
    assert "say nothing about new clips; it was trained again on all rated clips" in named.notes[0]
    before = evaluate(load_bundle(runs.refit / "stage2"), runs.manifest, runs.store, resamples=100)
    assert (before.clips, before.trained_on) == (58, 0)
    encoder = load_bundle(runs.refit / "refit" / "text")
    with pytest.raises(DataError, match=r"mien evaluate .*refit/stage1/text"):
        evaluate(encoder, runs.manifest, runs.store)
    assert run_split(bundle) is not None


def test_a_refit_without_an_inner_split_is_refused_before_anything_is_written(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"must not choose the epochs: set train\.select=inner"):
        train(runs.manifest, runs.store, read_settings(overrides=["train.refit=true"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("part", "epoch"), [("stage2", 3), ("refit stage2", 1)])
def test_a_refit_that_was_killed_goes_on_to_the_same_bits(
    runs: Runs, tmp_path: Path, part: str, epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from functools import partial

    from mien.training import stage1, stage2

    class Killed(Exception):
        pass

    def kill(name: str, found) -> None:
        if name == part and found.number == epoch:
            raise Killed

    for stage in (stage1, stage2):
        monkeypatch.setattr(stage, "TrainingJob", partial(stage.TrainingJob, checkpoint_seconds=0.0))
    settings = read_settings(overrides=[*QUICK, "train.refit=true"])
    with pytest.raises(Killed):
        train(runs.manifest, runs.store, settings, tmp_path / "run", on_epoch=kill)
    train(runs.manifest, runs.store, settings, tmp_path / "run")
    for folder in ("stage2", "."):
        assert torch.equal(weights(load_bundle(tmp_path / "run" / folder)), weights(load_bundle(runs.refit / folder)))
    first, second = (json.loads((folder / "results.json").read_text()) for folder in (tmp_path / "run", runs.refit))
    assert first == second
    assert not list((tmp_path / "run").rglob("checkpoint.safetensors"))


def test_a_run_of_an_earlier_version_is_continued(runs: Runs, tmp_path: Path) -> None:
    """Its ``run.json`` knows nothing of ``train``, of which the default is what it did."""
    from mien.storage.checksums import read_checksummed, write_checksummed

    settings = read_settings(overrides=[*QUICK, "train.select=valid", "stage1.epochs=1", "stage2.epochs=1"])
    train(runs.manifest, runs.store, settings, tmp_path / "run")
    identity = read_checksummed(tmp_path / "run" / "run.json")
    del identity["settings"]["train"], identity["settings"]["stage2"]["ema"]
    write_checksummed(tmp_path / "run" / "run.json", identity)
    again = train(runs.manifest, runs.store, settings, tmp_path / "run")
    assert again.seconds < 5
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert "inner" not in split and "valid_participants" not in split


def test_plans_survive_being_written_down() -> None:
    factors = np.array([[1.0, 1.0], [0.3, 1.0], [np.nan, 0.09]])
    plan = History(np.zeros((3, 2)), factors, np.array([2, 3])).plan
    record = json.loads(json.dumps(plan.record()))
    assert record == {"epochs": [2, 3], "factors": [[1.0, 0.3], [1.0, 1.0, 0.09]]}
    again = EpochPlan.read(record)
    np.testing.assert_array_equal(again.factors, factors)
    with pytest.raises(ValueError, match="missing"):
        EpochPlan.read({"epochs": [2], "factors": [[1.0, None]]})


def test_seeds_that_stopped_early_are_in_the_report(runs: Runs) -> None:
    shown = page(replace(read_run(runs.inner), notes=("stage 2: seed 1 stopped at epoch 9 …",)))
    assert [b.text for b in shown.blocks if isinstance(b, Notice) and "seed 1" in b.text] == [
        "stage 2: seed 1 stopped at epoch 9 …"
    ]


@pytest.mark.parametrize("adaptation", ["joint", "frozen"])
def test_every_adaptation_can_be_refitted(runs: Runs, tmp_path: Path, adaptation: str) -> None:
    once = ["seeds=[0]", "stage1.epochs=2", "stage1.motion_epochs=2", "stage2.epochs=3", "train.refit=true"]
    settings = read_settings(overrides=[*QUICK, *once, f"stage2.adaptation={adaptation}"])
    summary = train(runs.manifest, runs.store, settings, tmp_path / "run")
    assert summary.refit and (tmp_path / "run" / "refit" / "text").exists() == (adaptation == "frozen")
    bundle = load_bundle(tmp_path / "run")
    assert bundle.provenance["data"]["refit"] and np.isfinite(weights(bundle).numpy()).all()


def test_the_end_of_a_training_says_once_which_clips_chose_and_which_seeds_stopped(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    r = {"ensemble": np.full((1, 6), 0.5)}
    print_run(
        RunSummary(runs.refit, runs.manifest.targets, r, (), 1.0, True, ("stage 2: seed 3 stopped at epoch 9 …",))
    )
    said = " ".join(capsys.readouterr().out.split())
    assert "on 58 validation clips of 15 participants, which training did not use" in said
    assert "96 trained the models and 24 chose the epochs and calibrated scores and intervals" in said
    assert "then trained again on all 178 clips; r is of the models before that" in said
    assert said.count("note: stage 2: seed 3 stopped at epoch 9 …") == 1


def test_a_study_takes_the_selection_from_its_recipe_and_keeps_its_older_cells(runs: Runs, tmp_path: Path) -> None:
    study = """
settings: {stage1.embedding: 8, stage1.motion_embedding: 4, stage2.hidden: 8, stage1.epochs: 1, stage1.motion_epochs: 1,
           stage2.epochs: 2, modalities: [text, motion], backbone.text: frozen%s}
seeds: 2
axes: {regime: {two: {}, ridge: {method: ridge}}}
"""
    folders, scores, limits = {}, {}, {}
    for select in ("valid", "inner"):
        (tmp_path / "study.yaml").write_text(study % (", train.select: inner" if select == "inner" else ""))
        plan = read_study(tmp_path / "study.yaml")
        _, failed, file = run_study(plan, runs.manifest, runs.store.root, tmp_path / "out")
        assert not failed
        context = StudyContext(runs.manifest, runs.store.root, tmp_path / "out")
        folders[select] = [context.folder(cell) for cell in plan.cells]
        scores[select] = [context.scores(cell) for cell in plan.cells]
        limits[select] = json.loads(file.read_text())["limits"][0]
    settings = plan.cells[1].settings.model_dump(mode="json", include={"modalities", "batch_seed", "split", "stage1"})
    for name in ("centered", "contrastive", "text", "audio", "vision", "motion"):  # newer than the oldest cells
        del settings["stage1"][name]
    del settings["split"]["train_clips"], settings["split"]["train_clips_seed"]
    assert folders["valid"][1].name == key_of(1, "ridge", settings, {}, [], *context.fingerprints)  # as it always was
    assert not set(folders["valid"]) & set(folders["inner"])
    assert not np.array_equal(scores["valid"][0], scores["inner"][0])
    np.testing.assert_array_equal(scores["valid"][1], scores["inner"][1])  # a ridge chooses no epoch
    assert "optimistic" in limits["valid"] and "inner split" in limits["inner"]
