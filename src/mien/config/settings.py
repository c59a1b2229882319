"""All settings in one tree."""

from typing import Annotated, Literal

from pydantic import Field

from mien.config.extraction import BackboneSettings, ComputeSettings, FaceSettings, MediaSettings, SpeechSettings
from mien.config.section import ModalityName, Section, Seed
from mien.config.training import SplitSettings, Stage1Settings, Stage2Settings, TrainSettings


class Settings(Section):
    """All settings."""

    weights: Literal["small", "paper", "tiny"] = "small"
    """Set of pretrained weights (``mien weights list``)."""
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
    stage1: Stage1Settings = Stage1Settings()
    stage2: Stage2Settings = Stage2Settings()
