"""A learning curve: draws are repetitions, all clips are one draw, and encoders from other runs are part of the key."""

import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from mien.config import Settings, read_settings
from mien.errors import DataError, SettingsError
from mien.reporting.study_files import write_study_files
from mien.schema import Manifest
from mien.storage.files import key_of, read_json
from mien.study import run_study
from mien.study.cells import StudyContext, plan_work
from mien.study.learning_curve import learning_curve
from mien.study.plan import Plan, read_study
from mien.study.tune import Search, read_space
from mien.training.train import train
from tests.training.planted import planted

SIZES = """
settings:
  modalities: [text, motion]
  stage1.embedding: 16
  stage1.motion_embedding: 8
  stage1.epochs: 4
  stage1.motion_epochs: 4
  stage2.hidden: 16
  stage2.epochs: 4
  train.select: inner
seeds: 2
axes:
  encoders:
    own: {}
    theirs: {stage1.text: {from: WORDS, use: kept}}
  split.train_clips: [60, null]
  split.train_clips_seed: [0, 1, 2]
"""


class World:
    def __init__(self, root: Path) -> None:
        manifest, store = planted(root / "store", train=260, valid=60)
        self.store = store.root
        self.words = Manifest(Path("words.csv"), manifest.targets, manifest.clips[:160])
        sides = [replace(clip, split="train" if i < 120 else "valid") for i, clip in enumerate(self.words.clips)]
        self.words = replace(self.words, clips=tuple(sides))
        self.here = Manifest(Path("here.csv"), manifest.targets, manifest.clips[160:])
        quick = ["seeds=[5,6]", "modalities=[text]", "stage1.embedding=16", "stage2.hidden=16", "stage1.epochs=10"]
        train(self.words, store, read_settings(overrides=[*quick, "stage2.epochs=1"]), root / "words")
        (root / "sizes.yaml").write_text(SIZES.replace("WORDS", str(root / "words")))
        self.root, self.plan = root, read_study(root / "sizes.yaml")
        self.results, self.failed, _ = run_study(self.plan, self.here, self.store, root / "out")
        self.report = write_study_files(root / "out")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("curve"))


def test_every_size_is_drawn_and_all_clips_are_trained_once(world: World) -> None:
    assert not world.failed
    points = {(p.series, p.clips): p for p in learning_curve(world.results)}
    assert {place: p.draws for place, p in points.items()} == {
        (series, n): draws for series in ("own", "theirs") for n, draws in ((60, 3), (100, 1))
    }
    assert points["own", 60].people == 15  # four clips each
    assert len(list((world.root / "out" / "cells").iterdir())) == 2 * (3 + 1)
    encoders, batches = plan_work(StudyContext(world.here, world.store, world.root / "fresh"), world.plan.cells)
    assert sum(len(batch.cells) for batch in batches) == 8
    assert len(encoders) == 2 * 2 * 4 - 4  # text twice, and motion, which both curves share


def test_r_and_differences_are_over_draws(world: World) -> None:
    points = {(p.series, p.clips): p for p in learning_curve(world.results)}
    r = {"own": [], "theirs": []}
    for outcome in world.results.outcomes:
        if outcome.trained_on == 60:
            r[outcome.cell.labels[0][1]].append(outcome.mean_r.mean())
    own, theirs = (np.array(r[series]) for series in ("own", "theirs"))
    assert points["own", 60].r.value == pytest.approx(own.mean())
    half = 4.302653 * own.std(ddof=1) / math.sqrt(3)  # Student's t with 2 degrees of freedom, 97.5 %
    assert points["own", 60].r.low == pytest.approx(own.mean() - half)
    apart = theirs - own
    difference = points["theirs", 60].difference
    assert difference is not None and points["own", 60].difference is None
    assert difference.value == pytest.approx(apart.mean())
    assert difference.high == pytest.approx(apart.mean() + 4.302653 * apart.std(ddof=1) / math.sqrt(3))
    assert math.isnan(points["own", 100].r.low)


def test_draws_are_no_question_and_the_curve_is_in_the_report(world: World) -> None:
    assert set(world.results.steps) == {"encoders", "split.train_clips"}
    steps = world.results.steps["split.train_clips"]
    assert all(np.isfinite(d.clips.value) for d in steps)  # the same validation clips, whatever the draw
    out = world.root / "out"
    assert "− own, draws" in (out / "curve.csv").read_text().splitlines()[0]
    words = "".join(ElementTree.parse(out / "curve.svg").getroot().itertext())
    assert "training clips" in words and "100" in words and "clips of" in words
    assert "![Mean r against the number of training clips" in world.report.read_text()
    assert read_json(out / "study.json")["pictures"][1]["file"] == "curve.svg"


def test_keys_know_the_encoder_by_its_bytes_and_old_cells_keep_theirs(world: World, tmp_path: Path) -> None:
    context = StudyContext(world.here, world.store, tmp_path)
    plain = next(cell for cell in world.plan.cells if cell.labels[0][1] == "own" and cell.labels[1][1] == "all")
    settings = plain.settings.model_dump(mode="json", include={"modalities", "batch_seed", "split", "stage1"})
    assert {"text", "audio", "vision", "motion"} < set(settings["stage1"])
    for name in ("text", "audio", "vision", "motion", "contrastive", "centered"):  # what an older version did not have
        del settings["stage1"][name]
    for name in ("train_clips", "train_clips_seed"):
        del settings["split"][name]
    stage2 = plain.settings.stage2.model_dump(mode="json", exclude={"triplet"})
    more = ({"inner_ratio": 4}, {"text": "all"}, {"layers start at": "ridge"})
    before = key_of(1, "train", settings, stage2, [0, 1], *context.fingerprints, *more)
    assert context.folder(plain).name == before
    theirs = next(cell for cell in world.plan.cells if cell.labels[0][1] == "theirs" and cell.labels[1][1] == "all")
    moved = tmp_path / "moved"
    (world.root / "words").rename(moved)
    try:
        source = theirs.settings.stage1.text.model_copy(update={"run": str(moved)})
        stage1 = theirs.settings.stage1.model_copy(update={"text": source})
        again = replace(theirs, settings=theirs.settings.model_copy(update={"stage1": stage1}))
        assert context.folder(again).name == StudyContext(world.here, world.store, tmp_path).folder(again).name
        assert (world.root / "out" / "cells" / context.folder(again).name).exists()
        with pytest.raises(SettingsError, match="no such folder"):
            StudyContext(world.here, world.store, tmp_path).folder(theirs)
    finally:
        moved.rename(world.root / "words")


def test_a_study_refuses_an_encoder_that_was_trained_on_its_validation_clips(world: World, tmp_path: Path) -> None:
    clips = tuple(replace(clip, split="valid") for clip in world.words.clips[100:])
    here = Manifest(Path("words.csv"), world.here.targets, (*world.here.clips, *clips))
    few = tuple(cell for cell in world.plan.cells if cell.labels[0][1] == "theirs")[:1]
    plan: Plan = replace(world.plan, cells=few, reference=few[0])
    with pytest.raises(DataError, match=r"was trained on 20 of the 120 validation clips, first 00100"):
        run_study(plan, here, world.store, tmp_path)


def test_a_search_reads_an_encoder_from_another_run(world: World, tmp_path: Path) -> None:
    space = (
        f"settings: {{modalities: [text], stage1.epochs: 2, stage2.epochs: 2, stage1.embedding: 16, stage2.hidden: 16, "
        f"stage1.text.from: {world.root / 'words'}}}\nseeds: 1\ntrials: 2\nfolds: 3\n"
        "space: {stage1.text.use: [kept, start]}\n"
    )
    (tmp_path / "space.yaml").write_text(space)
    search = Search(read_space(tmp_path / "space.yaml"), world.here, world.store, tmp_path / "out")
    assert all(trial.r is not None for trial in search)
    recipe: Settings = read_settings(search.finish())
    assert recipe.stage1.text.run == str(world.root / "words")


def test_clips_that_are_too_few_to_train_on_fail_alone(world: World, tmp_path: Path) -> None:
    (tmp_path / "few.yaml").write_text(
        SIZES.replace("WORDS", str(world.root / "words")).replace("[60, null]", "[1, null]").replace("[0, 1, 2]", "[0]")
    )
    results, failed, _ = run_study(read_study(tmp_path / "few.yaml"), world.here, world.store, tmp_path / "out")
    assert any("needs at least 2 participants, but there is 1" in reason for reason in failed), failed
    labels = [dict(one.cell.labels)["split.train_clips"] for one in results.outcomes if not one.failed]
    assert labels == ["all", "all"]
