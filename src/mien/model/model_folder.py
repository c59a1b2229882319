"""A trained model as a folder of weights and metadata, without code.

    config.json          targets, modalities, widths, settings, the models in it
    model.safetensors    the weights of all K models, the maps of the scores to ratings, and the quantiles of the
                         prediction intervals
    provenance.json      data, versions and results of the training
    licences.json        the pretrained weights it builds on, and their licences
    README.md            the model card
    text.adapted.safetensors   what training changed in a backbone, if it was trained too (``weights/adapted.py``)
    SHA256SUMS           of all of these

What is read is checked against the sums, except the card, which may be edited.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from mien.compute.device import choose_device
from mien.config import Settings, with_local_limits, with_local_weights, with_weights
from mien.errors import Damaged, DataError, ModelError
from mien.model.bundle import Bundle
from mien.model.card import card
from mien.model.description import (
    CALIBRATION,
    CENTER,
    EDGES,
    NO_WEIGHTS,
    QUANTILES,
    Description,
    Provenance,
    check_heads,
    check_numbers,
    module_of,
    read_half_widths,
)
from mien.model.licences import licences_of
from mien.model.network import Multimodal
from mien.starters import NAMES, starter
from mien.storage.bounded import read_safetensors
from mien.storage.checksums import check_sums, write_sums
from mien.storage.documents import check_document
from mien.storage.files import atomic_folder, read_json, write_json

FORMAT = "mien-model"
VERSION = 1
_CONFIG, _PROVENANCE, _LICENCES, _WEIGHTS = "config.json", "provenance.json", "licences.json", "model.safetensors"
_ADAPTED = "{}.adapted.safetensors"
"""File of an adapted backbone within a model, and how its settings name it, by role."""

LARGEST_RECORD = 10_000_000
"""Maximum size of one of its JSON files in bytes."""


def save_bundle(bundle: Bundle, folder: Path) -> None:
    """Write a model folder; an existing one is replaced atomically."""
    kind = "multimodal" if isinstance(bundle.module, Multimodal) else "unimodal"
    places = {role: _ADAPTED.format(role) for role in bundle.adapted}
    settings = bundle.settings.model_dump(mode="json")
    backbones = {role: one.model_dump() for role, one in bundle.backbones.items()}
    for role, place in places.items():
        settings["weights"][role] = backbones[role]["reference"] = place
    config = {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "targets": list(bundle.targets),
        "widths": dict(bundle.widths),
        "models": [asdict(model) for model in bundle.models],
        "feature_provenance": dict(bundle.feature_provenance),
        "random_weights": bundle.random_weights,
        "settings": settings,
        **({"backbones": backbones} if backbones else {}),
    }
    with atomic_folder(folder) as part:
        write_json(part / _CONFIG, config)
        write_json(part / _PROVENANCE, dict(bundle.provenance))
        licences = licences_of(config, bundle.provenance)
        write_json(part / _LICENCES, licences.record())
        (part / _WEIGHTS).write_bytes(save(_tensors(bundle), {"format": "pt"}))
        (part / "README.md").write_text(card(config, bundle.provenance, licences), encoding="utf-8")
        for role, place in places.items():
            shutil.copyfile(bundle.adapted[role], part / place)
        write_sums(part, _CONFIG, _PROVENANCE, _LICENCES, _WEIGHTS, "README.md", *places.values())


def load_bundle(folder: Path, device: str | torch.device | None = None, local: Settings | None = None) -> Bundle:
    """Read a model folder, or the ``model`` folder of a run.

    Tensor shapes are compared with ``config.json`` before anything is allocated, and weights must be finite.

    Args:
        folder: the model or the run.
        device: of the model; by default that of ``local`` (``auto``: a GPU if there is one).
        local: settings for the limits of this machine (device, threads, time and memory per clip, its length and
            size), by default ``Settings()``; those in the model are ignored. Also the places of its backbones of
            one's own, if they were moved.

    Raises:
        ModelError: there is no model, or it is damaged, of another format, or newer than this version of mien.
        SettingsError: one of its modalities is not in the table; the message names it.
    """
    folder = resolve_model_dir(folder)
    config = read_config(folder)
    _check(folder, _PROVENANCE, _LICENCES, _WEIGHTS)
    try:
        description = _parse_description(config)
        provenance = Provenance.model_validate_json(json.dumps(_read(folder / _PROVENANCE)))
        tensors, _ = read_safetensors(folder / _WEIGHTS, lambda heads: check_heads(description, heads))
        check_numbers(tensors)
        module = module_of(description)
        weights = {n: torch.from_numpy(v) for n, v in tensors.items() if not n.startswith(NO_WEIGHTS)}
        zeros = {name: tensor for name, tensor in module.state_dict().items() if name.endswith(CENTER)}
        module.load_state_dict(zeros | weights)
    except (ValueError, KeyError, RuntimeError, OverflowError, RecursionError, Damaged) as error:
        raise ModelError(
            f"{folder}: damaged model ({' '.join(str(error).split())[:300]}); train or fetch it again"
        ) from error
    places = _adapted_places(folder, description)
    _check(folder, *(place.name for place in places.values()))
    settings = with_local_limits(description.settings, local)
    settings = with_local_weights(with_weights(settings, {n: str(place) for n, place in places.items()}), local)
    chosen = choose_device(settings.compute) if device is None else torch.device(device)
    return Bundle(
        module=module.to(chosen).requires_grad_(False),
        targets=description.targets,
        widths=description.widths,
        settings=settings,
        models=description.models,
        feature_provenance=description.feature_provenance,
        random_weights=description.random_weights,
        backbones=description.backbones,
        adapted=places,
        provenance=provenance.model_dump(exclude_unset=True),
        half_widths=read_half_widths(tensors),
        calibration={n.removeprefix(CALIBRATION): v for n, v in tensors.items() if n.startswith(CALIBRATION)},
        folder=folder,
    )


def _adapted_places(folder: Path, description: Description) -> dict[str, Path]:
    """The files of the adapted backbones within a model, by role."""
    named = description.settings.backbones.references
    return {role: folder.absolute() / place for role, place in named.items() if place == _ADAPTED.format(role)}


def _parse_description(config: Mapping[str, Any]) -> Description:
    """The validated ``config.json``; a model that was saved before there were layers reads the last one.

    Raises:
        ValueError: it is not valid.
    """
    settings = config.get("settings")
    if isinstance(settings, dict):
        config = {**config, "settings": {"backbone": {"text": "frozen"}, **settings}}
    return Description.model_validate_json(json.dumps(config))


def _tensors(bundle: Bundle) -> dict[str, Tensor]:
    weights = {n: v.detach().cpu().contiguous() for n, v in bundle.module.state_dict().items()}
    numbers = {f"{QUANTILES}{name}": one.widths for name, one in bundle.half_widths.items()}
    numbers |= {f"{EDGES}{name}": one.edges for name, one in bundle.half_widths.items() if len(one.edges)}
    numbers |= {f"{CALIBRATION}{name}": maps for name, maps in bundle.calibration.items()}
    return weights | {name: torch.from_numpy(np.ascontiguousarray(v, np.float32)) for name, v in numbers.items()}


def resolve_model_dir(folder: Path) -> Path:
    """The model folder of a run, that of a starter by its name, or the folder itself."""
    folder = starter(folder) or folder
    return folder / "model" if (folder / "model" / _CONFIG).exists() else folder


def weights_file(folder: Path) -> Path:
    """The file with the weights of a model, given its folder or its run."""
    return resolve_model_dir(folder) / _WEIGHTS


def read_config(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of a model folder.

    Raises:
        ModelError: there is no model, or it is damaged, of another format, or newer than this version of mien.
    """
    if not folder.exists():
        raise ModelError(
            f"{folder}: no such folder; expected a model, a run of mien train, or one that ships with mien: "
            f"{', '.join(NAMES)}"
        )
    if not (folder / _CONFIG).exists():
        raise ModelError(f"{folder}: not a model (no config.json); make one with: mien train DATA --features STORE")
    config = check_document(
        folder / _CONFIG, _read(folder / _CONFIG), FORMAT, VERSION,
        noun="model", remedy="train or fetch it again", error=ModelError,
    )  # fmt: skip
    _check(folder, _CONFIG)
    try:
        _parse_description(config)
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{folder}: damaged model ({' '.join(str(error).split())[:300]}); train or fetch it again"
        ) from error
    return config


def read_provenance(folder: Path) -> dict[str, Any]:
    """The ``provenance.json`` of a model folder.

    Raises:
        ModelError: it is damaged.
    """
    _check(folder, _PROVENANCE)
    try:
        found = Provenance.model_validate_json(json.dumps(_read(folder / _PROVENANCE)))
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{folder}: damaged model ({' '.join(str(error).split())[:300]}); train or fetch it again"
        ) from error
    return found.model_dump(exclude_unset=True)


def _check(folder: Path, *names: str) -> None:
    try:
        check_sums(folder, names)
    except Damaged as error:
        raise ModelError(f"{error}; fetch the model again, or delete {folder} and train again") from error
    except DataError as error:
        raise ModelError(str(error)) from error


def _read(path: Path) -> Any:
    try:
        return read_json(path, LARGEST_RECORD)
    except DataError as error:
        raise ModelError(f"{error}; fetch the model again, or delete {path.parent} and train again") from error
