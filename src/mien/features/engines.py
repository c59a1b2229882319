"""The loaded models of a worker or a session: backbones here, what decodes and follows faces in ``media``."""

from collections.abc import Iterable, Mapping
from functools import partial

from mien.compute.device import resolve_compute
from mien.config import Settings
from mien.features.layers import chosen_layers
from mien.media.load_media import MediaEngines
from mien.modalities.base import Backbone, Modality
from mien.weights import Weights


class Engines:
    """Loaded models, each loaded once, in the background or when it is needed; independent of single calls.

    Attributes:
        weights: by role.
        compute: device and precision of the backbones.
        senses: the decoder, the face detector and the recogniser.
    """

    def __init__(self, settings: Settings, weights: Mapping[str, Weights], threads: int) -> None:
        """Engines for all extractions that load the same; nothing is loaded yet.

        Args:
            settings: which layers to load, and how media are read.
            weights: by role; located.
            threads: of each engine.
        """
        self.weights = weights
        self.compute = resolve_compute(settings.compute)
        self._backbone_settings = settings.backbone
        self.senses = MediaEngines({role: one.path for role, one in weights.items()}, settings, threads)

    def load_ahead(self, modalities: Iterable[Modality], *, transcribe: bool) -> None:
        """Load in the background what features of these modalities need, in the order in which they are made."""
        if transcribe:
            self.senses.begin_transcriber()
        for modality in modalities:
            if modality.backbone_role:
                self.senses.loaded.begin(modality.name, partial(self._load, modality))

    def backbone(self, modality: Modality) -> Backbone:
        """The frozen backbone of a modality."""
        return self.senses.loaded.get(modality.name, partial(self._load, modality))

    def _load(self, modality: Modality) -> Backbone:
        weights = self.weights.get(modality.backbone_role or "")
        if weights and modality.load_layers and self._backbone_settings.reads_layers(modality.name):
            return modality.load_layers(
                weights.path, self.compute, chosen_layers(self._backbone_settings, modality, weights)
            )
        if weights and modality.load_affect and self._backbone_settings.affect:
            return modality.load_affect(weights.path, self.compute)
        return modality.load(weights.path if weights else None, self.compute)
