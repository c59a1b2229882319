"""Weights in another program's format → a Hugging Face folder, without torch.

    CTranslate2 model.bin (Whisper)  → read_ct2 → whisper_from_ct2 → WhisperForConditionalGeneration folder
    ONNX graph around a DINOv2 ViT   →            dinov2_from_onnx → Dinov2Model folder
    a file in two parts              →            join_parts

Nothing is retrained or rounded: float16 stays float16 on disk (the configuration asks for float32 in use), float32
stays float32, so the same source always gives the same bytes. Trade-off: the configurations are written by hand, which
depends on parameter names that transformers has kept since 4.31; loading through ``from_pretrained`` lets it rename.

Shapes: ``D`` width, ``V`` vocabulary; a linear layer is stored ``(out, in)``.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from mien.errors import DependencyMissing, WeightsError
from mien.storage.files import open_regular, read_json
from mien.weights.ct2 import read_ct2

Array = npt.NDArray[Any]

WHISPER_PREPROCESSOR = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 80,
    "sampling_rate": 16000,
    "hop_length": 160,
    "n_fft": 400,
    "chunk_length": 30,
    "n_samples": 480000,
    "nb_max_frames": 3000,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": False,
}
"""Whisper's ``preprocessor_config.json``: waveform → 80 log-mel bands, 100 frames a second."""

DINOV2_PREPROCESSOR = {
    "image_processor_type": "BitImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "do_convert_rgb": True,
}
"""DINOv2's ``preprocessor_config.json``: images of 224 x 224, normalised by ImageNet mean and deviation."""


def whisper_from_ct2(source: Path, out: Path) -> None:
    """A Whisper model of CTranslate2 as a Hugging Face folder.

    Args:
        source: folder with ``model.bin``, ``config.json`` and ``tokenizer.json``.
        out: empty folder to fill.

    Raises:
        WeightsError: ``model.bin`` is not a Whisper model in float16 or float32.
    """
    ct2 = read_ct2(source / "model.bin")
    unexpected = [name for name, value in ct2.items() if value.ndim and value.dtype.kind == "i" and "align" not in name]
    if "encoder/conv1/weight" not in ct2 or unexpected:
        raise WeightsError(f"{source / 'model.bin'}: expected a Whisper model in float16 or float32, found another")
    tensors = _whisper_stem(ct2)
    for i in range(_depth(ct2, "encoder")):
        tensors |= _whisper_layer(ct2, f"encoder/layer_{i}", f"model.encoder.layers.{i}")
    for i in range(_depth(ct2, "decoder")):
        tensors |= _whisper_layer(ct2, f"decoder/layer_{i}", f"model.decoder.layers.{i}")
    _save(tensors, out)
    shutil.copyfile(source / "tokenizer.json", out / "tokenizer.json")
    tokens = {token["content"]: token["id"] for token in _read(source / "tokenizer.json")["added_tokens"]}
    _write(out / "config.json", _whisper_config(ct2, tokens))
    _write(out / "generation_config.json", _whisper_generation(_read(source / "config.json"), tokens))
    _write(out / "preprocessor_config.json", WHISPER_PREPROCESSOR)
    _write(out / "tokenizer_config.json", {"tokenizer_class": "WhisperTokenizer", "model_max_length": 448})


def dinov2_from_onnx(source: Path, out: Path) -> None:
    """The DINOv2 backbone of an ONNX graph that kept the parameter names, as a Hugging Face folder.

    The exporter folded each linear layer into a nameless transposed matrix, which is identified by the name of the node
    that multiplies by it, and split the position embeddings into the class token's and the patches'.

    Args:
        source: folder with one ``.onnx`` file.
        out: empty folder to fill.

    Raises:
        DependencyMissing: the ``onnx`` package is not installed.
        WeightsError: the graph does not contain such a backbone.
    """
    try:
        import onnx  # noqa: PLC0415 - heavy, and needed only for conversion
        from onnx import numpy_helper  # noqa: PLC0415
    except ImportError as error:
        raise DependencyMissing("reading ONNX weights needs the 'onnx' package: pip install 'mien[small]'") from error
    (file,) = source.glob("*.onnx")
    graph = onnx.load(file).graph
    constants = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
    tensors = {name[9:]: value for name, value in constants.items() if name.startswith("backbone.")}
    positions: dict[str, Array] = {}
    for node in graph.node:
        weight = next((constants[name] for name in node.input if name.startswith("onnx::") and name in constants), None)
        if weight is None:
            continue
        if node.op_type == "MatMul" and node.name.startswith("/backbone/encoder/"):
            tensors[node.name[10:-7].replace("/", ".") + ".weight"] = weight.T
        elif node.op_type in ("Concat", "Reshape") and node.name.startswith("/backbone/embeddings/"):
            positions[node.op_type] = weight
    layers = len({name.split(".")[2] for name in tensors if name.startswith("encoder.layer.")})
    # 18 tensors a layer; class token, patch projection (2) and final norm (2) outside the layers
    if not layers or len(tensors) != 18 * layers + 5 or set(positions) != {"Concat", "Reshape"}:
        raise WeightsError(f"{file}: expected a DINOv2 backbone with 18 tensors a layer, found {len(tensors)} tensors")
    position = np.concatenate([positions["Concat"], positions["Reshape"]], axis=1)  # (1, 1 + patches, D)
    tensors["embeddings.position_embeddings"] = position
    tensors["embeddings.mask_token"] = np.zeros((1, position.shape[-1]), np.float32)  # used in pretraining only
    _save(tensors, out)
    _write(out / "config.json", _dinov2_config(tensors, layers))
    _write(out / "preprocessor_config.json", DINOV2_PREPROCESSOR)


def join_parts(source: Path, out: Path) -> None:
    """Files named ``x.part1``, ``x.part2``, … as one file ``x``; other files as they are."""
    for file in sorted(source.iterdir(), key=lambda file: (len(file.name), file.name)):  # part2 before part10
        name, _, number = file.name.partition(".part")
        with open_regular(file) as read, (out / name).open("ab" if number not in ("", "1") else "wb") as write:
            shutil.copyfileobj(read, write)


def _depth(ct2: Mapping[str, Array], side: str) -> int:
    return len({name.split("/")[1] for name in ct2 if name.startswith(f"{side}/layer_") and name.count("/") > 2})


def _whisper_stem(ct2: Mapping[str, Array]) -> dict[str, Array]:
    """Everything outside the layers. The output projection is the token embedding, so it is not stored."""
    return {
        **_linear(ct2, "encoder/conv1", "model.encoder.conv1"),
        **_linear(ct2, "encoder/conv2", "model.encoder.conv2"),
        "model.encoder.embed_positions.weight": ct2["encoder/position_encodings/encodings"],
        **_norm(ct2, "encoder/layer_norm", "model.encoder.layer_norm"),
        "model.decoder.embed_tokens.weight": ct2["decoder/embeddings/weight"],  # (V, D)
        "model.decoder.embed_positions.weight": ct2["decoder/position_encodings/encodings"],
        **_norm(ct2, "decoder/layer_norm", "model.decoder.layer_norm"),
    }


def _whisper_layer(ct2: Mapping[str, Array], source: str, target: str) -> dict[str, Array]:
    tensors = {
        **_norm(ct2, f"{source}/self_attention/layer_norm", f"{target}.self_attn_layer_norm"),
        **_split(ct2, f"{source}/self_attention/linear_0", f"{target}.self_attn", "qkv"),
        **_linear(ct2, f"{source}/self_attention/linear_1", f"{target}.self_attn.out_proj"),
        **_norm(ct2, f"{source}/ffn/layer_norm", f"{target}.final_layer_norm"),
        **_linear(ct2, f"{source}/ffn/linear_0", f"{target}.fc1"),
        **_linear(ct2, f"{source}/ffn/linear_1", f"{target}.fc2"),
    }
    if f"{source}/attention/layer_norm/gamma" not in ct2:
        return tensors
    return tensors | {
        **_norm(ct2, f"{source}/attention/layer_norm", f"{target}.encoder_attn_layer_norm"),
        **_split(ct2, f"{source}/attention/linear_0", f"{target}.encoder_attn", "q"),
        **_split(ct2, f"{source}/attention/linear_1", f"{target}.encoder_attn", "kv"),
        **_linear(ct2, f"{source}/attention/linear_2", f"{target}.encoder_attn.out_proj"),
    }


def _linear(ct2: Mapping[str, Array], source: str, target: str) -> dict[str, Array]:
    return {f"{target}.weight": ct2[f"{source}/weight"], f"{target}.bias": ct2[f"{source}/bias"]}


def _norm(ct2: Mapping[str, Array], source: str, target: str) -> dict[str, Array]:
    return {f"{target}.weight": ct2[f"{source}/gamma"], f"{target}.bias": ct2[f"{source}/beta"]}


def _split(ct2: Mapping[str, Array], source: str, target: str, parts: str) -> dict[str, Array]:
    """Query, key and value stacked in one matrix ``(parts * D, D)``; Whisper's keys have no bias, stored as zeros."""
    weights = np.split(ct2[f"{source}/weight"], len(parts))
    biases = np.split(ct2[f"{source}/bias"], len(parts))
    tensors: dict[str, Array] = {}
    for part, weight, bias in zip(parts, weights, biases, strict=True):
        tensors[f"{target}.{part}_proj.weight"] = weight
        if part != "k":
            tensors[f"{target}.{part}_proj.bias"] = bias
        elif bias.any():
            raise WeightsError(f"{source}: the keys have a bias, unlike Whisper's")
    return tensors


def _whisper_config(ct2: Mapping[str, Array], tokens: Mapping[str, int]) -> dict[str, Any]:
    vocabulary, width = ct2["decoder/embeddings/weight"].shape
    end = tokens["<|endoftext|>"]
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "dtype": "float32",
        "activation_function": "gelu",
        "vocab_size": vocabulary,
        "d_model": width,
        "num_mel_bins": ct2["encoder/conv1/weight"].shape[1],
        "max_source_positions": len(ct2["encoder/position_encodings/encodings"]),
        "max_target_positions": len(ct2["decoder/position_encodings/encodings"]),
        **{f"{side}_layers": _depth(ct2, side) for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": int(ct2[f"{side}/num_heads"]) for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": len(ct2[f"{side}/layer_0/ffn/linear_0/bias"]) for side in ("encoder", "decoder")},
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), end),
        "decoder_start_token_id": tokens["<|startoftranscript|>"],
        "tie_word_embeddings": True,
    }


def _whisper_generation(ct2_config: Mapping[str, Any], tokens: Mapping[str, int]) -> dict[str, Any]:
    end = tokens["<|endoftext|>"]
    return {
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), end),
        "decoder_start_token_id": tokens["<|startoftranscript|>"],
        "no_timestamps_token_id": tokens["<|notimestamps|>"],
        "is_multilingual": end != 50256,
        "suppress_tokens": ct2_config["suppress_ids"],
        "begin_suppress_tokens": ct2_config["suppress_ids_begin"],
        "alignment_heads": ct2_config["alignment_heads"],
        "max_length": 448,
    }


def _dinov2_config(tensors: Mapping[str, Array], layers: int) -> dict[str, Any]:
    width, _, patch, _ = tensors["embeddings.patch_embeddings.projection.weight"].shape
    patches = tensors["embeddings.position_embeddings"].shape[1] - 1
    return {
        "architectures": ["Dinov2Model"],
        "model_type": "dinov2",
        "dtype": "float32",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,  # every DINOv2 has heads 64 wide
        "mlp_ratio": len(tensors["encoder.layer.0.mlp.fc1.bias"]) // width,
        "image_size": round(patches**0.5) * patch,
        "patch_size": patch,
        "layer_norm_eps": 1e-6,
        "hidden_act": "gelu",
        "qkv_bias": True,
    }


def _save(tensors: Mapping[str, Array], out: Path) -> None:
    contiguous = {name: np.ascontiguousarray(value) for name, value in sorted(tensors.items())}
    save_file(contiguous, out / "model.safetensors", metadata={"format": "pt"})


def _read(path: Path) -> Any:
    return read_json(path)


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
