"""The layers of a backbone: one pass gives them beside the last layer, whose features stay as they were."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModel, AutoTokenizer, WhisperModel

from mien.compute.device import Compute
from mien.modalities import MODALITIES
from mien.modalities.base import Prepared
from mien.modalities.encoder import Encoder, LayerWeights, Steps, mean_pool
from mien.modalities.stacked import RngStreams
from mien.schema import SAMPLE_RATE
from mien.weights import resolve
from mien.weights.tiny import WIDTH
from tests.modalities.clips import media

LAYERED = [name for name, modality in MODALITIES.items() if modality.load_layers]
CPU = Compute(torch.device("cpu"), torch.float32)
ALL = (0, 1, 2)
"""The tiny backbones have two blocks."""


def made(name: str, layers: tuple[int, ...] = (), compute: Compute = CPU, seconds: float = 2.0):
    folder, modality = resolve("tiny", [name])[name].path, MODALITIES[name]
    assert modality.load_layers is not None
    backbone = modality.load_layers(folder, compute, layers) if layers else modality.load(folder, compute)
    prepared = modality.prepare(media(seconds))
    assert isinstance(prepared, Prepared)
    return backbone(prepared)


@pytest.mark.parametrize("name", LAYERED)
def test_one_pass_gives_the_layers_beside_todays_features(name: str) -> None:
    plain, every, some = made(name), made(name, ALL), made(name, (0, 1))
    for feature, output in plain.items():
        assert np.array_equal(every[feature].values, output.values) and every[feature].layers == ()
    layers = every[f"{name}_layers"]
    assert layers.layers == ALL
    assert layers.values.dtype == np.float16
    assert np.array_equal(layers.seconds, plain[name].seconds)
    parts = layers.values.reshape(-1, 3, WIDTH)
    assert np.array_equal(parts[:, 2], plain[name].values)  # the highest is the last layer
    assert not np.array_equal(parts[:, 1], parts[:, 2])
    assert np.array_equal(some[f"{name}_layers"].values.reshape(-1, 2, WIDTH), parts[:, :2])
    assert np.array_equal(some[name].values, plain[name].values)  # given although it is not among the layers


def test_the_layers_are_those_of_transformers() -> None:
    text = resolve("tiny", ["text"])["text"].path
    tokens = AutoTokenizer.from_pretrained(text)("so proud", return_tensors="pt")
    with torch.inference_mode():
        states = AutoModel.from_pretrained(text).eval()(**tokens, output_hidden_states=True).hidden_states[1]
    expected = torch.nn.functional.normalize(states.mean(1))
    np.testing.assert_allclose(made("text", (1,))["text_layers"].values, expected.numpy(), atol=2e-4)

    vision = resolve("tiny", ["vision"])["vision"].path
    model = AutoModel.from_pretrained(vision).eval()
    crops = torch.from_numpy(media(crops=3).faces.crops[0:3].copy()).permute(0, 3, 1, 2) / 255  # type: ignore[union-attr]
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        states = model((crops - mean) / std, output_hidden_states=True).hidden_states[1]
        expected = model.layernorm(states)[:, 0]
    np.testing.assert_allclose(made("vision", (1,))["vision_layers"].values[:3], expected.numpy(), atol=2e-3)

    audio = resolve("tiny", ["audio"])["audio"].path
    waveform = media(30.0).waveform
    assert waveform is not None
    mel = AutoFeatureExtractor.from_pretrained(audio)(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt")
    with torch.inference_mode():
        encoder = WhisperModel.from_pretrained(audio).get_encoder().eval()
        states = encoder(mel.input_features, output_hidden_states=True).hidden_states[1][0]
    np.testing.assert_allclose(
        made("audio", (1,), seconds=30.0)["audio_layers"].values, states.numpy(), rtol=2**-10, atol=1e-3
    )


@pytest.mark.parametrize("name", LAYERED)
def test_openvino_gives_the_layers_of_pytorch_from_a_graph_of_its_own(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    folder = resolve("tiny", [name])[name].path
    monkeypatch.setattr(f"{__name__}.resolve", lambda *_: {name: type("W", (), {"path": folder})})
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    graph = Compute(torch.device("cpu"), torch.float32, "openvino")
    ours, theirs = made(name, ALL), made(name, ALL, graph)
    assert tuple(ours) == tuple(theirs)
    for feature, output in ours.items():
        np.testing.assert_allclose(theirs[feature].values, output.values, rtol=2**-9, atol=2e-3)
    made(name, (), graph)
    assert len(list((tmp_path / "openvino").glob("*/model.xml"))) == 2


def steps(layers: int, longest: int = 5, clips: int = 3) -> Steps:
    values = torch.randn(clips, longest, layers * 4, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(longest) < torch.tensor([[longest], [2], [0]])
    return Steps(values * mask[..., None], mask)


@pytest.mark.parametrize("attention", [True, False])
def test_an_encoder_of_layers_is_that_of_their_weighted_sum(attention: bool) -> None:
    """The sum moves behind the pooling; summing the steps of each model first is the slow way."""
    given, models, layers = steps(3), (0, 1), 3
    encoder = Encoder(RngStreams(models, "w"), 12, 6, [0.0] * 2, attention, layers)
    plain = Encoder(RngStreams(models, "w"), 4, 6, [0.0] * 2, attention)
    assert encoder.layers is not None
    encoder.layers.logits.data = torch.tensor([[0.0, 1.0, 2.0], [0.5, 0.0, -3.0]])
    for k in models:
        weights = torch.softmax(encoder.layers.logits[k], 0)
        summed = torch.einsum("btlf,l->btf", given.values.unflatten(-1, (layers, -1)), weights)
        expected = plain(Steps(summed, given.mask))[k]
        torch.testing.assert_close(encoder(given)[k], expected, atol=1e-5, rtol=1e-5)
    if attention:
        weights = encoder.step_weights(given)
        torch.testing.assert_close(weights.sum(-1)[:2], torch.ones(2, 2))


def test_weights_of_layers_start_equal_and_get_a_gradient() -> None:
    layers = LayerWeights(2, 3)
    assert torch.equal(layers.weights(), torch.full((2, 3), 1 / 3))
    given = steps(3)
    encoder = Encoder(RngStreams((0, 1), "w"), 12, 6, [0.0] * 2, True, 3)
    encoder(given)[..., 0].square().sum().backward()
    assert encoder.layers is not None and encoder.layers.logits.grad is not None
    assert (encoder.layers.logits.grad.abs() > 1e-7).all()
    # each model's layers are its own: the sum for few steps equals the sum behind the mean
    torch.testing.assert_close(layers.of_steps(given.values).sum(2), layers(given.values.sum(1)[None]))
    assert mean_pool(given).shape == (1, 3, 12)


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("layers", [0, 3])
def test_a_center_is_subtracted_from_every_step(layers: int, attention: bool) -> None:
    """Behind the pooling, whose weights it does not change: a clip without steps stays zeros."""
    given, models = steps(3), (0, 1)
    encoder = Encoder(RngStreams(models, "w"), 12, 6, [0.0] * 2, attention, layers, centered=True)
    plain = Encoder(RngStreams(models, "w"), 12, 6, [0.0] * 2, attention, layers)
    assert plain.center is None and encoder.center is not None
    assert torch.equal(encoder(given), plain(given))  # zeros at first
    center = torch.randn(12)
    encoder.center.copy_(center)
    expected = plain(Steps(torch.where(given.mask[..., None], given.values - center, 0.0), given.mask))
    torch.testing.assert_close(encoder(given), expected)
    assert not encoder(given)[:, 2].any()


def test_a_width_that_is_not_of_so_many_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="13 wide, which is not a multiple of 3 layers"):
        Encoder(RngStreams((0,), "w"), 13, 6, [0.0], True, 3)
