"""Every rated clip is scored once, by models that never saw its person; pooled, with an interval, in one command."""

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import mien
from mien.cli import app
from mien.config import read_settings
from mien.errors import DataError, ModelError, OutputError
from mien.evaluation.model_inputs import gather_inputs
from mien.features.store import Store
from mien.metrics import mean_defined, pearson
from mien.model.model_folder import load_bundle
from mien.schema import Manifest
from mien.training.cross_validation import cross_validate
from mien.training.pooled import CrossValidation
from tests.training.planted import planted

QUICK = [
    *("seeds=[0,1]", "modalities=[text,motion]", "stage1.epochs=6", "stage1.motion_epochs=6", "stage1.embedding=16"),
    *("stage1.motion_embedding=8", "stage2.epochs=6", "stage2.hidden=16", "compute.precision=float32"),
    *("stage1.lr=1e-2", "stage2.lr=3e-3", "stage1.weight_decay=0.01", "stage2.weight_decay=0.01"),
    *("stage1.dropout=0.45", "stage2.dropout=0.45"),
]
SETTINGS = read_settings(overrides=QUICK)


class Made(NamedTuple):
    result: CrossValidation
    manifest: Manifest
    store: Store
    lines: list[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """38 people with 4 clips each; the last 12 clips are of split test."""
    root = tmp_path_factory.mktemp("folds")
    manifest, store = planted(root / "store", train=120, valid=32)
    clips = tuple(replace(c, split="test") if i >= 140 else c for i, c in enumerate(manifest.clips))
    manifest, lines = replace(manifest, clips=clips), []
    result = cross_validate(manifest, store.root, SETTINGS, root / "cv", 3, log=lines.append)
    return Made(result, manifest, store, lines)


def test_every_rated_clip_is_scored_once_by_models_that_never_saw_its_person(made: Made) -> None:
    table = made.result.table
    assert sorted(table["clip"].to_pylist()) == [f"{i:05d}" for i in range(140)]
    for fold in range(3):
        held = {
            p for p, f in zip(table["participant"].to_pylist(), table["fold"].to_pylist(), strict=True) if f == fold
        }
        split = json.loads((made.result.folder / "folds" / str(fold) / "split.json").read_text())
        person = {clip.id: clip.participant for clip in made.manifest.clips}
        assert held and not held & {person[clip] for clip in split["train_clips"]}
        assert split["inner"]["valid"] > 10
    assert made.result.notes[0] == "12 clips of split test left out, first 00140"


def test_the_pooled_r_is_over_all_clips_at_once_with_people_resampled(made: Made) -> None:
    result, names = made.result, made.manifest.targets
    table = pq.read_table(result.folder / "predictions.parquet")
    output, rated = (np.stack([table[f"{k} {n}"].to_numpy() for n in names], -1) for k in ("output", "rated"))
    fold = np.array(table["fold"])
    predicted = np.stack([table[f"predicted {name}"].to_numpy() for name in names], -1)
    clips = {clip.id: clip for clip in made.manifest.clips}
    for number in range(3):  # each fold has maps of its own, of which the outputs know nothing
        bundle, rows = load_bundle(result.folder / "folds" / str(number)), np.flatnonzero(fold == number)
        held = [clips[table["clip"][row].as_py()] for row in rows.tolist()]
        mapped = bundle.bounded(bundle.score(gather_inputs(bundle, made.store, held)))
        np.testing.assert_allclose(predicted[rows], mapped, atol=1e-6)
        assert np.abs(output[rows] - mapped).max() > 0.05
    levels = np.stack([one.level for one in result.folds])
    r = pearson(output - levels[fold], rated)  # what a fold's models learned of the mean of the others is taken away
    assert np.ptp(levels, 0).min() > 0
    np.testing.assert_allclose([target.r.value for target in result.targets], r, atol=1e-6)
    assert result.mean_r.value == pytest.approx(float(mean_defined(r)), abs=1e-6)
    assert 0.1 < result.mean_r.low < result.mean_r.value < result.mean_r.high  # by chance, the deviation is .035
    assert (result.clips, result.people, result.resampled) == (140, 35, "participants")
    for one in result.folds:
        np.testing.assert_allclose(one.r, pearson(output[fold == one.fold], rated[fold == one.fold]), atol=1e-6)
    assert sum(one.clips for one in result.folds) == 140 and sum(one.people or 0 for one in result.folds) == 35


def test_the_results_are_written_for_people_and_programs(made: Made) -> None:
    record = json.loads((made.result.folder / "results.json").read_text())
    assert (record["format"], record["version"]) == ("mien-cross-validation", 1)
    assert (record["clips"], record["people"]) == (140, 35)
    assert set(record["mean_r"]) == {"value", "low", "high"}
    assert [target["target"] for target in record["targets"]] == list(made.manifest.targets)
    assert set(record["targets"][0]) >= {"r", "ccc", "mae", "rmse", "rated", "people"}
    assert [fold["fold"] for fold in record["folds"]] == [0, 1, 2]
    assert record["settings"]["train"]["select"] == "inner" and record["settings"]["split"]["folds"] == 3
    assert csv.read_csv(made.result.folder / "predictions.csv").num_rows == 140


def test_an_interrupted_cross_validation_goes_on_and_workers_change_nothing(made: Made, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    seen: list[str] = []

    def kill(name: str, epoch) -> None:
        seen.append(name)
        if seen.count("stage2") == 9:  # six epochs of fold 0, three of fold 1
            raise Killed

    with pytest.raises(Killed):
        cross_validate(made.manifest, made.store.root, SETTINGS, tmp_path / "cv", 3, on_epoch=kill)
    finished = (tmp_path / "cv/folds/0/model/config.json").stat().st_mtime_ns
    again = cross_validate(made.manifest, made.store.root, SETTINGS, tmp_path / "cv", 3, workers=2)
    assert (tmp_path / "cv/folds/0/model/config.json").stat().st_mtime_ns == finished
    names = [name for name in again.table.column_names if name.startswith("predicted")]
    for name in names:
        np.testing.assert_allclose(again.table[name].to_numpy(), made.result.table[name].to_numpy(), atol=1e-4)
    with pytest.raises(ModelError, match=r"cv/folds/0: holds a run with other settings"):
        cross_validate(made.manifest, made.store.root, SETTINGS, tmp_path / "cv", 2)


def people(manifest: Manifest, count: int | None) -> Manifest:
    who = (lambda i: f"p{i % count}") if count else (lambda _: None)
    clips = tuple(replace(clip, participant=who(i), split="train") for i, clip in enumerate(manifest.clips[:40]))
    return replace(manifest, clips=clips)


def test_too_few_people_are_refused_in_one_line_before_anything_is_written(made: Made, tmp_path: Path) -> None:
    for count, folds, message in (
        (4, 5, r"clips\.csv: 4 participants, but 5 folds; .* at most 4 with --folds"),
        (2, 2, r"clips\.csv: fold 0 leaves 1 of 2 participants for training, and at least 2 are needed"),
        (None, 41, r"clips\.csv: 40 rated clips, but 41 folds"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            cross_validate(people(made.manifest, count), made.store.root, SETTINGS, tmp_path / "cv", folds)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="at least 2"):
        mien.cross_validate(made.manifest, made.store, tmp_path / "cv", SETTINGS, folds=1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "results.json").write_text("{}")
    with pytest.raises(OutputError, match=r"holds results\.json, but no cross-validation"):
        mien.cross_validate(made.manifest, made.store, tmp_path / "other", SETTINGS, progress=False)
    assert not (tmp_path / "cv").exists()


def test_five_people_get_no_interval_and_unknown_ones_a_warning(made: Made, tmp_path: Path) -> None:
    once = ["seeds=[0]", "stage1.epochs=1", "stage1.motion_epochs=1", "stage2.epochs=1"]
    quick = read_settings(overrides=[*QUICK, *once, "train.refit=true", "train.select=inner"])
    five = cross_validate(people(made.manifest, 5), made.store.root, quick, tmp_path / "five", 2)
    assert np.isnan(five.mean_r.low) and five.people == 5
    assert any("no interval and no p" in note for note in five.notes)
    assert "train.refit is left out: every fold is scored by its model before a refit" in five.notes
    unknown = cross_validate(people(made.manifest, None), made.store.root, quick, tmp_path / "unknown", 2)
    assert (unknown.people, unknown.resampled, unknown.folds[0].people) == (None, "clips", None)
    assert any("participants are unknown, so one person may be in both" in note for note in unknown.notes)


def test_the_command_prints_pooled_r_with_its_interval_and_r_of_each_fold(made: Made, tmp_path: Path) -> None:
    clips = [clip for clip in made.manifest.clips if clip.split != "test"][:80]
    header = ",".join(["id,path,participant", *made.manifest.targets])
    rows = [",".join([c.id, str(c.path), c.participant or "", *map(str, c.labels or ())]) for c in clips]
    (tmp_path / "clips.csv").write_text("\n".join([header, *rows]))
    quick = ["seeds=[0]", "stage1.epochs=1", "stage1.motion_epochs=1", "stage2.epochs=1"]
    words = ["cross-validate", str(tmp_path / "clips.csv"), "--features", str(made.store.root), "--folds", "2",
             "--out", str(tmp_path / "cv"), "-q"]  # fmt: skip
    words += [word for override in (*QUICK, *quick) for word in ("--set", override)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "pooled over 2 folds" in said and " to " in said and "mean" in said
    assert f"{tmp_path / 'cv'}: predictions.parquet, predictions.csv and results.json written" in done.output.replace(
        "\n", ""
    )
    assert "80" in said and "20" in said
    refused = CliRunner().invoke(app, [*words[:5], "99", *words[6:]])
    assert isinstance(refused.exception, DataError) and "20 participants, but 99 folds" in str(refused.exception)
