"""A trained model as a folder of weights and metadata, without code.

    config.json          targets, modalities, widths, settings, the models in it
    model.safetensors    the weights of all K models, the maps of the scores to ratings, and the quantiles of the
                         prediction intervals
    provenance.json      data, versions and results of the training
    licences.json        the pretrained weights it builds on, and their licences
    README.md            the model card
    text.adapted.safetensors   what training changed in a backbone, if it was trained too (``weights/adapted.py``)
    SHA256SUMS           of all of these; checked when read, except the card, which may be edited

The scores of a bundle are the mean over its K models (seeds), which costs little more than one model. Every score goes
through ``calibrated``, which makes it an expected rating; nothing else applies a map.

Shapes: ``K`` models, ``N`` clips, ``E`` emotions.
"""

import itertools
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save
from torch import Tensor

from mien.compute.device import choose_device
from mien.config import Settings, with_local_limits, with_local_weights, with_weights
from mien.errors import Damaged, DataError, ModelError
from mien.features.store import Packed
from mien.model.calibration import Maps
from mien.model.card import card
from mien.model.description import (
    CALIBRATION,
    EDGES,
    NO_WEIGHTS,
    QUANTILES,
    Description,
    Provenance,
    check_heads,
    check_numbers,
    module_of,
    read_half_widths,
    read_layers,
)
from mien.model.embeddings import subset_scores
from mien.model.half_widths import HalfWidths
from mien.model.inputs import ClipDataset, load_dataset, predict_all
from mien.model.licences import licences_of
from mien.model.network import ModelSpec, Multimodal, Unimodal, learned_layers
from mien.schema import RATING_SCALE
from mien.starters import NAMES, starter
from mien.storage.bounded import read_safetensors
from mien.storage.checksums import check_sums, write_sums
from mien.storage.documents import check_document
from mien.storage.files import atomic_folder, read_json, write_json
from mien.subsets import modalities_of, subset_name
from mien.weights.own import OwnBackbone

FORMAT = "mien-model"
VERSION = 1
_CONFIG, _PROVENANCE, _LICENCES, _WEIGHTS = "config.json", "provenance.json", "licences.json", "model.safetensors"
_ADAPTED = "{}.adapted.safetensors"
"""File of an adapted backbone within a model, and how its settings name it, by role."""

LARGEST_RECORD = 10_000_000
"""Maximum size of one of its JSON files in bytes."""


@dataclass
class Bundle:
    """A model that scores features.

    Attributes:
        module: ``Unimodal`` or ``Multimodal``, K models at once, on its device.
        targets: names of the scores, in order.
        widths: feature width by modality, in the order of the model.
        settings: of the training; media, faces, speech and weights also define how clips are prepared.
        models: hyper-parameters in which the K models differ.
        feature_provenance: how the training features were made, by modality.
        random_weights: whether the backbones had random weights, so that scores are meaningless.
        backbones: backbones of one's own, by role; scoring needs the same bytes.
        adapted: of these, the files of those that were trained with it (``weights/adapted.py``), by role.
        provenance: data and store fingerprints, versions, results.
        half_widths: of the prediction intervals, by available modalities (``"audio+text"``). A clip has the widest of
            those of its modalities and of all larger sets, at its score.
        calibration: maps of scores to expected ratings ``(2, E)`` by available modalities (``model.calibration``); a
            set without one has that of all modalities. Empty in models from before there were maps.
        folder: that it was read from; ``None`` before it is saved.
    """

    module: Unimodal | Multimodal
    targets: tuple[str, ...]
    widths: Mapping[str, int]
    settings: Settings
    models: tuple[ModelSpec, ...]
    feature_provenance: Mapping[str, str]
    random_weights: bool
    backbones: Mapping[str, OwnBackbone] = field(default_factory=dict)
    adapted: Mapping[str, Path] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    half_widths: Mapping[str, HalfWidths] = field(default_factory=dict)
    calibration: Maps = field(default_factory=dict)
    folder: Path | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """Its modalities, in order."""
        return tuple(self.widths)

    @property
    def scale(self) -> tuple[float, float]:
        """Range of the ratings that it was trained on."""
        low, high = self.provenance.get("scale", RATING_SCALE)
        return low, high

    @property
    def device(self) -> torch.device:
        """The device of its parameters."""
        return next(self.module.parameters()).device

    def clips(self, packed: Mapping[str, Packed], labels: npt.ArrayLike | None = None) -> ClipDataset:
        """Features in memory, as the input of this model.

        Raises:
            ModelError: the feature width of a modality differs from that of the model.
        """
        count = len(next(iter(packed.values())).lengths) if packed else 0
        labels_or_nan = np.full((count, len(self.targets)), np.nan, np.float32) if labels is None else labels
        longest = self.settings.stage1.longest_steps
        layers = {name: len(numbers) for name, numbers in read_layers(self.settings, self.widths).items()}
        return load_dataset(packed, labels_or_nan, self.widths, longest, device=self.device, layers=layers)

    def layer_weights(self) -> dict[str, dict[int, float]]:
        """The learned weight of each layer, the mean over the models, by modality whose backbone is read as layers."""
        numbers, weights = read_layers(self.settings, self.widths), learned_layers(self.module)
        return {n: dict(zip(numbers[n], w.mean(0).tolist(), strict=True)) for n, w in weights.items()}

    def layers_record(self) -> dict[str, Any]:
        """``layer_weights`` as a part of ``provenance``; empty if it reads no layers."""
        found = {name: {str(n): w for n, w in weights.items()} for name, weights in self.layer_weights().items()}
        return {"layers": found} if found else {}

    def score(self, packed: Mapping[str, Packed]) -> npt.NDArray[np.float32]:
        """Score clips: ``(N, E)``, the mean over the models.

        Args:
            packed: features by modality, all of the same clips; a modality without an entry is missing from all.

        Returns:
            Expected ratings, not clipped to the rating scale. A clip without any modality gets a constant, the
            output for no input; callers decide whether to use it.

        Raises:
            ModelError: the feature width of a modality differs from that of the model.
        """
        return self.score_each(self.clips(packed)).mean(0)

    def score_each(self, clips: ClipDataset) -> npt.NDArray[np.float32]:
        """Score clips with each of the K models: ``(K, N, E)``, in float32."""
        return self.calibrated(predict_all(self.module, clips), self.present(clips))

    def calibrated(self, scores: npt.NDArray[np.float32], present: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """Outputs of the network as expected ratings; unchanged without a calibration.

        Args:
            scores: ``(K, N, E)``.
            present: ``(N, M)``, the modalities that each clip was scored from.
        """
        if not self.calibration:
            return scores
        whole = self.calibration[subset_name(self.modalities)]
        maps = np.array([self.calibration.get(name, whole) for name in self._subset_names(present)], np.float32)
        slopes, offsets = maps.reshape(-1, 2, len(self.targets)).swapaxes(0, 1)  # (N, E) each
        return slopes * scores + offsets

    def present(self, clips: ClipDataset) -> npt.NDArray[np.bool_]:
        """``(N, M)``, the modalities that each clip has."""
        return np.stack([clips.present(name).cpu().numpy() for name in self.modalities], -1)

    def _subset_names(self, present: npt.NDArray[np.bool_]) -> list[str]:
        return [subset_name(itertools.compress(self.modalities, row)) for row in present]

    def bounded(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Scores clipped to the rating scale, as users get them; ``nan`` stays."""
        low, high = self.scale
        return np.clip(scores, np.float32(low), np.float32(high))

    def score_subsets(
        self, clips: ClipDataset, subsets: Iterable[tuple[str, ...]]
    ) -> dict[tuple[str, ...], npt.NDArray[np.float32]]:
        """Score clips with only the modalities of a subset: ``(N, E)`` by subset, the mean over the models.

        Every clip is embedded once, in float32.
        """
        found, present = subset_scores(self.module, clips, subsets), self.present(clips)
        among = {subset: present & [name in subset for name in self.modalities] for subset in found}
        return {subset: self.calibrated(scores, among[subset]).mean(0) for subset, scores in found.items()}

    def intervals(
        self, scores: npt.NDArray[np.float32], present: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Lower and upper ends of prediction intervals, ``(N, E)`` each.

        Args:
            scores: ``(N, E)`` of ``score``.
            present: ``(N, M)`` bool, the modalities that each clip has.

        Returns:
            Ends that enclose the rating of a new clip with probability ``provenance["intervals"]["level"]``; ``nan``
            where the model has no interval (no calibration clips, or a clip without any modality).
        """
        half = np.full(scores.shape, np.nan, np.float32)
        names = np.array(self._subset_names(present))
        for name in set(names.tolist()) & set(self.half_widths):
            own = modalities_of(name)
            wider = [w for other, w in self.half_widths.items() if set(own) <= set(modalities_of(other))]
            rows = names == name
            half[rows] = np.max([widths.at(scores[rows]) for widths in wider], 0)
        return scores - half, scores + half


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
        module.load_state_dict(weights)
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
