"""The architecture of a backbone, read from its ``config.json`` without loading it.

    text     BERT, RoBERTa, XLM-RoBERTa, MPNet, GTE
    audio    wav2vec 2.0, HuBERT, WavLM, the encoder of Whisper
    vision   DINOv2, ViT

Only architectures that transformers has itself are loaded; code of a repository is never run.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.errors import DataError, WeightsError
from mien.storage.files import read_json

LARGEST_CONFIG = 1_000_000
"""Bytes of a ``config.json``."""

ARCHITECTURES: Mapping[str, tuple[str, ...]] = {
    "text": ("bert", "roberta", "xlm-roberta", "mpnet", "gte"),
    "audio": ("wav2vec2", "hubert", "wavlm", "whisper"),
    "vision": ("dinov2", "vit"),
}
"""``model_type`` of the supported architectures, by role."""

BLOCK = re.compile(r"(?:^|\.)(?:encoder\.)?layers?\.(\d{1,4})\.")
"""The number of a block in the name of one of its tensors, in all of them."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """The size of a backbone.

    Attributes:
        kind: ``model_type`` in its configuration: ``bert``, ``whisper`` …
        width: ``F``, of its hidden states.
        depth: number of its blocks, and so of its last layer; layer 0 is the embedding of the input.
    """

    kind: str
    width: int
    depth: int


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """A configuration in a Hugging Face folder.

    Raises:
        WeightsError: it cannot be read, or is not a JSON object.
    """
    try:
        config = read_json(folder / name, LARGEST_CONFIG)
    except DataError as error:
        raise WeightsError(f"{error}; expected the folder of a Hugging Face model") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{folder / name}: not a JSON object; expected the configuration of a Hugging Face model")
    return config


def read_architecture(folder: Path) -> Architecture:
    """The architecture of the backbone in a Hugging Face folder.

    Raises:
        WeightsError: its ``config.json`` cannot be read, or lacks the sizes.
    """
    config, file = read_config(folder), folder / "config.json"
    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise WeightsError(f"{file}: no model_type; expected the configuration of a Hugging Face model")
    width, depth = ("d_model", "encoder_layers") if kind == "whisper" else ("hidden_size", "num_hidden_layers")
    return Architecture(kind, _size(config, width, file), _size(config, depth, file))


def _size(config: Mapping[str, Any], name: str, file: Path) -> int:
    value = config.get(name)
    if not isinstance(value, int) or not 0 < value <= 65_536:
        raise WeightsError(f"{file}: no valid {name}; expected the configuration of a Hugging Face model")
    return value
