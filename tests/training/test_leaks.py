"""A backbone that was trained further has seen ratings: its features of these clips are not evaluated in silence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import mien
from mien.data.manifest import read_manifest
from mien.data.source_clips import SourceClips, name_key, name_keys
from mien.errors import DataError, StoreError
from mien.evaluation.evaluate import evaluate
from mien.evaluation.seen_clips import select_clips
from mien.features.extract import extract
from mien.features.store import Store
from mien.model.model_folder import load_bundle
from mien.schema import Manifest
from mien.starters import starter
from mien.storage.checksums import read_checksummed, read_tensors, write_checksummed, write_tensors
from mien.study.plan import read_study
from mien.study.study import run_study
from mien.training import train
from mien.training.cross_validation import cross_validate
from mien.weights import Weights, resolve
from mien.weights.adapted import MOST_KEYS, SUFFIX, resolve_adapted, save_adapted, training_clips
from tests.training.test_adapt import FILE, Words, sentence, settings

REFUSED = r"backbone tiny-text-full@\w+, which made its features, was trained on \d+ of the \d+ validation clips, first"
UNKNOWN = "its file does not record all clips that it was trained on, so it is unknown whether these"


class World(Words):
    """Eighty sentences, of which fifty have trained a backbone and thirty-one chose its epochs, and others."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.run = self.train("full", "backbone.text=full")
        self.file = self.run / "model" / FILE
        self.adapted = self.features("adapted", self.manifest, self.file)
        draw = np.random.default_rng(1)
        rows = [f"x{n},{sentence(draw)},{'train' if n < 40 else 'valid'},{draw.random():.3f}" for n in range(60)]
        (root / "others.csv").write_text("\n".join(["id,transcript,split,Joy", *rows, ""]))
        self.others = read_manifest(root / "others.csv", targets=["Joy"])

    def features(self, name: str, manifest: Manifest, file: Path) -> Store:
        list(extract(manifest, self.root / name, settings("backbone.text=frozen", f"weights.text={file}")))
        return Store(self.root / name)

    def old_file(self, folder: Path) -> Path:
        """The same backbone in a file of before, which records no clips."""
        tensors, head = read_tensors(self.file)
        write_tensors(folder / FILE, tensors, {name: value for name, value in head.items() if name != "clips"})
        return folder / FILE


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def frozen(*more: str) -> list[str]:
    return ["backbone.text=frozen", *more]


def test_validation_clips_that_trained_the_backbone_are_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=REFUSED) as caught:
        train(world.manifest, world.adapted, settings(*frozen("split.kind=ratio")), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match=REFUSED):
        cross_validate(world.manifest, world.adapted.root, settings(*frozen()), tmp_path / "cv", folds=3)
    lines: list[str] = []
    train(world.manifest, world.store, settings(*frozen("split.kind=ratio")), tmp_path / "plain", lines.append)
    assert not [line for line in lines if line.startswith("backbone tiny")]


def test_a_cell_of_a_study_on_such_clips_fails_with_the_reason(world: World, tmp_path: Path) -> None:
    more = {"weights": "tiny", "modalities": ["text"], "stage1.epochs": 2, "stage2.epochs": 2, "split.kind": "ratio"}
    more |= {"backbone.text": "frozen", "compute.precision": "float32", "stage1.embedding": 8, "stage2.hidden": 8}
    (tmp_path / "study.yaml").write_text(json.dumps({"seeds": 2, "settings": more, "axes": {"stage2.lr": [0.01]}}))
    plan = read_study(tmp_path / "study.yaml")
    _, reasons, _ = run_study(plan, world.manifest, world.adapted.root, tmp_path / "out")
    assert reasons and all("which made its features, was trained on" in reason for reason in reasons)


def test_validation_clips_that_chose_its_epochs_are_counted(world: World, tmp_path: Path) -> None:
    lines: list[str] = []
    train(world.manifest, world.adapted, settings(*frozen()), tmp_path / "run", lines.append)
    (note,) = (line for line in lines if line.startswith("backbone tiny"))
    assert note.endswith(": 31 of 31 validation clips chose its epochs; r is slightly too high")


def test_an_evaluation_counts_the_clips_that_trained_the_backbone(world: World, tmp_path: Path) -> None:
    lines: list[str] = []
    store = world.features("others", world.others, world.file)
    train(world.others, store, settings(*frozen()), tmp_path / "run", lines.append)
    assert not [line for line in lines if line.startswith("backbone tiny")]
    found = evaluate(load_bundle(tmp_path / "run"), world.manifest, world.adapted, "all", resamples=100)
    assert (found.clips, found.trained_on, found.validated_on) == (81, 50, 0)
    assert "31 of these 81 clips chose the epochs of an encoder or a backbone" in " ".join(found.notes)


def test_within_its_own_run_nothing_changes(world: World) -> None:
    lines: list[str] = []
    train(world.manifest, world.store, settings("backbone.text=full"), world.run, lines.append)
    assert not [line for line in lines if line.startswith("backbone tiny")]
    for store in (world.store, world.adapted, Store(world.run / "features")):
        found = select_clips(load_bundle(world.run), world.manifest, store, None)
        assert (len(found.validated_on), found.trained_on, found.notes) == (31, (), ())


def test_a_file_without_a_record_leaves_it_unknown_and_says_so(world: World, tmp_path: Path) -> None:
    lines: list[str] = []
    store = world.features("old", world.manifest, world.old_file(tmp_path))
    train(world.manifest, store, settings(*frozen("split.kind=ratio")), tmp_path / "run", lines.append)
    assert [line for line in lines if UNKNOWN in line] == [line for line in lines if line.startswith("backbone tiny")]
    assert len([line for line in lines if UNKNOWN in line]) == 1
    folds = cross_validate(world.manifest, store.root, settings(*frozen()), tmp_path / "cv", folds=2)
    assert len([note for note in folds.notes if UNKNOWN in note and note.startswith("backbone tiny")]) == 1
    found = evaluate(load_bundle(tmp_path / "run"), world.manifest, store, "all", resamples=100)
    assert len([note for note in found.notes if UNKNOWN in note]) == 1
    made = read_checksummed(store.root / "extraction.json")
    write_checksummed(store.root / "extraction.json", {n: v for n, v in made.items() if n != "trained_on"})
    lines.clear()  # a store of before
    train(world.manifest, store, settings(*frozen("split.kind=ratio")), tmp_path / "again", lines.append)
    assert len([line for line in lines if UNKNOWN in line]) == 1


def test_the_record_has_no_names_and_fits_into_the_header(world: World, tmp_path: Path) -> None:
    (record,) = read_tensors(world.file)[1]["clips"]
    made = SourceClips.read(record)
    clips = {split: [c.id for c in world.manifest.clips if c.split == split] for split in ("train", "valid")}
    assert (made.train, made.chose) == (name_keys(clips["train"]), name_keys(clips["valid"]))
    assert not {clip.id for clip in world.manifest.clips} & {word for value in record.values() for word in str(value)}
    values = {"x": np.zeros(1, np.float32)}
    for count in (MOST_KEYS, MOST_KEYS + 1):
        many = SourceClips("d", frozenset(name_key(str(n)) for n in range(count)))
        save_adapted(tmp_path / FILE, "text", "full", resolve("tiny")["text"], values, many)
        assert ("clips" in read_tensors(tmp_path / FILE)[1]) == (count <= MOST_KEYS)
    assert training_clips("text", resolve_adapted("text", world.file)) == (made,)
    most = SourceClips("d", frozenset(name_key(str(n)) for n in range(MOST_KEYS)))  # with those of before, too many
    save_adapted(tmp_path / "twice.safetensors", "text", "full", resolve_adapted("text", world.file), values, most)
    assert read_tensors(tmp_path / "twice.safetensors")[1]["clips"] == [record, None]


@pytest.mark.weights
def test_the_starter_s_file_written_again_is_the_same(tmp_path: Path, small_weights: dict[str, Weights]) -> None:
    shipped = starter("words-en")
    assert shipped is not None
    (tensors, head), base = read_tensors(shipped / FILE), small_weights["text"]
    assert base.sha256 == head["base_sha256"]
    save_adapted(tmp_path / FILE, "text", head["method"], base, tensors)
    again, written = read_tensors(tmp_path / FILE)  # safetensors writes the entries of a header in any order
    assert written == head and (tmp_path / FILE).stat().st_size == (shipped / FILE).stat().st_size
    assert again.keys() == tensors.keys()
    assert all(again[name].tobytes() == tensors[name].tobytes() for name in tensors)


@pytest.mark.parametrize(("first", "second"), [("full", "lora"), ("lora", "full"), ("lora", "lora"), ("lora", "top_k")])
def test_a_backbone_that_is_trained_further_is_one_file_with_both_records(
    world: World, tmp_path: Path, first: str, second: str
) -> None:
    """The file that it began with is not needed again, and at a rate of next to nothing it stays that backbone."""
    copied = tmp_path / f"copied{SUFFIX}"
    shutil.copy(world.train(f"first {first}", f"backbone.text={first}", "adapt.epochs=1") / "model" / FILE, copied)
    store = world.features(f"from {first} for {second}", world.others, copied)
    still = ["adapt.lr=1e-12", "adapt.lora_lr=1e-12", "adapt.epochs=1"]
    chosen = settings(f"backbone.text={second}", f"weights.text={copied}", *still)
    train(world.others, store, chosen, tmp_path / "run")
    copied.unlink()
    made = Store(tmp_path / "run" / "features")
    for clip in world.others.clips:
        np.testing.assert_allclose(made.array(clip.id, "text"), store.array(clip.id, "text"), atol=1e-3)
    twice = resolve_adapted("text", tmp_path / "run" / "model" / FILE)
    assert twice.name.startswith(f"tiny-text-{second}@")
    before, after = training_clips("text", twice)
    assert before is not None and before.data == "words.csv" and after is not None and after.data == "others.csv"
    with mien.load(tmp_path / "run") as model:
        assert model.predict(world.root / "others.csv")["Joy"].null_count == 0
    bundle = load_bundle(tmp_path / "run")
    assert len(select_clips(bundle, world.others, made, None).validated_on) == 20
    again = world.features(f"of {first}, {second}", world.manifest, tmp_path / "run" / "model" / FILE)
    assert len(select_clips(bundle, world.manifest, again, "all").trained_on) == 50  # in the first training
    with pytest.raises(DataError, match=r"was trained on \d+ of the \d+ validation clips"):
        train(world.manifest, again, settings(*frozen("split.kind=ratio")), tmp_path / "later")


def test_features_of_an_earlier_backbone_keep_its_record(world: World, tmp_path: Path) -> None:
    root = tmp_path / "store"
    list(extract(world.manifest, root, settings(*frozen(f"weights.text={world.file}"))))
    list(extract(world.others, root, settings(*frozen())))
    with pytest.raises(DataError, match=REFUSED):
        train(world.manifest, Store(root), settings(*frozen("split.kind=ratio")), tmp_path / "run")
    made = read_checksummed(root / "extraction.json")
    damaged = {name: [{"version": 2}] for name in made["trained_on"]}
    write_checksummed(root / "extraction.json", made | {"trained_on": damaged})
    with pytest.raises(StoreError, match=r"extraction\.json: damaged; run the extraction again"):
        train(world.manifest, Store(root), settings(*frozen("split.kind=ratio")), tmp_path / "run")
