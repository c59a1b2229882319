"""Arousal, dominance and valence beside each step of audio: a feature of its own, and the others stay as they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import mien
from mien.compute.device import Compute
from mien.config import Settings, read_settings
from mien.data.manifest import read_manifest
from mien.errors import DataError, SettingsError, WeightsError
from mien.features.layers import gather, inputs_of
from mien.features.layers_size import estimate_layers
from mien.features.store import Store
from mien.features.worker import plan
from mien.inference.score import as_read, score_features
from mien.modalities import MODALITIES
from mien.modalities.base import Prepared
from mien.model.model_folder import load_bundle
from mien.schema import ClipFeatures, Feature, Manifest
from mien.training import train
from mien.weights.tiny import WIDTH
from tests.features.test_extract import audio_clip, run
from tests.modalities.clips import media
from tests.training.planted import planted
from tests.weights.own import make_own

CPU = Compute(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def affective(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random wav2vec 2.0 with a regression head, named as in the published weights."""
    folder = make_own(tmp_path_factory.mktemp("affective"), "wav2vec2-large")
    tensors = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    for name, shape in (("dense", (WIDTH, WIDTH)), ("out_proj", (3, WIDTH))):
        tensors[f"classifier.{name}.weight"] = torch.randn(shape, generator=generator) / WIDTH**0.5
        tensors[f"classifier.{name}.bias"] = torch.randn(shape[:1], generator=generator)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def made(folder: Path, compute: Compute = CPU):
    audio = MODALITIES["audio"]
    prepared = audio.prepare(media(2.0))
    assert isinstance(prepared, Prepared) and audio.load_affect is not None
    return audio.load(folder, compute)(prepared), audio.load_affect(folder, compute)(prepared)


def test_every_step_has_the_values_of_the_head_beside_its_states(affective: Path) -> None:
    plain, found = made(affective)
    assert list(found) == ["audio", "audio_affect"]
    assert np.array_equal(found["audio"].values, plain["audio"].values)  # to the bit
    states, values = np.split(found["audio_affect"].values.astype(np.float32), [WIDTH], axis=1)
    assert np.array_equal(states, plain["audio"].values)
    head = {name: tensor.numpy() for name, tensor in load_file(affective / "model.safetensors").items()}
    inner = np.tanh(states @ head["classifier.dense.weight"].T + head["classifier.dense.bias"])
    expected = inner @ head["classifier.out_proj.weight"].T + head["classifier.out_proj.bias"]
    assert values.shape == (99, 3) and values.std(0).min() > 0.01
    np.testing.assert_allclose(values, expected, atol=5e-3)  # states and values are stored in half precision


def test_openvino_gives_the_values_of_pytorch(affective: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    ours, theirs = made(affective), made(affective, Compute(torch.device("cpu"), torch.float32, "openvino"))
    for one, other in zip(ours, theirs, strict=True):
        for name, output in one.items():
            np.testing.assert_allclose(other[name].values, output.values, rtol=2**-9, atol=4e-3)
    assert len(list((tmp_path / "openvino").glob("*/model.xml"))) == 2  # with the head it is another graph


def settings(folder: Path, *more: str) -> Settings:
    always = ["modalities=[audio]", f"weights.audio={folder}", "compute.precision=float32", "compute.engine=torch"]
    return read_settings(overrides=["weights=tiny", *always, *more])


@pytest.fixture(scope="module")
def stored(affective: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Path]:
    """Rated clips, and a store that was made without affect, and then completed."""
    root = tmp_path_factory.mktemp("clips")
    for n in range(9):
        audio_clip(root / f"{n}.mkv", 0.3 + 0.05 * n, 1 + 0.2 * n)
    manifest = read_manifest(root)
    store = root / "store"
    run(manifest, store, settings(affective))
    before = {pair: (row.key, row.crc) for pair, row in Store(store).rows.items()}
    wanted = settings(affective, "backbone.affect=true")
    said = estimate_layers(manifest, wanted, store)
    assert said is not None and said.by_modality["audio"][1:] == (1, WIDTH + 3)
    _, outcomes = run(manifest, store, wanted)
    assert {feature.modality for one in outcomes for feature in one.made.features} == {"audio_affect"}
    assert {pair: (row.key, row.crc) for pair, row in Store(store).rows.items() if pair in before} == before
    assert run(manifest, store, wanted)[0].reused == run(manifest, store, settings(affective))[0].reused == 9
    rated = [replace(clip, labels=(n / 9, 0.1 * (n % 3)), split=("train", "train", "valid")[n % 3])
             for n, clip in enumerate(manifest.clips)]  # fmt: skip
    return Manifest(manifest.source, ("Joy", "Excitement"), tuple(rated)), store


def test_a_model_with_affect_is_trained_read_back_and_scores_new_clips(
    affective: Path, stored: tuple[Manifest, Path], tmp_path: Path
) -> None:
    manifest, store = stored
    quick = ["backbone.affect=true", "stage1.epochs=2", "stage2.epochs=2", "stage1.embedding=8", "stage2.hidden=8"]
    train(manifest, Store(store), settings(affective, *quick, "seeds=[0]"), tmp_path / "run")
    bundle = load_bundle(tmp_path / "run")
    assert bundle.widths == {"audio": WIDTH + 3}
    assert bundle.settings.backbone.affect
    read = inputs_of(Store(store), bundle.settings.backbone, ["audio"])["audio"]
    clip = manifest.clips[2].id
    expected = bundle.score({"audio": gather(Store(store), read, "audio", [clip])})[0]
    array, seconds = Store(store).array(clip, "audio_affect"), Store(store).seconds(clip, "audio_affect")
    narrow = Feature("audio", "k", "p", np.array(array[:, :WIDTH]), seconds)
    new = ClipFeatures(clip, 1.0, (narrow, Feature("audio_affect", "k", "p", np.array(array), seconds)))
    (found,) = score_features(bundle, [as_read(bundle, new)], raw=True)
    np.testing.assert_allclose([found.scores[name] for name in manifest.targets], expected, atol=1e-6)
    with mien.load(tmp_path / "run") as model:  # from the file of the clip
        table = model.predict(manifest.clips[2].path)
    np.testing.assert_allclose(
        [table[name][0].as_py() for name in manifest.targets], bundle.bounded(expected), atol=2e-3
    )


def test_weights_without_a_head_and_layers_beside_it_are_refused_in_one_line(affective: Path, tmp_path: Path) -> None:
    plain = make_own(tmp_path, "wav2vec2-large")
    for folder in (plain, make_own(tmp_path / "other", "whisper")):
        with pytest.raises(
            WeightsError, match=r"no regression head of arousal, dominance, valence in .*paper"
        ) as error:
            plan(settings(folder, "backbone.affect=true"))
        assert "\n" not in str(error.value)
    for use in ("layers", "lora"):
        with pytest.raises(SettingsError, match=r"backbone\.affect: should be false unless audio is frozen"):
            settings(affective, f"backbone.audio={use}", "backbone.affect=true")


def test_a_store_without_it_says_how_to_extract_it(tmp_path: Path) -> None:
    manifest, store = planted(tmp_path / "store", 20, 10)
    with pytest.raises(DataError, match=r"no audio_affect, which backbone\.affect reads; run the mien extract command"):
        train(manifest, store, read_settings(overrides=["backbone.affect=true"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()
