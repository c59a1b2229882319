"""A search uses the training clips only, can be resumed, and writes a recipe with its record."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mien.cli import app
from mien.config import SplitSettings, read_settings
from mien.data.splits import split_clips
from mien.errors import DataError, SettingsError
from mien.reporting.study_files import write_study_files
from mien.schema import Manifest
from mien.storage.files import read_json
from mien.study import run_study
from mien.study.plan import read_study
from mien.study.tune import Search, how_chosen, read_space
from tests.study.test_study import REGIMES, SMALL
from tests.training.planted import planted

SPACE = """
settings:
  stage1.embedding: 16
  stage1.motion_embedding: 8
  stage1.epochs: 3
  stage1.motion_epochs: 3
  stage2.hidden: 8
  stage2.epochs: 3
  stage2.adaptation: frozen
seeds: 2
trials: 3
folds: 3
space:
  stage2.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
  stage2.missing: [zero, token]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Path]:
    root = tmp_path_factory.mktemp("data") / "store"
    return planted(root, train=120, valid=40)[0], root


def written(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "space.yaml").write_text(text)
    return folder / "space.yaml"


def search(folder: Path, data: tuple[Manifest, Path], text: str = SPACE) -> Search:
    return Search(read_space(written(folder, text)), *data, folder / "out")


def test_a_search_is_resumed_and_finds_the_best(data: tuple[Manifest, Path], tmp_path: Path) -> None:
    first = search(tmp_path, data)
    begun = [next(trial) for trial in [iter(first)]]
    again = search(tmp_path, data)
    trials = list(again)
    assert trials[0] == begun[0]
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert again.best is not None
    assert again.best.r == max(trial.r or -1 for trial in trials)
    found = read_settings(again.finish())
    assert found.stage2.lr == pytest.approx(again.best.chosen["stage2.lr"])
    record = read_json(tmp_path / "out" / "tuning.json")
    assert (record["trials"], record["failed"]) == (3, 0)
    assert len((tmp_path / "out" / "trials.csv").read_text().splitlines()) == 1 + 3


def test_a_search_does_not_depend_on_the_validation_clips(data: tuple[Manifest, Path], tmp_path: Path) -> None:
    manifest, store = data
    spoiled = tuple(
        replace(clip, labels=(0.5, *(clip.labels or ())[1:])) if clip.split == "valid" else clip
        for clip in manifest.clips
    )
    one, other = search(tmp_path / "a", data), search(tmp_path / "b", (replace(manifest, clips=spoiled), store))
    assert next(iter(one)).r == next(iter(other)).r


@pytest.mark.parametrize(("kind", "divided"), [("ratio", True), ("kfold", True), ("ratio", False)])
def test_a_search_on_a_split_that_is_drawn_does_not_use_its_validation_clips(
    data: tuple[Manifest, Path], tmp_path: Path, kind: str, divided: bool
) -> None:
    """The recipe keeps that split, so it is that of the final evaluation; the clips need no split of their own."""
    manifest, store = data
    text = SPACE.replace("settings:", f"settings:\n  split.kind: {kind}\n  split.seed: 3")
    if not divided:
        manifest = replace(manifest, clips=tuple(replace(clip, split=None) for clip in manifest.clips))
    split = read_space(written(tmp_path, text)).split
    valid = {clip.id for clip in split_clips(manifest, split).valid}
    spoiled = tuple(
        replace(clip, labels=(0.5, *(clip.labels or ())[1:])) if clip.id in valid else clip for clip in manifest.clips
    )
    one = search(tmp_path / "a", (manifest, store), text)
    other = search(tmp_path / "b", (replace(manifest, clips=spoiled), store), text)
    assert next(iter(one)).r == next(iter(other)).r is not None
    assert read_settings(list(one) and one.finish()).split == split


def test_a_search_on_an_official_split_needs_training_clips(data: tuple[Manifest, Path], tmp_path: Path) -> None:
    manifest, store = data
    undivided = replace(manifest, clips=tuple(replace(clip, split=None) for clip in manifest.clips))
    with pytest.raises(DataError, match=r"no clip of split 'train'; name one so, or set split\.kind=ratio"):
        next(iter(search(tmp_path / "a", (undivided, store))))
    alone = replace(manifest, clips=tuple(clip for clip in manifest.clips if clip.split == "train"))
    assert next(iter(search(tmp_path / "b", (alone, store)))).r is not None


def test_a_study_on_a_tuned_recipe_reports_the_number_of_trials(data: tuple[Manifest, Path], tmp_path: Path) -> None:
    made = search(tmp_path, data)
    recipe = list(made) and made.finish()
    manifest, _ = data
    official = split_clips(manifest, SplitSettings())
    described = how_chosen(recipe, official)
    assert "the best of 3 trials (0 failed, 2 seeds each) over stage2.lr, stage2.missing" in described
    assert "the validation clips were not used" in described
    assert how_chosen(None, official) == "They are the defaults of this version."
    drawn = split_clips(manifest, SplitSettings(kind="ratio"))  # four fifths of its validation clips were searched on
    used = sum(clip.split == "train" for clip in drawn.valid)
    assert f"among them {used} of the {len(drawn.valid)} validation clips of this study" in how_chosen(recipe, drawn)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("space: {stage2.lrr: [1.0]}", "did you mean 'lr'"),
        ("space: {stage2.lr: {low: 2.0, high: 1.0}}", "low < high"),
        ("space: {stage2.dropout: {low: 0.2, high: 1.5}}", "stage2.dropout"),
        ("space: {}", "space"),
        ("seeds: 2", "space: Field required"),
    ],
)
def test_a_mistake_in_the_space_is_reported_before_the_search(tmp_path: Path, space: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_space(written(tmp_path, space))


def test_a_folder_of_another_search_is_refused(data: tuple[Manifest, Path], tmp_path: Path) -> None:
    next(iter(search(tmp_path, data)))
    other = search(tmp_path, data, SPACE.replace("[zero, token]", "[token, zero]"))
    with pytest.raises(SettingsError, match="another space or other data"):
        next(iter(other))


def test_results_of_other_ratings_people_or_features_are_not_continued(
    data: tuple[Manifest, Path], tmp_path: Path
) -> None:
    manifest, store = data
    first = next(iter(search(tmp_path, data)))
    clips = manifest.clips
    permuted = [replace(clip, labels=other.labels) for clip, other in zip(clips, reversed(clips), strict=True)]
    alone = [replace(clip, participant=clip.id) for clip in clips]
    moved = [replace(clip, split="valid") if n < 20 else clip for n, clip in enumerate(clips)]
    others = [replace(manifest, clips=tuple(changed)) for changed in (permuted, alone, moved)]
    features = planted(tmp_path / "store", train=120, valid=40, missing=0.5)[1].root
    for changed, where in [*((one, store) for one in others), (manifest, features)]:
        with pytest.raises(SettingsError, match="another space or other data"):
            next(iter(search(tmp_path, (changed, where))))
    unrated = [replace(clip, labels=None) if clip.split == "valid" else clip for clip in clips]
    assert next(iter(search(tmp_path, (replace(manifest, clips=tuple(unrated)), store)))) == first


def test_a_failed_trial_is_reported_and_the_others_continue(data: tuple[Manifest, Path], tmp_path: Path) -> None:
    text = SPACE.replace("stage2.adaptation: frozen", "stage2.adaptation: encoder").split("space:")[0]
    made = search(tmp_path, data, text + "space: {stage2.head: [recurrent, concat]}")
    trials = list(made)
    assert {bool(trial.reason) for trial in trials if trial.chosen["stage2.head"] == "recurrent"} <= {True}
    assert all(trial.r is not None for trial in trials if trial.chosen["stage2.head"] == "concat")


def test_the_search_of_the_repository_is_read_and_the_command_has_help() -> None:
    root = Path(__file__).resolve().parents[2]
    assert read_space(root / "studies" / "search" / "fusion.yaml").file.trials == 30
    assert CliRunner().invoke(app, ["tune", "--help"]).exit_code == 0


def test_a_ray_is_varied_at_the_reference_only_and_reviewer_questions_are_answered(
    data: tuple[Manifest, Path], tmp_path: Path
) -> None:
    regimes = REGIMES.replace("    mean: {method: unimodal_mean}\n", "    frozen: {stage2.adaptation: frozen}\n")
    rays = "\nrays: {modality dropout: {with: {}, without: {stage2.modality_dropout: 0.0}}}"
    (tmp_path / "study.yaml").write_text(SMALL + regimes + rays)
    plan = read_study(tmp_path / "study.yaml")
    assert len(plan.cells) == 4 * 3 + 1
    assert plan.reference.name == "adapted · text+audio+vision+motion"
    assert plan.cells[-1].name == "adapted · text+audio+vision+motion · without"
    run_study(plan, *data, tmp_path / "out")
    write_study_files(tmp_path / "out")
    report = read_json(tmp_path / "out" / "study.json")
    answers = {row["question"]: row["answer"] for row in report["referee"]}
    assert len(answers) == 7
    assert not any("Not part of" in answer for answer in answers.values())
    assert answers["Two stages, or joint training from scratch?"].startswith("joint instead of adapted:")
    assert "Over 3 pairs" in answers["Adapted encoders, or frozen ones with only the regressor trained?"]
    assert answers["Does modality dropout help?"].startswith("without instead of with:")
    assert "120 clips for training, 40 for validation, none on both sides" in answers["Which split, exactly?"]
    assert read_json(tmp_path / "out" / "split.json")["clips_on_both_sides"] == 0
    assert report["format"] == "mien-study"
    for picture in report["pictures"]:
        assert (tmp_path / "out" / picture["file"]).is_file()
