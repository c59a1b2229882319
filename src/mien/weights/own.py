"""Backbones of one's own: the folder of a Hugging Face model, or ``owner/name@commit`` from the weights cache.

A folder is checked before anything is loaded from it: the architecture is one that transformers has itself, its weights
are in whole safetensors files, its tokeniser or preprocessor is there, nothing in it is pickled, asks for code of its
own, or is a link out of the folder. Its fingerprint is that of the bytes that are read, so it may be moved.
"""

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from mien.errors import WeightsError, WeightsMissing
from mien.storage.bounded import LARGEST_WEIGHTS, tensor_places
from mien.storage.files import key_of, open_regular, sha256_of
from mien.weights.architecture import ARCHITECTURES, BLOCK, Architecture, read_architecture, read_config
from mien.weights.cache import Weights, check, fetch_command, folder_of
from mien.weights.licence_note import UNKNOWN_LICENCE, licence_note
from mien.weights.table import HUB, hub_entry

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}(@[\w./-]*)?")

READ_SUFFIXES = (".json", ".txt", ".safetensors", ".model")
POOLING = "1_Pooling/config.json"
TOKENIZERS = (("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"), ("sentencepiece.bpe.model",))
STEP_SAMPLES, SAMPLE_RATE = 320, 16_000
"""Samples per step of a speech encoder, and per second: 50 steps a second."""


class OwnBackbone(BaseModel):
    """A backbone of one's own as a store and a model name it.

    Attributes:
        name: of the folder or repository, with the first digits of the fingerprint; features have it as provenance.
        reference: the folder, or ``owner/name@commit``.
        sha256: the fingerprint, by which it is recognised wherever it is.
        licence: as its ``README.md`` names it.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    name: str
    reference: str
    sha256: str
    licence: str = UNKNOWN_LICENCE


def own_backbones(weights: Mapping[str, Weights]) -> dict[str, OwnBackbone]:
    """Those of the weights that are backbones of one's own, by role."""
    return {
        role: OwnBackbone(name=one.name, reference=one.source.partition(":")[2], sha256=one.sha256, licence=one.licence)
        for role, one in weights.items()
        if one.is_own
    }


def resolve_own(role: str, reference: str) -> Weights:
    """The backbone that a setting ``weights.<role>`` names, checked.

    Raises:
        WeightsMissing: there is no such folder, or the repository is not in the cache.
        WeightsError: it is not a backbone for this role that can be loaded safely; one line says why.
    """
    label = f"weights.{role}: {reference}"
    if match := HUB.fullmatch(reference):
        entry = hub_entry(reference)
        status = check(entry)
        if status.state != "whole":
            raise WeightsMissing(f"{label}: {status.detail}; run `{fetch_command(entry)}`")
        folder, name, source = folder_of(entry), match[1], f"hub:{reference}"
    else:
        folder = Path(reference).expanduser()
        if not folder.is_dir():
            hint = "expected owner/name@commit with all 40 digits of the commit, or"
            hint = hint if REPOSITORY.fullmatch(reference) and not folder.is_absolute() else "expected"
            raise WeightsMissing(
                f"{label}: no such folder; {hint} the folder of a model; if it was moved, give its new place with "
                f"--set weights.{role}=FOLDER"
            )
        folder = folder.resolve()
        name, source = folder.name, f"folder:{folder}"
    check_backbone(role, folder, label)
    sha256 = fingerprint_of(folder)
    plain = re.sub(r"[^\w.-]+", "-", name.rpartition("/")[2])[:60] or "model"
    return Weights(f"{plain}@{sha256[:12]}", folder, sha256, licence_note(folder), source, False)


def fingerprint_of(folder: Path) -> str:
    """A hash of the names and bytes of the files that are read: 32 characters, the same wherever the folder is."""
    stats = tuple((str(path.relative_to(folder)), *_stat(path)) for path in _read_files(folder))
    return _fingerprint(folder, stats)


def _stat(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=64)
def _fingerprint(folder: Path, stats: tuple[tuple[str, int, int], ...]) -> str:
    """Hashed once per process, while sizes and times of the files stay the same."""
    return key_of({name: sha256_of(folder / name) for name, _, _ in stats})


def _read_files(folder: Path) -> list[Path]:
    """The files that a backbone is loaded from, in order."""
    found = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix in READ_SUFFIXES]
    return found + [path for path in [folder / POOLING] if path.is_file()]


def check_backbone(role: str, folder: Path, label: str) -> Architecture:
    """Check that a folder holds a backbone for a role that can be loaded safely.

    Args:
        role: ``text``, ``audio`` or ``vision``.
        folder: of a Hugging Face model.
        label: the setting and its value, for messages.

    Raises:
        WeightsError: it does not.
    """
    for path in folder.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise WeightsError(f"{label}: {path.relative_to(folder)} is a link out of the folder; copy it with cp -rL")
    try:
        config, architecture = read_config(folder), read_architecture(folder)
        _check_code(folder, label)
        if architecture.kind not in ARCHITECTURES[role]:
            raise WeightsError(f"architecture {architecture.kind!r}, expected one of {', '.join(ARCHITECTURES[role])}")
        if "quantization_config" in config:
            raise WeightsError("config.json has a quantization_config; expected weights in floating point")
        if (folder / "adapter_config.json").exists():
            raise WeightsError("holds an adapter; merge it into its model first")
        _check_tensors(folder, architecture)
        {"text": _check_text, "audio": _check_audio, "vision": _check_vision}[role](folder, config)
    except WeightsError as error:
        said = str(error)
        raise WeightsError(said if said.startswith(label) else f"{label}: {said}") from error
    return architecture


def _check_code(folder: Path, label: str) -> None:
    """Refuse a model that needs code of its repository."""
    for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json"):
        if (folder / name).exists():
            config = read_config(folder, name)
            if config.get("auto_map"):
                new = " (GTE: transformers has it as 'gte')" if config.get("model_type") == "new" else ""
                raise WeightsError(
                    f"{label}: {name} asks for code of its repository (auto_map), which is never run{new}; take a "
                    "repository of an architecture that transformers has itself"
                )


def _check_tensors(folder: Path, architecture: Architecture) -> None:
    """Check that the safetensors files are whole, and hold all blocks of the architecture."""
    names: set[str] = set()
    for file in _weight_files(folder):
        try:
            with open_regular(file, LARGEST_WEIGHTS) as opened:
                names |= tensor_places(opened, os.fstat(opened.fileno()).st_size)[0].keys()
        except OSError as error:
            raise WeightsError(f"{file.name}: cannot be read ({error.strerror})") from error
        except (KeyError, ValueError, TypeError, RecursionError) as error:
            raise WeightsError(
                f"{file.name}: damaged ({' '.join(str(error).split())[:150]}); fetch it again"
            ) from error
    encoder = {name for name in names if "decoder." not in name}
    blocks = {int(match[1]) for match in map(BLOCK.search, encoder) if match}
    if lacking := sorted(set(range(architecture.depth)) - blocks):
        raise WeightsError(
            f"its weights have no block {lacking[0]} of the {architecture.depth} that config.json says "
            f"({architecture.kind}); expected a whole model"
        )


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.exists():
        parts = read_config(folder, index.name).get("weight_map")
        files = sorted({str(name) for name in parts.values()}) if isinstance(parts, Mapping) else []
        if not files or any(not re.fullmatch(r"[\w.-]+\.safetensors", name) for name in files):
            raise WeightsError(f"{index.name}: damaged; expected a weight_map of safetensors files")
        return [folder / name for name in files]
    if (folder / "model.safetensors").exists():
        return [folder / "model.safetensors"]
    pickled = next(
        (path.name for path in sorted(folder.iterdir()) if path.suffix in (".bin", ".pt", ".pth", ".pkl")), ""
    )
    if pickled:
        raise WeightsError(
            f"has only pickled weights ({pickled}), which can run code and are refused; expected model.safetensors "
            "(save_pretrained of transformers writes it)"
        )
    raise WeightsError("no model.safetensors in it; expected the folder of a Hugging Face model")


def _check_text(folder: Path, _: Mapping[str, Any]) -> None:
    if not any(all((folder / name).is_file() for name in names) for names in TOKENIZERS):
        raise WeightsError("no tokenizer in it; expected tokenizer.json, or the vocabulary")
    pooling_of(folder)


def _check_audio(folder: Path, config: Mapping[str, Any]) -> None:
    extractor = _preprocessor(folder)
    if extractor.get("sampling_rate", SAMPLE_RATE) != SAMPLE_RATE:
        raise WeightsError(f"reads sound at {extractor['sampling_rate']} Hz, expected {SAMPLE_RATE} Hz")
    strides = config.get("conv_stride", (5, 2, 2, 2, 2, 2, 2))
    samples = 1
    for stride in strides if isinstance(strides, list | tuple) else ():
        samples *= stride if isinstance(stride, int) else 0
    if samples != STEP_SAMPLES:
        raise WeightsError(f"gives a step every {samples} samples (conv_stride), expected {STEP_SAMPLES}")


def _check_vision(folder: Path, _: Mapping[str, Any]) -> None:
    image_statistics(folder)


def _preprocessor(folder: Path) -> dict[str, Any]:
    if not (folder / "preprocessor_config.json").is_file():
        raise WeightsError("no preprocessor_config.json in it; expected that of the model")
    return read_config(folder, "preprocessor_config.json")


def image_statistics(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the images that a vision backbone was trained on, by channel.

    Raises:
        WeightsError: its ``preprocessor_config.json`` is missing, or has none.
    """
    config = _preprocessor(folder)
    made = [config.get(name) for name in ("image_mean", "image_std")]
    for values in made:
        if not isinstance(values, list) or len(values) != 3 or not all(isinstance(x, int | float) for x in values):
            raise WeightsError("preprocessor_config.json: no image_mean and image_std of three channels")
    mean, deviation = (tuple(map(float, values or ())) for values in made)
    if not all(value > 0 for value in deviation):
        raise WeightsError(f"preprocessor_config.json: image_std is {deviation}, expected numbers above 0")
    return mean, deviation


def pooling_of(folder: Path) -> str:
    """``mean``, or ``cls`` where the sentence-transformers record beside a text model says so.

    Raises:
        WeightsError: the record asks for another pooling.
    """
    if not (folder / POOLING).is_file():
        return "mean"
    config = read_config(folder, POOLING)
    modes = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    named = config.get("pooling_mode")
    found = [known[mode] for mode in modes if mode in known] + [named for _ in [0] if named in ("mean", "cls")]
    if len(found) != 1 or len(modes) > 1:
        asked = ", ".join(_shown(modes, named)) or "no pooling"
        raise WeightsError(f"{POOLING}: asks for {asked}; expected the mean of the tokens, or the CLS token")
    return found[0]


def _shown(modes: list[str], named: Any) -> Iterator[str]:
    yield from (mode.removeprefix("pooling_mode_") for mode in modes)
    if named is not None:
        yield str(named)[:40]
