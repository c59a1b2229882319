"""A model on a backbone of one's own names it, finds it again, and accepts no other bytes in its place."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import mien
from mien.cli import app
from mien.config import read_local, read_settings
from mien.data.manifest import read_manifest
from mien.errors import ModelError, WeightsMissing
from mien.evaluation.evaluate import evaluate
from mien.features.extract import extract
from mien.features.store import Store
from mien.model.model_folder import load_bundle
from mien.training import train
from tests.weights.own import make_own

WORDS = ("so happy", "very sad", "oh no", "great love", "what is this", "yes yes", "i am so happy", "no love")
QUICK = [
    *("weights=tiny", "modalities=[text]", "seeds=[0, 1]", "compute.precision=float32", "backbone.text=layers"),
    *("stage1.epochs=10", "stage2.epochs=10", "stage1.embedding=8", "stage2.hidden=8", "stage1.lr=1e-2"),
    "stage2.lr=1e-2",
]


class Trained:
    """A table of words, a RoBERTa of one's own with its layers, and a model on it."""

    def __init__(self, root: Path) -> None:
        self.folder = make_own(root / "weights", "roberta", licence="cc-by-nc-4.0")
        rows = [f"c{n},{WORDS[n % 8]} {n},{'train' if n < 24 else 'valid'},{n % 8 / 8}" for n in range(40)]
        self.table = root / "words.csv"
        self.table.write_text("\n".join(["id,transcript,split,Joy", *rows]) + "\n")
        settings = read_settings(overrides=[*QUICK, f"weights.text={self.folder}"])
        self.manifest = read_manifest(self.table, targets=["Joy"])
        list(extract(self.manifest, root / "store", settings))
        self.store = Store(root / "store")
        plain = read_settings(overrides=QUICK)  # the backbone is that of the store
        train(self.manifest, self.store, plain, root / "run")
        self.run = root / "run"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("own"))


def test_the_store_and_the_model_name_the_backbone(made: Trained) -> None:
    config = json.loads((made.run / "model" / "config.json").read_text())
    one = config["backbones"]["text"]
    assert (one["reference"], one["licence"]) == (str(made.folder), "cc-by-nc-4.0")
    assert one["name"] == f"my-roberta@{one['sha256'][:12]}"
    assert made.store.provenance("text").startswith(one["name"] + " ")
    assert not made.store.random_weights and not config["random_weights"]
    licences = json.loads((made.run / "model" / "licences.json").read_text())
    assert [(w["name"], w["licence"], w["non_commercial"]) for w in licences["weights"] if w["role"] == "text"] == [
        (one["name"], "cc-by-nc-4.0", True)
    ]
    assert f"| text | {one['name']} | cc-by-nc-4.0" in (made.run / "model" / "README.md").read_text()


def test_it_is_found_again_and_gives_the_scores_of_the_training(made: Trained) -> None:
    result = evaluate(load_bundle(made.run), made.manifest, made.store, "valid", resamples=100)
    with mien.load(made.run) as model:
        table = model.predict(made.table)
        assert "text: my-roberta@" in repr(model) and str(made.folder) not in repr(model)
    scores = dict(zip(table["clip"].to_pylist(), table["Joy"].to_pylist(), strict=True))
    expected = dict(zip(result.table["clip"].to_pylist(), result.table["predicted Joy"].to_pylist(), strict=True))
    assert len(expected) == 16
    np.testing.assert_allclose([scores[clip] for clip in expected], list(expected.values()), atol=2e-3)


def test_a_moved_folder_is_named_with_the_setting_and_other_bytes_are_refused(made: Trained, tmp_path: Path) -> None:
    moved, kept = tmp_path / "moved", made.folder.with_name("kept")
    made.folder.rename(moved)
    try:
        with (
            pytest.raises(WeightsMissing, match=r"if it was moved, give its new place with --set weights.text=FOLDER$"),
            mien.load(made.run) as model,
        ):
            model.predict(made.table)
        with mien.load(made.run, read_local([f"weights.text={moved}"])) as model:
            assert model.predict(made.table).num_rows == 40
        out = ["--out", str(tmp_path / "scores.csv"), "--set", f"weights.text={moved}"]
        done = CliRunner().invoke(app, ["predict", str(made.run), str(made.table), *out])
        assert done.exit_code == 0, done.output
        other = make_own(tmp_path / "other", "roberta", seed=7)
        with (
            pytest.raises(ModelError, match=r"holds my-roberta@.*, but the model was trained on my-roberta@.*FOLDER$"),
            mien.load(made.run, read_local([f"weights.text={other}"])) as model,
        ):
            model.predict(made.table)
    finally:
        shutil.rmtree(kept, ignore_errors=True)
        moved.rename(made.folder)


def test_a_model_of_a_set_takes_no_backbone_of_ones_own(made: Trained, tmp_path: Path) -> None:
    settings = read_settings(overrides=[*QUICK, "backbone.text=frozen"])
    list(extract(made.manifest, tmp_path / "store", settings))
    assert "backbones" not in json.loads((tmp_path / "store" / "extraction.json").read_text())
    train(made.manifest, Store(tmp_path / "store"), settings, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "model" / "config.json").read_text())["settings"]["weights"] == "tiny"
    with (
        pytest.raises(ModelError, match="the model was trained on the set's text backbone; leave it out"),
        mien.load(tmp_path / "run", read_local([f"weights.text={made.folder}"])) as model,
    ):
        model.predict(made.table)
