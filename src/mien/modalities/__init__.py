"""The ways of looking at a person. A modality is one file and one line here; everything else reads ``MODALITIES``."""

from mien.modalities.audio import AUDIO
from mien.modalities.base import Modality
from mien.modalities.motion import MOTION
from mien.modalities.text import TEXT
from mien.modalities.vision import VISION

MODALITIES: dict[str, Modality] = {modality.name: modality for modality in (TEXT, AUDIO, VISION, MOTION)}
