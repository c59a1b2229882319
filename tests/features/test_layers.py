"""Layers in a store: made beside today's features, which are reused; read only by a model that asks for them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.compute.device import Compute
from mien.config import BackboneSettings, Settings, read_settings
from mien.data.manifest import read_manifest
from mien.errors import DataError, SettingsError, StoreError
from mien.features.keys import Keys
from mien.features.layers import gather, inputs_of, layers_key, with_layers
from mien.features.layers_size import estimate_layers
from mien.features.store import Store
from mien.features.writer import StoreWriter
from mien.modalities import MODALITIES
from mien.schema import Clip, ClipFeatures, Feature
from mien.storage.files import sha256_of
from mien.weights import Weights
from mien.weights.tiny import WIDTH
from tests.features.test_extract import audio_clip, run
from tests.features.test_kept_inputs import as_they_were

TINY = [
    "weights=tiny",
    "backbone.text=frozen",
    "modalities=[text, audio]",
    "compute.precision=float32",
    "compute.engine=torch",
]
LAYERS = ["backbone.text=layers", "backbone.audio=layers"]


def settings(*overrides: str) -> Settings:
    return read_settings(overrides=[*TINY, *overrides])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    (root / "text").mkdir()
    for n, name in enumerate(("a", "b", "c")):
        audio_clip(root / f"{name}.mkv", 0.6 + 0.2 * n, 1 + 0.5 * n)
        (root / "text" / f"{name}.txt").write_text("" if name == "c" else f"so proud of {name}")
    return root


def test_their_size_is_said_before_and_is_true_after(folder: Path, tmp_path: Path) -> None:
    manifest, wanted = read_manifest(folder), settings(*LAYERS)
    assert estimate_layers(manifest, settings(), tmp_path / "store") is None
    run(manifest, tmp_path / "store", settings())
    said = estimate_layers(manifest, wanted, tmp_path / "store")
    before = size_of(tmp_path / "store")
    run(manifest, tmp_path / "store", wanted)
    grown = size_of(tmp_path / "store") - before
    assert said is not None and said.estimated == 0
    # 120 steps of sound in 0.6 + 0.8 + 1.0 s, and two sentences; 3 layers of 32 numbers of 2 bytes, and a time
    assert said.total == (120 + 2) * (3 * 32 * 2 + 4)
    assert grown == pytest.approx(said.total, abs=4 * 128)  # the headers of four arrays
    fresh = estimate_layers(manifest, wanted, tmp_path / "none")
    assert fresh is not None
    # without a store or lengths every clip counts as 10 s of 50 steps, and one sentence
    assert str(fresh) == (
        "layers (text 3 x 32, audio 3 x 32): about 98196 B per clip, 294588 B in all; 3 clips estimated, those of "
        "unknown length as 10 s"
    )


def size_of(store: Path) -> int:
    return sum(path.stat().st_size for path in store.rglob("*.npy"))


@pytest.fixture(scope="module")
def stored(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was made without layers, and then completed."""
    root = tmp_path_factory.mktemp("stores") / "store"
    run(read_manifest(folder), root, settings())
    before = rows(root)
    _, outcomes = run(read_manifest(folder), root, settings(*LAYERS))
    made = {(one.clip.id, f.modality) for one in outcomes for f in one.made.features}
    assert made == {(clip, name) for clip in "abc" for name in ("text_layers", "audio_layers")}
    assert {pair: row for pair, row in rows(root).items() if pair in before} == before
    return root


def rows(root: Path):
    return {pair: (row.key, row.status, row.steps, row.crc) for pair, row in Store(root).rows.items()}


def test_a_store_is_completed_and_then_nothing_is_computed(folder: Path, stored: Path) -> None:
    for overrides in ((), LAYERS, LAYERS[:1]):
        summary, _ = run(read_manifest(folder), stored, settings(*overrides))
        assert (summary.made, summary.reused) == (0, 3)
    store = Store(stored)
    assert store.row("a", "audio_layers").provenance == store.row("a", "audio").provenance + " layers 0,1,2"  # type: ignore[union-attr]
    assert store.array("b", "audio_layers").shape == (40, 3 * WIDTH)  # 0.8 s at 50 steps a second
    assert store.array("b", "text_layers").shape == (1, 3 * WIDTH)
    assert store.row("c", "text_layers").status == "absent"  # type: ignore[union-attr]
    last = store.array("b", "audio_layers")[:, 2 * WIDTH :]
    assert np.array_equal(last, store.array("b", "audio"))


def test_keys_without_layers_are_those_of_earlier_versions(tmp_path: Path) -> None:
    """Computed by the version before layers, for a file with the byte ``a``."""
    before = {
        "text": "9adaebfd8524a12c47363965ad765a80",
        "audio": "b76f75205c0933c736e14d8ed7077cf4",
        "vision": "07c7ca8b348a13c28bbec28cc0344f0f",
        "motion": "4b40ff124843fc7dfe89c03defddc14f",
    }
    (tmp_path / "a.mp4").write_bytes(b"a")
    roles = ("text", "audio", "vision", "vad", "asr", "landmarker", "full_range")
    weights = {role: Weights(role, tmp_path, role[0] * 64, "", "", False) for role in roles}
    clip, compute = Clip("a", tmp_path / "a.mp4", 1.0, 2.0), Compute(torch.device("cpu"), torch.float32)
    layered: set[str] = set()
    for overrides in ([], ["backbone.audio=layers"], ["backbone.audio=layers", "backbone.audio_layers=[1, 2]"]):
        keys = Keys(clip, read_settings(overrides=overrides), weights, compute, sha256_of)
        assert {name: keys.of(modality) for name, modality in as_they_were().items()} == before
        layered.add(keys.of(MODALITIES["audio"], "audio_layers"))
    assert len(layered) == 2  # by the list of layers, not by whether a run reads them


def test_a_frozen_model_does_not_read_the_layers(stored: Path, tmp_path: Path) -> None:
    shutil.copytree(stored, tmp_path / "store")
    for file in (tmp_path / "store").rglob("*_layers.npy"):
        file.write_bytes(b"")
    store = Store(tmp_path / "store")
    for name in ("text", "audio"):
        read = inputs_of(store, BackboneSettings(text="frozen"), [name])[name]
        assert gather(store, read, name, ["a", "b"]).width == WIDTH
    with pytest.raises(StoreError, match="audio_layers"):
        gather(store, inputs_of(store, settings(*LAYERS).backbone, ["audio"])["audio"], "audio", ["a"])


def test_a_model_may_read_some_of_the_stored_layers(stored: Path) -> None:
    store = Store(stored)
    backbone = settings("backbone.audio=layers", "backbone.audio_layers=[0, 2]").backbone
    read = inputs_of(store, backbone, ["audio"])["audio"]
    assert (read.layers, read.stored) == ((0, 2), (0, 1, 2))
    packed = gather(store, read, "audio", ["a", "b"])
    assert packed.width == read.width(3 * WIDTH) == 2 * WIDTH
    whole = store.gather("audio_layers", ["a", "b"]).values.reshape(-1, 3, WIDTH)
    assert np.array_equal(packed.values.reshape(-1, 2, WIDTH), whole[:, [0, 2]])


def test_layers_that_a_store_lacks_are_refused_in_one_line(folder: Path, stored: Path, tmp_path: Path) -> None:
    run(read_manifest(folder), tmp_path / "plain", settings())
    again = "run the mien extract command that made it again, with --set backbone.text=layers"
    with pytest.raises(DataError, match=f"no text_layers, which backbone.text: layers reads; {again}"):
        inputs_of(Store(tmp_path / "plain"), settings(*LAYERS).backbone, ["text"])
    named = settings("backbone.audio=layers", "backbone.audio_layers=[1, 7]").backbone
    with pytest.raises(DataError, match=r"no layer 7 in the store, which has layers 0, 1, 2; .*_layers=all$"):
        inputs_of(Store(stored), named, ["audio"])
    with pytest.raises(SettingsError, match=r"backbone.audio_layers: no layer 7 in tiny-audio, which has layers 0 to"):
        run(read_manifest(folder), tmp_path / "plain", settings("backbone.audio=layers", "backbone.audio_layers=[7]"))


def test_layers_of_an_earlier_extraction_are_not_mixed_with_newer_features(tmp_path: Path) -> None:
    read = settings(*LAYERS).backbone

    def feature(name: str, key: str, width: int) -> Feature:
        made = with_layers("w v1", (0, 1) if name.endswith("layers") else ())
        return Feature(name, key, made, np.ones((2, width), np.float16), np.zeros(2, np.float32))

    def add(clip: str, key: str, layered: str | None) -> None:
        features = [feature("audio", key, 4)]
        features += [feature("audio_layers", layers_key(layered, "audio_layers", "all"), 8)] if layered else []
        writer.add(ClipFeatures(clip, 1.0, tuple(features)))

    with StoreWriter(tmp_path, ["a", "b", "c"]) as writer:
        add("a", "new", "new")
        add("b", "new", "old")
        add("c", "new", None)
    store = Store(tmp_path)
    found = inputs_of(store, read, ["audio"])["audio"]
    assert gather(store, found, "audio", ["a"]).width == 8
    with pytest.raises(DataError, match="2 clips with audio but no audio_layers of the same making, first b; run the"):
        gather(store, found, "audio", ["a", "b", "c"])
