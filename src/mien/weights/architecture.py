"""The architecture of a backbone, read from its ``config.json`` without loading it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.errors import DataError, WeightsError
from mien.storage.files import read_json

LARGEST_CONFIG = 1_000_000
"""Bytes of a ``config.json``."""


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


def read_architecture(folder: Path) -> Architecture:
    """The architecture of the backbone in a Hugging Face folder.

    Raises:
        WeightsError: its ``config.json`` cannot be read, or lacks the sizes.
    """
    file = folder / "config.json"
    try:
        config = read_json(file, LARGEST_CONFIG)
    except DataError as error:
        raise WeightsError(f"{error}; expected the folder of a Hugging Face model") from error
    whisper = isinstance(config, dict) and config.get("model_type") == "whisper"
    width, depth = ("d_model", "encoder_layers") if whisper else ("hidden_size", "num_hidden_layers")
    kind = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(kind, str):
        raise WeightsError(f"{file}: no valid model_type; expected the configuration of a Hugging Face model")
    return Architecture(kind, _size(config, width, file), _size(config, depth, file))


def _size(config: Any, name: str, file: Path) -> int:
    value = config.get(name)
    if not isinstance(value, int) or not 0 < value <= 65_536:
        raise WeightsError(f"{file}: no valid {name}; expected the configuration of a Hugging Face model")
    return value
