"""A trained model as a folder: it says what it reads, what it gives, where it comes from, and holds no code.

    config.json          what it is: targets, modalities, widths, settings, the models in it
    model.safetensors    the weights of all K models, and the intervals' quantiles
    provenance.json      what it was trained on and with, and how well it did
    licences.json        whose weights it builds on, and on what terms
    README.md            the model card
    SHA256SUMS           of all of these; what is read is checked, the card may be edited

The scores of a bundle are the mean over its K models (seeds), which costs nearly nothing and is steadier than any one.

Shapes: ``K`` models, ``N`` clips, ``E`` emotions.
"""

import itertools
import json
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
from mien.config import Settings, with_local_limits
from mien.errors import Damaged, DataError, ModelError
from mien.features.store import Packed
from mien.model.card import card
from mien.model.description import QUANTILES, Description, Provenance, check_heads, check_numbers, module_of
from mien.model.embeddings import subset_scores
from mien.model.inputs import ClipDataset, load_dataset, predict_all
from mien.model.licences import licences_of
from mien.model.network import ModelSpec, Multimodal, Unimodal
from mien.storage.bounded import read_safetensors
from mien.storage.checksums import check_sums, write_sums
from mien.storage.documents import check_document
from mien.storage.files import atomic_folder, read_json, write_json
from mien.subsets import subset_name

FORMAT = "mien-model"
VERSION = 1
_CONFIG, _PROVENANCE, _LICENCES, _WEIGHTS = "config.json", "provenance.json", "licences.json", "model.safetensors"


LARGEST_RECORD = 10_000_000
"""Bytes of one of its JSON files."""


@dataclass
class Bundle:
    """A model that can score features.

    Attributes:
        module: ``Unimodal`` or ``Multimodal``, K models at once, on the device it runs on.
        targets: names of the scores, in order.
        widths: feature width by modality, in the order of the model.
        settings: with which it was made; its parts on media, faces, speech and weights say how clips must be prepared.
        models: how its K models differ.
        feature_provenance: how the features it was trained on were made, by modality.
        random_weights: whether those came from random backbones, so that the scores mean nothing.
        provenance: data and store fingerprints, versions, results.
        quantiles: half-widths of the prediction intervals ``(E,)`` by the modalities present (``"audio+text"``).
    """

    module: Unimodal | Multimodal
    targets: tuple[str, ...]
    widths: Mapping[str, int]
    settings: Settings
    models: tuple[ModelSpec, ...]
    feature_provenance: Mapping[str, str]
    random_weights: bool
    provenance: Mapping[str, Any] = field(default_factory=dict)
    quantiles: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it reads, in order."""
        return tuple(self.widths)

    @property
    def device(self) -> torch.device:
        """What it runs on."""
        return next(self.module.parameters()).device

    def clips(self, packed: Mapping[str, Packed], labels: npt.ArrayLike | None = None) -> ClipDataset:
        """Features as this model reads them, in memory.

        Raises:
            ModelError: a modality has another width than the model reads.
        """
        count = len(next(iter(packed.values())).lengths) if packed else 0
        rated = np.full((count, len(self.targets)), np.nan, np.float32) if labels is None else labels
        longest = self.settings.stage1.longest_steps
        return load_dataset(packed, rated, self.widths, longest, device=self.device)

    def score(self, packed: Mapping[str, Packed]) -> npt.NDArray[np.float32]:
        """Score clips: ``(N, E)``, the mean over the models.

        Args:
            packed: features by modality, all of the same clips; a modality left out is missing from every clip.

        Returns:
            Scores in the unit of the labels it was trained on, not clipped. A clip that has no modality at all gets
            the constant that the model says of nothing; whether that counts is the caller's business.

        Raises:
            ModelError: a modality has another width than the model reads.
        """
        return self.score_each(self.clips(packed)).mean(0)

    def score_each(self, clips: ClipDataset) -> npt.NDArray[np.float32]:
        """Score clips with every one of the K models: ``(K, N, E)``, in float32."""
        return predict_all(self.module, clips)

    def score_subsets(
        self, clips: ClipDataset, subsets: Iterable[tuple[str, ...]]
    ) -> dict[tuple[str, ...], npt.NDArray[np.float32]]:
        """Score clips as if they had no other modalities than those of a subset: ``(N, E)`` by subset.

        Every clip is embedded once, in float32; the mean over the models.
        """
        return {subset: scores.mean(0) for subset, scores in subset_scores(self.module, clips, subsets).items()}

    def intervals(
        self, scores: npt.NDArray[np.float32], present: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Lower and upper ends of prediction intervals, ``(N, E)`` each.

        Args:
            scores: ``(N, E)`` of ``score``.
            present: ``(N, M)`` which of ``modalities`` each clip has.

        Returns:
            Ends that enclose the rating of a new clip with the probability ``level`` of ``provenance["intervals"]``;
            ``nan`` where the model has none (nothing was left to calibrate on, or the clip has no modality).
        """
        empty = np.full(len(self.targets), np.nan, np.float32)
        names = [subset_name(itertools.compress(self.modalities, row)) for row in present]
        half = np.array([self.quantiles.get(name, empty) for name in names], np.float32).reshape(scores.shape)
        return scores - half, scores + half


def save_bundle(bundle: Bundle, folder: Path) -> None:
    """Write a model folder; what stood there is replaced at once."""
    kind = "multimodal" if isinstance(bundle.module, Multimodal) else "unimodal"
    config = {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "targets": list(bundle.targets),
        "widths": dict(bundle.widths),
        "models": [asdict(model) for model in bundle.models],
        "feature_provenance": dict(bundle.feature_provenance),
        "random_weights": bundle.random_weights,
        "settings": bundle.settings.model_dump(mode="json"),
    }
    with atomic_folder(folder) as part:
        write_json(part / _CONFIG, config)
        write_json(part / _PROVENANCE, dict(bundle.provenance))
        licences = licences_of(config)
        write_json(part / _LICENCES, licences.record())
        (part / _WEIGHTS).write_bytes(save(_tensors(bundle), {"format": "pt"}))
        (part / "README.md").write_text(card(config, bundle.provenance, licences), encoding="utf-8")
        write_sums(part, _CONFIG, _PROVENANCE, _LICENCES, _WEIGHTS, "README.md")


def load_bundle(folder: Path, device: str | torch.device | None = None, local: Settings | None = None) -> Bundle:
    """Read a model folder, or the ``model`` folder of a run.

    What it holds is held against what it says before anything is allocated, and its weights have to be finite.

    Args:
        folder: the model or the run.
        device: where to put it; by default what ``local`` says (``auto``: a GPU when there is one).
        local: whose limits hold (device, threads, time and memory of a clip, its length and size); by default those of
            ``Settings()``. What the model says of these is not taken over.

    Raises:
        ModelError: there is no model, it is damaged, foreign, or newer than this version of mien.
        SettingsError: it reads a modality that is not in the table; the message names it.
    """
    folder = resolve_model_dir(folder)
    config = read_config(folder)
    _check(folder, _PROVENANCE, _LICENCES, _WEIGHTS)
    try:
        said = _described(config)
        provenance = Provenance.model_validate_json(json.dumps(_read(folder / _PROVENANCE)))
        tensors, _ = read_safetensors(folder / _WEIGHTS, lambda heads: check_heads(said, heads))
        check_numbers(tensors)
        module = module_of(said)
        weights = {name: torch.from_numpy(v) for name, v in tensors.items() if not name.startswith(QUANTILES)}
        module.load_state_dict(weights)
    except (ValueError, KeyError, RuntimeError, OverflowError, RecursionError, Damaged) as error:
        raise ModelError(
            f"{folder}: damaged model ({' '.join(str(error).split())[:300]}); train or fetch it again"
        ) from error
    settings = with_local_limits(said.settings, local)
    chosen = choose_device(settings.compute) if device is None else torch.device(device)
    return Bundle(
        module=module.to(chosen).requires_grad_(False),
        targets=said.targets,
        widths=said.widths,
        settings=settings,
        models=said.models,
        feature_provenance=said.feature_provenance,
        random_weights=said.random_weights,
        provenance=provenance.model_dump(exclude_unset=True),
        quantiles={n.removeprefix(QUANTILES): v for n, v in tensors.items() if n.startswith(QUANTILES)},
    )


def _described(config: Mapping[str, Any]) -> Description:
    """What a model says it is, with every part of the kind that it should be.

    Raises:
        ValueError: it is not.
    """
    return Description.model_validate_json(json.dumps(config))


def _tensors(bundle: Bundle) -> dict[str, Tensor]:
    weights = {n: v.detach().cpu().contiguous() for n, v in bundle.module.state_dict().items()}
    quantiles = {n: torch.from_numpy(np.asarray(q, np.float32)) for n, q in bundle.quantiles.items()}
    return weights | {f"{QUANTILES}{name}": values for name, values in quantiles.items()}


def resolve_model_dir(folder: Path) -> Path:
    """The model folder itself, where a run was named."""
    return folder / "model" if (folder / "model" / _CONFIG).exists() else folder


def read_config(folder: Path) -> dict[str, Any]:
    """What a model says it is, without its weights.

    Raises:
        ModelError: there is no model, it is damaged, foreign, or newer than this version of mien.
    """
    if not (folder / _CONFIG).exists():
        raise ModelError(f"{folder}: not a model (no config.json); make one with: mien train DATA --features STORE")
    config = check_document(
        folder / _CONFIG, _read(folder / _CONFIG), FORMAT, VERSION,
        noun="model", remedy="train or fetch it again", error=ModelError,
    )  # fmt: skip
    _check(folder, _CONFIG)
    try:
        _described(config)
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{folder}: damaged model ({' '.join(str(error).split())[:300]}); train or fetch it again"
        ) from error
    return config


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
