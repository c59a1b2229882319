"""Encoders from other runs: kept, adapted or a start; checked, without leaks, and independent of the other run."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mien.config import Settings, read_settings
from mien.data.source_clips import SourceClips, name_keys
from mien.errors import DataError, ModelError, SettingsError
from mien.evaluation.evaluate import evaluate
from mien.evaluation.seen_clips import select_clips
from mien.features.store import Store
from mien.model.licences import licences_of
from mien.model.model_folder import load_bundle
from mien.model.network import Multimodal, Unimodal
from mien.schema import Manifest
from mien.storage.checksums import read_sums, write_sums
from mien.training.cross_validation import cross_validate
from mien.training.train import train
from tests.training.planted import planted

QUICK = [
    *(
        "seeds=[0,1,2]",
        "modalities=[text,motion]",
        "stage1.embedding=16",
        "stage1.motion_embedding=8",
        "stage1.epochs=3",
    ),
    *("stage1.motion_epochs=3", "stage2.epochs=3", "stage2.hidden=16", "compute.precision=float32"),
]
FROM_TEXT = "stage1.text.from={}"


def part_of(manifest: Manifest, first: int, last: int, name: str, targets: tuple[int, ...]) -> Manifest:
    """Some clips as a data set of their own, with some of the targets; the last quarter is for validation."""
    clips = manifest.clips[first:last]
    made = tuple(
        replace(
            clip,
            split="valid" if i >= 0.75 * len(clips) else "train",
            labels=None if clip.labels is None else tuple(clip.labels[e] for e in targets),
        )
        for i, clip in enumerate(clips)
    )
    return Manifest(Path(name), tuple(manifest.targets[e] for e in targets), made)


class World:
    """A run on other clips and other targets, with two models, and the clips of a new run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.all, self.store = planted(root / "store", train=240, valid=80)
        self.elsewhere = part_of(self.all, 0, 160, "words.csv", (5, 1, 0))
        self.here = part_of(self.all, 160, 320, "clips.csv", (0, 1, 2, 3, 4, 5))
        source = read_settings(overrides=[*QUICK, "seeds=[7,8]", "modalities=[text]"])
        train(self.elsewhere, self.store, source, root / "words")

    def settings(self, *more: str, use: str = "kept") -> Settings:
        source = [FROM_TEXT.format(self.root / "words"), f"stage1.text.use={use}"]
        return read_settings(overrides=[*QUICK, *source, *more])

    def run(self, out: str, *more: str, use: str = "kept", lines: list[str] | None = None) -> Path:
        log = None if lines is None else lines.append
        train(self.here, self.store, self.settings(*more, use=use), self.root / out, log)
        return self.root / out


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def kept(world: World) -> Path:
    return world.run("kept")


def encoder(folder: Path, modality: str = "text") -> dict[str, torch.Tensor]:
    module = load_bundle(folder).module
    assert isinstance(module, Unimodal | Multimodal)
    part = module.encoder if isinstance(module, Unimodal) else module.encoder(modality)
    return dict(part.state_dict())


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Root mean square difference of the weights of models 0 and 1."""
    off = torch.cat([(one[name][:2] - other[name][:2]).flatten() for name in one])
    return float(off.square().mean().sqrt())


def test_a_kept_encoder_is_the_same_in_both_stages_and_only_its_head_learns(world: World, kept: Path) -> None:
    theirs = encoder(world.root / "words" / "stage1" / "text")
    for ours in (encoder(kept / "stage1" / "text"), encoder(kept)):
        for name, values in ours.items():
            assert values.shape[0] == 3
            for k in range(3):  # model k from model k modulo 2
                assert torch.equal(values[k], theirs[name][k % 2]), name
    bundle = load_bundle(kept / "stage1" / "text")
    assert isinstance(bundle.module, Unimodal)
    assert bundle.module.head.linear.weight.shape == (3, 16, 6)  # of the new targets
    untrained = Unimodal("text", 24, 6, world.settings().stage1, bundle.models).head.linear.weight
    moved = (bundle.module.head.linear.weight - untrained).abs().mean((1, 2))
    assert bool((moved > 1e-4).all())


def test_adapted_moves_slowly_and_start_moves_freely(world: World) -> None:
    theirs = encoder(world.root / "words" / "stage1" / "text")
    moved = {}
    for use, more in (("adapted", ["stage1.text.rate=0.01"]), ("start", [])):
        run = world.run(use, *more, use=use)
        moved[use] = distance(encoder(run / "stage1" / "text"), theirs), distance(encoder(run), theirs)
    # AdamW moves each weight by about its rate per step, so at a hundredth of the rate about a hundredth as far.
    assert 0.003 < moved["adapted"][0] / moved["start"][0] < 0.1
    assert moved["adapted"][1] > moved["adapted"][0] > 0  # stage 2 adapts it further, at no more than its rate
    scratch = encoder(world.run("scratch", "stage1.text.from=null") / "stage1" / "text")
    assert distance(scratch, theirs) > 5 * moved["start"][0]


def test_joint_training_starts_from_them_too(world: World) -> None:
    run = world.run("joint", "stage2.adaptation=joint")
    assert distance(encoder(run), encoder(world.root / "words" / "stage1" / "text")) == 0
    assert not (run / "stage1").exists()


def test_the_run_says_where_its_encoder_comes_from(world: World, kept: Path) -> None:
    lines: list[str] = []
    world.run("kept", lines=lines)  # finished: it trains nothing again, and says its notes again
    assert "text encoder of words: has 2 models for 3, so that some start from the same one" in lines
    bundle = load_bundle(kept)
    origin = bundle.provenance["encoders"]["text"]
    assert (origin["run"], origin["part"], origin["use"], origin["models"]) == ("words", "stage1", "kept", 2)
    assert origin["data"] == "words.csv" and list(origin["targets"]) == ["Joy", "Amusement", "Admiration"]
    said = f"text: encoder of words, trained on {origin['trained_on']} for Joy, Amusement, Admiration; kept as it was"
    assert said in (kept / "model" / "README.md").read_text()
    record = json.loads((kept / "model" / "licences.json").read_text())
    assert record["encoders"]["text"]["sha256"] == origin["sha256"]
    assert any("was first trained on words.csv (words)" in line for line in record["follows"])
    assert "encoders" not in load_bundle(kept / "stage1" / "motion").provenance


def test_the_run_needs_the_other_no_longer(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.root / "words", tmp_path / "words")
    settings = read_settings(
        overrides=[*QUICK, FROM_TEXT.format(tmp_path / "words"), "train.select=inner", "train.refit=true"]
    )

    def killed(name: str, epoch: Any) -> None:
        if name == "stage1 motion":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(world.here, world.store, settings, tmp_path / "run", on_epoch=killed)
    shutil.rmtree(tmp_path / "words")
    train(world.here, world.store, settings, tmp_path / "run")
    whole = world.settings("train.select=inner", "train.refit=true")
    train(world.here, world.store, whole, tmp_path / "whole")
    theirs = encoder(world.root / "words" / "stage1" / "text")
    continued, uninterrupted = encoder(tmp_path / "run"), encoder(tmp_path / "whole")
    assert all(torch.equal(continued[name], uninterrupted[name]) for name in continued)
    assert all(torch.equal(values, theirs[name][[0, 1, 0]]) for name, values in continued.items())  # after a refit too


def test_another_encoder_under_the_same_name_is_noticed(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.root / "words", tmp_path / "words")
    settings = read_settings(overrides=[*QUICK, FROM_TEXT.format(tmp_path / "words")])
    train(world.here, world.store, settings, tmp_path / "run")
    shutil.rmtree(tmp_path / "words")
    again = read_settings(overrides=[*QUICK, "seeds=[9]", "modalities=[text]"])
    train(world.elsewhere, world.store, again, tmp_path / "words")
    with pytest.raises(ModelError, match=r"begun with another text encoder of .*words, which has changed since"):
        train(world.here, world.store, settings, tmp_path / "run")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stage1.text.from=nowhere", r"stage1.text.from: nowhere: no such folder \(from .*\); expected a run"),
        ("stage1.text.from={root}", "holds no run and no model; expected a run of mien train, or a model"),
        ("stage1.motion.from={root}/words", r"stage1.motion.from: .*words: has no motion encoder, but one of text"),
        ("stage1.embedding=24", "its text embedding is 16 wide, but that of this run 24; set stage1.embedding=16"),
        ("stage2.head=recurrent", "no encoders below it"),
    ],
)
def test_what_does_not_fit_is_one_line(world: World, tmp_path: Path, override: str, message: str) -> None:
    more = [override.format(root=world.root)]
    more += ["stage2.adaptation=joint"] if "head" in override else []
    with pytest.raises(SettingsError, match=message) as caught:
        train(world.here, world.store, world.settings(*more), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_features_of_another_backbone_are_refused(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "words" / "stage1" / "text" / "model"
    shutil.copytree(world.root / "words", tmp_path / "words")
    config = json.loads((folder / "config.json").read_text())
    config["feature_provenance"]["text"] = "gte-base float32 v3"
    (folder / "config.json").write_text(json.dumps(config))
    write_sums(folder, *read_sums(folder))
    with pytest.raises(
        SettingsError, match=r"its text features were made by gte-base float32 v3, but those in .*store"
    ):
        train(world.here, world.store, world.settings(FROM_TEXT.format(tmp_path / "words")), tmp_path / "run")


def test_an_encoder_that_was_trained_on_the_validation_clips_is_refused(world: World, tmp_path: Path) -> None:
    overlapping = part_of(world.all, 0, 320, "words.csv", (0, 1, 2, 3, 4, 5))  # its training clips: the first 240
    assert [clip.split for clip in overlapping.clips].count("train") == 240
    here = replace(part_of(world.all, 120, 240, "words.csv", (0, 1, 2, 3, 4, 5)))
    source = read_settings(overrides=[*QUICK, "modalities=[text]"])
    train(overlapping, world.store, source, tmp_path / "words")
    settings = read_settings(overrides=[*QUICK, FROM_TEXT.format(tmp_path / "words")])
    with pytest.raises(DataError, match=r"was trained on 30 of the 30 validation clips, first 00210, so r would mean"):
        train(here, world.store, settings, tmp_path / "run")
    with pytest.raises(DataError, match=r"was trained on \d+ of the"):  # whichever fold it is
        cross_validate(here, world.store.root, settings, tmp_path / "cv", folds=3)
    # The same participants under other clips' names: said, with a count.
    lines: list[str] = []
    renamed = part_of(world.all, 241, 301, "clips.csv", (0, 1, 2, 3, 4, 5))
    train(renamed, world.store, settings, tmp_path / "run", lines.append)
    assert not [line for line in lines if "participants of the validation clips" in line]
    names = {clip.id: f"p{int(clip.id) % 7}" for clip in renamed.clips}
    people = replace(renamed, clips=tuple(replace(clip, participant=names[clip.id]) for clip in renamed.clips))
    train(people, world.store, settings, tmp_path / "people", lines.append)
    assert [line for line in lines if "trained on 7 of the 7 participants of the validation clips, first p0" in line]


def test_clips_that_chose_the_epochs_of_an_encoder_are_counted_under_another_name_of_the_table(
    world: World, tmp_path: Path
) -> None:
    lines: list[str] = []
    renamed = replace(world.elsewhere, source=Path("words_v2.csv"))
    train(renamed, world.store, world.settings(), tmp_path / "run", lines.append)
    assert "text encoder of words: 40 of 40 validation clips chose its epochs; r is slightly too high" in lines
    turned = {"train": "valid", "valid": "train"}
    clips = tuple(replace(clip, split=turned[clip.split or ""]) for clip in renamed.clips)
    train(replace(renamed, clips=clips), world.store, world.settings(), tmp_path / "turned", lines.append)
    assert (
        "text encoder of words: 120 of 120 validation clips, first 00000, have names of clips that it has seen in data "
        "of another name, and no files to compare; it is unknown whether they are the same"
    ) in lines
    found = select_clips(load_bundle(tmp_path / "turned"), world.elsewhere, world.store, "all")
    assert len(found.trained_on) == 120  # 40 of these by the new run as well, which does not know the data


def test_records_of_encoders_of_before_are_read() -> None:
    old = {"data": "words.csv", "train": ["a", "b"], "chose": ["c"], "contents": ["key"], "people": ["p"]}
    made = SourceClips.read(old)
    assert made.train == name_keys(["a", "b"]) and made.chose == name_keys(["c"]) and made.people == name_keys(["p"])
    assert (made.contents, made.chose_contents, made.fingerprint) == ({"key"}, frozenset(), None)
    assert SourceClips.read(json.loads(json.dumps(made.record()))) == made


def test_an_evaluation_counts_the_clips_that_an_encoder_saw_elsewhere(world: World, kept: Path) -> None:
    """`words.csv` was 160 clips, of which 120 trained the text encoder; the new model saw none of them itself."""
    other = part_of(world.all, 0, 160, "words.csv", (0, 1, 2, 3, 4, 5))
    found = select_clips(load_bundle(kept), other, world.store, "all")
    assert len(found.clips) == 160 and len(found.trained_on) == 120
    shown = evaluate(load_bundle(kept), other, world.store, "all", resamples=100)
    assert any(note.startswith("the model was trained on 120 of these 160 clips") for note in shown.notes)
    alone = select_clips(load_bundle(kept / "stage1" / "motion"), other, world.store, "all")
    assert not alone.trained_on  # the motion encoder did not see them


def test_an_encoder_of_an_encoder_keeps_its_history(world: World, kept: Path, tmp_path: Path) -> None:
    here = part_of(world.all, 0, 80, "third.csv", (0, 1, 2, 3, 4, 5))
    settings = read_settings(overrides=[*QUICK, FROM_TEXT.format(kept / "model"), "stage1.text.use=start"])
    train(here, world.store, settings, tmp_path / "run")
    origin = load_bundle(tmp_path / "run").provenance["encoders"]["text"]
    assert origin["part"] == "model" and origin["earlier"][0].startswith("words, 120 clips of words.csv")
    same = part_of(world.all, 0, 160, "words.csv", (0, 1, 2, 3, 4, 5))
    assert len(select_clips(load_bundle(tmp_path / "run"), same, world.store, "all").trained_on) == 120


def test_without_a_source_everything_is_as_before(world: World) -> None:
    run = world.root / "scratch"
    if not run.exists():
        world.run("scratch", "stage1.text.from=null")
    bundle = load_bundle(run)
    assert "encoders" not in bundle.provenance and not (run / "sources").exists()
    record = licences_of(json.loads((run / "model" / "config.json").read_text()), bundle.provenance).record()
    assert set(record) == {"non_commercial", "weights", "follows", "data"}
    assert "encoders" not in json.loads((run / "split.json").read_text())
    assert np.isfinite(bundle.score({"text": Store(world.store.root).gather("text", ["00000"])})).all()
