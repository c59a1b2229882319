"""A trained model that scores features: the mean over its K models (seeds), which costs little more than one model.

Every score goes through ``calibrated``, which makes it an expected rating; nothing else applies a map.
``model_folder.py`` writes and reads it.

Shapes: ``K`` models, ``N`` clips, ``E`` emotions.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mien.config import Settings
from mien.features.store import Packed
from mien.model.calibration import Maps
from mien.model.description import (
    read_layers,
)
from mien.model.embeddings import subset_scores
from mien.model.half_widths import HalfWidths
from mien.model.inputs import ClipDataset, load_dataset, predict_all
from mien.model.network import ModelSpec, Multimodal, Unimodal, learned_layers
from mien.schema import RATING_SCALE
from mien.subsets import modalities_of, subset_name
from mien.weights.own import OwnBackbone


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
