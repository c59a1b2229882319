"""A model is evaluated on clips that it has not been trained on, or the evaluation says how many it has."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from mien.config import Settings, read_settings
from mien.data.splits import split_clips
from mien.errors import DataError
from mien.evaluation.comparison import compare
from mien.evaluation.evaluate import evaluate
from mien.evaluation.record import read_evaluation, write_evaluation
from mien.evaluation.seen_clips import run_split, select_clips
from mien.features.source_files import SourceFile, contents_of
from mien.features.store import Store
from mien.features.writer import StoreWriter
from mien.model.model_folder import load_bundle
from mien.schema import Clip, ClipFeatures, Feature, Manifest
from mien.study.tune import Search, read_space
from mien.training.train import train
from tests.training.planted import planted

QUICK = [
    *("seeds=[0]", "modalities=[text,motion]", "stage1.epochs=2", "stage1.motion_epochs=2", "stage1.embedding=8"),
    *("stage1.motion_embedding=4", "stage2.epochs=2", "stage2.hidden=8"),
]


class Runs(NamedTuple):
    official: Path
    folded: Path
    manifest: Manifest
    store: Store


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """One run on the manifest's split, one on five folds of training and validation clips together."""
    root = tmp_path_factory.mktemp("seen")
    manifest, store = planted(root / "store", train=120, valid=58)
    for name, kind in (("official", "official"), ("folded", "kfold")):
        train(manifest, store, read_settings(overrides=[*QUICK, f"split.kind={kind}"]), root / name)
    return Runs(root / "official", root / "folded", manifest, store)


def test_clips_of_another_split_that_the_model_was_trained_on_are_counted(runs: Runs) -> None:
    split = json.loads((runs.folded / "split.json").read_text())
    named_valid = {clip.id for clip in runs.manifest.clips if clip.split == "valid"}
    seen = named_valid & set(split["train_clips"])
    assert 30 < len(seen) < 58  # about 4 of 5
    found = evaluate(load_bundle(runs.folded), runs.manifest, runs.store, "valid", resamples=100)
    assert (found.clips, found.trained_on, found.validated_on) == (58, len(seen), 58 - len(seen))
    assert found.notes[0].startswith(f"the model was trained on {len(seen)} of these 58 clips, first {min(seen)}: ")
    assert f", {len(seen)} of which the model was trained on, and {58 - len(seen)} of which chose the" in found.basis
    written = write_evaluation(found, runs.folded, "planted")
    assert json.loads(written.read_text())["trained_on"] == len(seen)
    assert read_evaluation(runs.folded, "valid")[0].basis == found.basis


def test_by_default_the_runs_own_validation_clips_are_evaluated(runs: Runs) -> None:
    own = json.loads((runs.folded / "split.json").read_text())["valid_clips"]
    found = evaluate(load_bundle(runs.folded), runs.manifest, runs.store, resamples=100)
    assert found.table["clip"].to_pylist() == own
    assert (found.trained_on, found.validated_on) == (0, len(own))
    assert any(note.startswith("the validation clips of the model's run (kfold: fold 0 of 5") for note in found.notes)
    official = evaluate(load_bundle(runs.official), runs.manifest, runs.store, resamples=100)
    assert (official.clips, official.trained_on, official.validated_on) == (58, 0, 58)


def test_unimodal_models_of_a_run_know_its_split(runs: Runs) -> None:
    found = evaluate(load_bundle(runs.folded / "stage1" / "text"), runs.manifest, runs.store, "all", resamples=100)
    split = json.loads((runs.folded / "split.json").read_text())
    assert (found.trained_on, found.validated_on) == (split["train"], split["valid"])


def test_optimism_and_coverage_on_own_validation_clips_are_reported(runs: Runs) -> None:
    bundle = load_bundle(runs.official)
    found = evaluate(bundle, runs.manifest, runs.store, resamples=100)
    assert found.coverage is not None and found.coverage.calibration_clips == 58
    assert any("58 of these 58 clips chose the best epoch and calibrated" in note for note in found.notes)
    assert ", all of which chose the best epoch;" in found.basis
    fresh = tuple(replace(clip, split="test") if clip.split == "valid" else clip for clip in runs.manifest.clips)
    other = replace(runs.manifest, source=Path("elsewhere.csv"), clips=fresh)  # equal names in other data
    again = evaluate(bundle, other, runs.store, "test", resamples=100)
    assert (again.trained_on, again.validated_on) == (0, 0)
    assert again.coverage is not None and again.coverage.calibration_clips == 0
    assert "chose the best epoch" not in again.basis


def test_a_model_outside_its_run_does_not_know_and_says_so(runs: Runs, tmp_path: Path) -> None:
    shutil.copytree(runs.folded / "model", tmp_path / "model")
    (tmp_path / "split.json").write_bytes((runs.official / "split.json").read_bytes())  # of another run
    bundle = load_bundle(tmp_path / "model")
    assert run_split(bundle) is None
    found = evaluate(bundle, runs.manifest, runs.store, resamples=100)
    assert found.notes[0].startswith("the model is not in its run folder, so it is unknown")


def test_a_damaged_split_is_reported(runs: Runs, tmp_path: Path) -> None:
    shutil.copytree(runs.folded, tmp_path / "run")
    (tmp_path / "run" / "split.json").write_text('{"rule": "x"}')
    with pytest.raises(DataError, match=r"split\.json: damaged \('train_clips'\); the same mien train command"):
        run_split(load_bundle(tmp_path / "run"))


def test_compared_models_are_evaluated_on_validation_clips_of_both(runs: Runs) -> None:
    models = load_bundle(runs.official), load_bundle(runs.folded)
    stores = (runs.store, runs.store)
    common = set(run_split(models[0]).valid) & set(run_split(models[1]).valid)  # type: ignore[union-attr]
    default = compare(*models, runs.manifest, stores, resamples=100)
    assert not any("trained on" in note for note in default.notes)
    assert f"first model: {len(common)} of these {len(common)} clips chose the best epoch" in default.notes[0]
    named = compare(*models, runs.manifest, stores, "valid", resamples=100)
    assert any(note.startswith("second model: the model was trained on") for note in named.notes)
    seen = 58 - len(common)
    assert f"trained on {seen} of these 58 clips" in " ".join(named.notes)


def test_a_renamed_copy_of_a_training_clip_is_recognised_by_its_file(runs: Runs, tmp_path: Path) -> None:
    """Two clips of the store are the same file under two names, a third is another part of it."""
    file = SourceFile("path", "abc", 0.0, 2.0)
    origins = {"old": file, "new": file, "part": file._replace(start=2.0, end=4.0), "imported": None}
    values = np.zeros((1, 4), np.float16)
    with StoreWriter(tmp_path / "store", list(origins)) as writer:
        for name, origin in origins.items():
            feature = Feature("text", "k", "m", values, np.zeros(1, np.float32), origin=origin.text if origin else "")
            words = Feature(
                "audio", "k", "m", values, np.zeros(1, np.float32), origin=SourceFile("transcript", "t").text
            )
            writer.add(ClipFeatures(name, 2.0, (feature, words)))
    store = Store(tmp_path / "store")
    old, new, part, imported = contents_of(store, origins)
    assert old == new and len(old) == 1 and not old & part and not imported  # equal words are not equal clips
    shutil.copytree(runs.folded, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "split.json").read_text())
    (tmp_path / "run" / "split.json").write_text(json.dumps(record | {"train_contents": sorted(old)}))
    clips = tuple(Clip(name, Path(f"{name}.mp4"), split="test", labels=(0.5,) * 6) for name in origins)
    manifest = replace(runs.manifest, source=Path("other.csv"), clips=clips)
    assert select_clips(load_bundle(tmp_path / "run"), manifest, store, "test").trained_on == ("old", "new")


@pytest.mark.parametrize("files", [True, False])
def test_a_table_under_another_name_has_the_same_clips(tmp_path: Path, files: bool) -> None:
    """By the content of files; without files, by the same clips, people and ratings."""
    manifest, store = planted(tmp_path / "store", train=60, valid=30, files=files)
    train(manifest, store, read_settings(overrides=[*QUICK, "backbone.text=frozen"]), tmp_path / "run")
    bundle = load_bundle(tmp_path / "run")
    renamed = replace(manifest, source=Path("clips_v2.csv"))
    found = select_clips(bundle, renamed, store, "all")
    assert (len(found.trained_on), len(found.validated_on), found.unsure) == (60, 30, ())
    rated_again = tuple(replace(clip, labels=(0.5,) * 6) for clip in manifest.clips)
    changed = evaluate(bundle, replace(renamed, clips=rated_again), store, "all", resamples=100)
    assert (changed.trained_on, changed.validated_on) == ((60, 30) if files else (0, 0))
    said = [note for note in changed.notes if note.endswith("it is unknown whether they are the same")]
    assert [note[:28] for note in said] == ([] if files else ["90 of these 90 clips, first "])


def test_other_files_or_people_of_the_same_name_are_other_clips(tmp_path: Path) -> None:
    manifest, store = planted(tmp_path / "store", train=60, valid=30, files=True)
    train(manifest, store, read_settings(overrides=[*QUICK, "backbone.text=frozen"]), tmp_path / "run")
    bundle = load_bundle(tmp_path / "run")
    other, other_store = planted(tmp_path / "other", train=60, valid=30, seed=1, files=True)
    found = select_clips(bundle, replace(other, source=Path("other.csv")), other_store, "all")
    assert (found.trained_on, found.validated_on, found.unsure) == ((), (), ())
    imported, imported_store = planted(tmp_path / "imported", train=60, valid=30, seed=1)
    found = select_clips(bundle, replace(imported, source=Path("other.csv")), imported_store, "train")
    assert len(found.unsure) == 60
    strangers = tuple(replace(clip, participant=f"x{clip.participant}") for clip in imported.clips)
    found = select_clips(bundle, replace(imported, source=Path("other.csv"), clips=strangers), imported_store, "train")
    assert not found.unsure


def test_models_of_before_are_evaluated_as_they_were(runs: Runs, tmp_path: Path) -> None:
    shutil.copytree(runs.official, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "split.json").read_text())
    del record["valid_contents"]
    (tmp_path / "run" / "split.json").write_text(json.dumps(record))
    found = select_clips(load_bundle(tmp_path / "run"), runs.manifest, runs.store, "all")
    assert (len(found.trained_on), len(found.validated_on)) == (120, 58)


def test_a_recipe_of_a_search_has_no_inner_split_so_its_run_leaks_nothing(runs: Runs, tmp_path: Path) -> None:
    changes = "".join(f"  {name}: {value}\n" for name, value in (line.split("=") for line in QUICK[1:]))
    space = f"settings:\n{changes}seeds: 1\ntrials: 1\nfolds: 3\nspace:\n  stage2.lr: [0.001]\n"
    (tmp_path / "space.yaml").write_text(space)
    search = Search(read_space(tmp_path / "space.yaml"), runs.manifest, runs.store.root, tmp_path / "tuned")
    assert len(list(search)) == 1
    recipe = search.finish()
    assert "It has no split: that of the data is used." in recipe.read_text()
    settings = read_settings(recipe)
    assert settings.split == Settings().split
    assert len(split_clips(runs.manifest, settings.split).valid) == 58
    train(runs.manifest, runs.store, settings, tmp_path / "run")
    found = evaluate(load_bundle(tmp_path / "run"), runs.manifest, runs.store, "valid", resamples=100)
    assert (found.clips, found.trained_on) == (58, 0)


def test_a_search_keeps_the_split_of_its_base(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("settings: {split.kind: ratio}\nspace:\n  stage2.lr: [0.001]\n")
    space = read_space(tmp_path / "space.yaml")
    assert (space.split.kind, space.base.split.kind) == ("ratio", "kfold")
