"""All settings in one tree."""

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, field_validator

from mien.config.extraction import (
    BackboneSettings,
    ComputeSettings,
    FaceSettings,
    MediaSettings,
    SpeechSettings,
    WeightsSet,
    WeightsSettings,
)
from mien.config.section import ModalityName, Section, Seed
from mien.config.training import AdaptSettings, SplitSettings, Stage1Settings, Stage2Settings, TrainSettings

NAME, SECTION = "(name)", "(section)"
"""Forms of ``weights``, in the places of errors."""


def _kind(value: Any) -> str:
    return SECTION if isinstance(value, dict | WeightsSettings) else NAME


class Settings(Section):
    """All settings."""

    weights: Annotated[
        Annotated[WeightsSet, Tag(NAME)] | Annotated[WeightsSettings, Tag(SECTION)], Discriminator(_kind)
    ] = "small"
    """Set of pretrained weights (``mien weights list``): ``small``, ``paper`` or ``tiny``; or a section with ``set``,
    and a folder or ``owner/name@commit`` for ``text``, ``audio`` or ``vision``."""
    modalities: Annotated[tuple[ModalityName, ...], Field(max_length=100)] = ("text", "audio", "vision", "motion")
    """Modalities of the table (``mien.modalities``) to extract, train and use."""
    media: MediaSettings = MediaSettings()
    faces: FaceSettings = FaceSettings()
    speech: SpeechSettings = SpeechSettings()
    backbone: BackboneSettings = BackboneSettings()
    compute: ComputeSettings = ComputeSettings()
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=1000)] = (0, 1, 2, 3, 4)
    """One model per seed, all trained at once; the scores of a run are the mean over its models."""
    batch_seed: Seed = 0
    """Seed of the order of batches, common to all models of a run."""
    interval_level: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Nominal coverage of prediction intervals."""
    split: SplitSettings = SplitSettings()
    train: TrainSettings = TrainSettings()
    adapt: AdaptSettings = AdaptSettings()
    stage1: Stage1Settings = Stage1Settings()
    stage2: Stage2Settings = Stage2Settings()

    @field_validator("weights")
    @classmethod
    def _plain(cls, weights: WeightsSet | WeightsSettings) -> WeightsSet | WeightsSettings:
        """A section with nothing but a set is written as the set."""
        return weights.set if isinstance(weights, WeightsSettings) and not weights.references else weights

    @property
    def backbones(self) -> WeightsSettings:
        """``weights`` as a section."""
        return self.weights if isinstance(self.weights, WeightsSettings) else WeightsSettings(set=self.weights)
