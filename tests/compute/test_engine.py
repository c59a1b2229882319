"""Inference engines: OpenVINO gives the steps of PyTorch, and the key of the features names the engine."""

import importlib.util
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from mien.compute.device import choose_engine, choose_precision, resolve_compute
from mien.config import ComputeSettings, read_settings
from mien.errors import DependencyMissing, SettingsError
from mien.features.keys import Keys
from mien.modalities import MODALITIES
from mien.modalities.base import Prepared
from mien.schema import SAMPLE_RATE, Clip, Transcript
from mien.storage.files import sha256_of
from mien.weights import Weights, resolve
from tests.weights.own import MODELS, ROLES, make_own

BACKBONES = [name for name, modality in MODALITIES.items() if modality.backbone_role]
PLAIN = resolve_compute(ComputeSettings(device="cpu", engine="torch", precision="float32"))

openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None or importlib.util.find_spec("nncf") is None,
    reason="openvino and nncf are not installed: pip install 'mien[openvino]'",
)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own")


def inputs(name: str, size: int) -> Prepared:
    """Smooth input of ``size`` words, tenths of a second or images."""
    rng = np.random.default_rng(size)
    if name == "text":
        words = "so happy to see what this great day was and oh the sad end".split()
        return Prepared(Transcript(" ".join(rng.choice(words, size)), "given"), np.zeros(0, np.float32))
    if name == "audio":
        time = np.arange(size * SAMPLE_RATE // 10) / SAMPLE_RATE
        tones = [np.sin(2 * np.pi * f * time * (1 + 0.1 * np.sin(3 * time))) for f in rng.uniform(100, 2000, 4)]
        return Prepared((np.sum(tones, 0) / 8).astype(np.float32), np.zeros(0, np.float32))
    across = np.sin(np.arange(224) / rng.uniform(5, 40, (size, 1, 1)))  # (T, 1, S)
    images = 127 + 60 * (across + across.transpose(0, 2, 1))
    return Prepared(np.repeat(images[..., None], 3, axis=3).astype(np.uint8), np.zeros(size, np.float32))


def cosines(name: str, folder: Path, compute: ComputeSettings, size: int) -> np.ndarray:
    """``(T,)`` cosine of every step against PyTorch in float32."""
    prepared = inputs(name, size)
    ours, plain = (
        MODALITIES[name].load(folder, on)(prepared)[MODALITIES[name].features[-1]].values.astype(np.float32)
        for on in (resolve_compute(compute), PLAIN)
    )
    return (ours * plain).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(plain, axis=1)


@openvino
@pytest.mark.parametrize("size", [1, 7, 37])
@pytest.mark.parametrize("name", BACKBONES)
def test_in_float32_openvino_gives_the_steps_of_pytorch_at_any_length(name: str, size: int) -> None:
    folder = resolve("tiny", [name])[name].path
    assert cosines(name, folder, ComputeSettings(engine="openvino", precision="float32"), size).min() > 0.99999


@openvino
@pytest.mark.parametrize(
    ("architecture", "precision", "least"),
    [
        *((name, "float32", 0.99999) for name in MODELS),
        *((name, *rest) for name in ("xlm-roberta", "wavlm", "vit") for rest in (("bfloat16", 0.999), ("int8", 0.98))),
    ],
)
def test_every_architecture_gives_the_steps_and_layers_of_pytorch(
    own: Path, architecture: str, precision: Literal["float32", "bfloat16", "int8"], least: float
) -> None:
    role, folder = ROLES[architecture], own / architecture
    folder = next(folder.glob("my *")) if folder.exists() else make_own(folder, architecture)
    load = MODALITIES[role].load_layers
    assert load is not None
    settings = ComputeSettings(engine="openvino", precision=precision)
    prepared = inputs(role, 7)
    ours, plain = (load(folder, on, (0, 1, 2))(prepared) for on in (resolve_compute(settings), PLAIN))
    for name, output in plain.items():
        found, expected = (one.values.astype(np.float32) for one in (ours[name], output))
        assert found.shape == expected.shape
        cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
        assert cosine.min() > least, name


@openvino
@pytest.mark.weights
@pytest.mark.parametrize(("precision", "least"), [("bfloat16", 0.999), ("int8", 0.99)])
@pytest.mark.parametrize("name", BACKBONES)
def test_lower_precision_hardly_changes_real_steps(
    small_weights: dict[str, Weights], name: str, precision: str, least: float
) -> None:
    compute = ComputeSettings.model_validate({"engine": "openvino", "precision": precision})
    assert cosines(name, small_weights[name].path, compute, 20).min() > least


@openvino
def test_a_graph_is_traced_once_and_then_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    folder = resolve("tiny", ["audio"])["audio"].path
    compute = ComputeSettings(engine="openvino", precision="float32")
    for size in (5, 9):
        cosines("audio", folder, compute, size)
    graphs = list((tmp_path / "openvino").glob("*/model.*"))
    assert sorted(graph.suffix for graph in graphs) == [".bin", ".xml"]
    written = {graph: graph.stat().st_mtime_ns for graph in graphs}
    cosines("audio", folder, compute, 9)
    assert {graph: graph.stat().st_mtime_ns for graph in graphs} == written
    cosines("audio", folder, compute.model_copy(update={"precision": "int8"}), 9)
    assert len(list((tmp_path / "openvino").glob("*/model.xml"))) == 2


@openvino
def test_what_was_compiled_is_loaded_and_gives_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each arithmetic once, whatever the number of threads."""
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    folder = resolve("tiny", ["audio"])["audio"].path
    prepared = inputs("audio", 9)

    def steps(precision: Literal["float32", "bfloat16"]) -> np.ndarray:
        compute = resolve_compute(ComputeSettings(engine="openvino", precision=precision))
        return MODALITIES["audio"].load(folder, compute)(prepared)["audio"].values

    def compiled() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in tmp_path.glob("openvino/*/*.blob")}

    first, before = steps("float32"), compiled()
    assert len(before) == 1
    assert np.array_equal(steps("float32"), first) and compiled() == before
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert np.array_equal(steps("float32"), first) and compiled() == before
    half = steps("bfloat16")
    assert len(compiled()) == 2 and not np.array_equal(half, first)
    assert np.array_equal(steps("bfloat16"), half)


@openvino
def test_a_read_only_cache_is_read_without_a_lock_and_needs_no_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only mount, which stops root too: first with the graph in it, then with the weights only."""
    cache, shared = tmp_path / "cache", tmp_path / "shared"
    for folder in (cache, shared):
        folder.mkdir()

    def run(place: Path) -> float:
        monkeypatch.setenv("MIEN_CACHE", str(place))
        folder = resolve("tiny", ["audio"])["audio"].path
        assert folder.is_relative_to(place)
        return cosines("audio", folder, ComputeSettings(engine="openvino", precision="float32"), 9).min()

    first = run(cache)
    if subprocess.run(["mount", "--bind", "-o", "ro", cache, shared], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with pytest.raises(OSError, match="Read-only"):
            (shared / "x").touch()
        (cache / "openvino" / ".lock").unlink()
        assert run(shared) == first
        for compiled in cache.glob("openvino/*/*.blob"):
            compiled.unlink()
        assert run(shared) == first
        assert not (cache / "openvino" / ".lock").exists()
        shutil.rmtree(cache / "openvino")
        assert run(shared) == pytest.approx(first, abs=1e-6)
    finally:
        subprocess.run(["umount", "--lazy", shared], check=True)


@openvino
def test_openvino_sends_no_telemetry() -> None:
    code = (
        "import sys; from mien.compute.engine import _openvino; _openvino().Core(); import nncf\n"
        "from openvino.tools.ovc import telemetry; print(telemetry.__class__.__module__)"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "openvino.tools.ovc.telemetry_stub"


def test_features_of_another_engine_have_another_key_and_motion_has_not(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"a")
    clip, weights, settings = Clip("a", tmp_path / "a.mp4"), resolve("tiny", BACKBONES), read_settings()
    ways = [PLAIN, replace(PLAIN, engine="openvino"), replace(PLAIN, engine="openvino", quantized=True),
            replace(PLAIN, dtype=torch.bfloat16)]  # fmt: skip
    for modality in MODALITIES.values():
        keys = {Keys(clip, settings, weights, way, sha256_of).of(modality) for way in ways}
        assert len(keys) == (4 if modality.backbone_role else 2), modality.name


def test_an_unavailable_engine_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    cpu = torch.device("cpu")
    assert choose_engine(ComputeSettings(), cpu) == "torch"
    with pytest.raises(DependencyMissing, match=r"int8 needs openvino and nncf; pip install 'mien\[openvino\]'"):
        choose_engine(ComputeSettings(precision="int8"), cpu)
    with pytest.raises(DependencyMissing, match="openvino needs openvino;"):
        choose_engine(ComputeSettings(engine="openvino"), cpu)
    with pytest.raises(SettingsError, match=r"compute\.engine is torch"):
        choose_engine(ComputeSettings(engine="torch", precision="int8"), cpu)
    with pytest.raises(SettingsError, match=r"compute\.device is cuda; set it to cpu"):
        choose_engine(ComputeSettings(precision="int8"), torch.device("cuda"))


def test_the_setting_turns_openvino_off_and_a_gpu_does_not_use_it() -> None:
    assert choose_engine(ComputeSettings(engine="torch"), torch.device("cpu")) == "torch"
    assert choose_engine(ComputeSettings(), torch.device("cuda")) == "torch"


def test_training_treats_int8_as_auto() -> None:
    cpu = torch.device("cpu")
    auto, eight = (choose_precision(ComputeSettings.model_validate({"precision": p}), cpu) for p in ("auto", "int8"))
    assert eight == auto
