"""Trials of every cell of a study: as many for each, the same for all, and none sees the validation clips."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.data.splits import split_clips
from mien.errors import SettingsError
from mien.reporting.study_files import write_study_files
from mien.schema import Manifest
from mien.study.cells import StudyContext
from mien.study.plan import Plan
from mien.study.space import Range, drawn
from mien.study.study import estimate, run_study
from mien.study.trials import cells_by_context, trials_of
from tests.study.test_study import study
from tests.training.planted import planted

AXES = """
axes:
  regime:
    with: {stage2.modality_dropout: 0.3}
    without: {stage2.modality_dropout: 0.0}
    ridge: {method: ridge}
"""
TUNE = """
tune:
  trials: 4
  space:
    stage2.lr: {low: 1.0e-3, high: 1.0e-2, log: true}
    stage2.hidden: [8, 16]
"""
SLOW = "\nbase: slow.yaml\n"


def tuned(folder: Path, more: str = TUNE, split: str = "") -> Plan:
    """Cells that hardly learn as they are, so that any other trial is better."""
    folder.mkdir(parents=True)
    (folder / "slow.yaml").write_text(f"stage2: {{lr: 1.0e-9}}\n{split}")
    return study(folder, AXES, SLOW + more)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "trials.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Path]:
    root = tmp_path_factory.mktemp("data") / "store"
    return planted(root, train=160, valid=80)[0], root


def test_every_cell_has_the_same_trials_and_is_trained_as_the_best(data: tuple[Manifest, Path], tmp_path: Path) -> None:
    plan, out = tuned(tmp_path / "file"), tmp_path / "out"
    before = estimate(plan, *data, out)
    assert (before.cells, before.trials) == (3, 2 * 4)  # a ridge has none
    results, failed, _ = run_study(plan, *data, out)
    assert not failed
    table = rows(out)
    names = ("with", "without")
    assert [(row["configuration"], row["trial"]) for row in table] == [(c, str(n)) for c in names for n in range(4)]
    tried = [[(row["stage2.lr"], row["stage2.hidden"]) for row in table if row["configuration"] == c] for c in names]
    assert tried[0] == tried[1] and tried[0][0] == ("", "") and len(set(tried[0])) == 4
    for name in names:
        (chosen,) = (row for row in table if row["configuration"] == name and row["chosen"] == "1")
        assert float(chosen["r"]) == max(float(row["r"]) for row in table if row["configuration"] == name)
        assert chosen["trial"] != "0"
        settings = next(o.cell.settings for o in results.outcomes if o.cell.name == name)
        assert settings.stage2.lr == float(chosen["stage2.lr"]) and len(settings.seeds) == 3
        assert settings.split.kind == plan.reference.settings.split.kind
    write_study_files(out)
    assert "had 4 trials of stage2.lr, stage2.hidden, the same for all" in (out / "report.md").read_text()
    after = estimate(plan, *data, out)
    assert before.trainings > 0 == after.trainings and after.done == 3  # nothing is trained twice


@pytest.mark.parametrize("split", ["", "split: {kind: ratio}"], ids=["official", "ratio"])
def test_validation_clips_choose_no_trial(data: tuple[Manifest, Path], tmp_path: Path, split: str) -> None:
    manifest, store = data
    draw = np.random.default_rng(0)
    plan = tuned(tmp_path / "a", split=split)
    valid = {clip.id for clip in split_clips(manifest, plan.reference.settings.split).valid}
    other = [replace(clip, labels=tuple(draw.random(len(manifest.targets)))) if clip.id in valid else clip
             for clip in manifest.clips]  # fmt: skip
    run_study(plan, manifest, store, tmp_path / "one")
    run_study(plan, replace(manifest, clips=tuple(other)), store, tmp_path / "two")
    assert rows(tmp_path / "one") == rows(tmp_path / "two")


def test_each_cell_has_the_trials_of_the_training_clips_of_its_own_split(
    data: tuple[Manifest, Path], tmp_path: Path
) -> None:
    manifest, store = data
    axes = "\naxes: {split: {official: {}, ratio: {split.kind: ratio}, third: {split.kind: kfold, split.fold: 2}}}"
    plan = study(tmp_path / "file", axes, TUNE)
    context = StudyContext(manifest, store, tmp_path / "out")
    trials = trials_of(plan, context)
    assert len(trials) == 3 * 4
    for trial in trials:
        split, used = context.split(trial.of.settings), trial.context.split(trial.cell.settings)
        assert {clip.id for clip in (*used.train, *used.valid)} == {clip.id for clip in split.train}
    assert [len(cells) for _, cells in cells_by_context(trials)] == [4, 4, 4]
    _, failed, _ = run_study(plan, manifest, store, tmp_path / "out")
    assert not failed
    assert all(float(row["r"]) > 0 for row in rows(tmp_path / "out"))


def test_draws_of_the_training_clips_have_the_trials_of_one_split(data: tuple[Manifest, Path], tmp_path: Path) -> None:
    axes = "\naxes: {split.train_clips: [40, 80, null], split.train_clips_seed: [0, 1]}"
    trials = trials_of(study(tmp_path / "file", axes, TUNE), StudyContext(*data, tmp_path / "out"))
    ((inner, cells),) = cells_by_context(trials)
    assert len(cells) == 6 * 4 and len(inner.manifest.clips) == 160
    assert {len(inner.split(cell.settings).train) for cell in cells} == {40, 80, 128}  # of four fifths of the clips


def test_trials_may_not_undo_an_axis_and_must_be_allowed(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"tune\.space\.stage2.modality_dropout: is what an axis varies"):
        tuned(tmp_path / "a", "\ntune: {trials: 2, space: {stage2.modality_dropout: [0.1]}}")
    with pytest.raises(SettingsError, match="hiden: no such setting"):
        tuned(tmp_path / "b", "\ntune: {trials: 2, space: {stage2.hiden: [8]}}")
    with pytest.raises(SettingsError, match="greater than or equal to 2"):
        tuned(tmp_path / "c", "\ntune: {trials: 1, space: {stage2.hidden: [8]}}")


def test_draws_fill_their_range_evenly_on_its_scale() -> None:
    draw = np.random.default_rng(0)
    found = [float(drawn(Range(low=1e-4, high=1e-2, log=True), draw)) for _ in range(2000)]
    assert min(found) >= 1e-4 and max(found) <= 1e-2
    assert np.mean(np.array(found) < 1e-3) == pytest.approx(0.5, abs=0.04)
    assert {drawn(Range(low=1, high=3, whole=True), draw) for _ in range(50)} == {1, 2, 3}
    assert {drawn(["a", 2], draw) for _ in range(50)} == {"a", 2}
