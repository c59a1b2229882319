"""Every setting of mien, in one tree of strict, frozen models: one YAML file, then dotted overrides.

section.py     the base of all sections, and common types
extraction.py  decoding, faces, speech, backbones, compute
training.py    split, loss, stage 1, stage 2
settings.py    the tree
yaml_file.py   one YAML file as plain values
reading.py     file and overrides → ``Settings``, with one-line errors
local.py       limits of this machine

    settings = read_settings(Path("recipes/default.yaml"), ["stage2.lr=1e-4", "speech.language=de"])

An unknown key is an error that names the nearest one. Settings that lead to memory or time have an upper bound, since
settings also come with models and stores of other people. Editors and other programs read
``Settings.model_json_schema()``.
"""

from mien.config.extraction import (
    ADAPTED,
    BackboneSettings,
    BackboneUse,
    ComputeSettings,
    FaceSettings,
    Layers,
    MediaSettings,
    Source,
    SpeechSettings,
    WeightsSettings,
)
from mien.config.local import (
    LOCAL_COMPUTE,
    LOCAL_MEDIA,
    read_local,
    with_local_limits,
    with_local_weights,
    with_weights,
)
from mien.config.reading import Override, parse_override, read_settings, set_dotted, with_changes
from mien.config.section import Count, Fraction, ModalityName, Positive, Rate, Section, Seed, Width
from mien.config.settings import Settings
from mien.config.training import (
    HEAD_NAMES,
    AdaptSettings,
    EncoderSource,
    FitSettings,
    HeadName,
    LossSettings,
    SplitSettings,
    Stage1Settings,
    Stage2Settings,
    TrainSettings,
)
from mien.config.yaml_file import read_yaml

__all__ = [
    "ADAPTED",
    "HEAD_NAMES",
    "LOCAL_COMPUTE",
    "LOCAL_MEDIA",
    "AdaptSettings",
    "BackboneSettings",
    "BackboneUse",
    "ComputeSettings",
    "Count",
    "EncoderSource",
    "FaceSettings",
    "FitSettings",
    "Fraction",
    "HeadName",
    "Layers",
    "LossSettings",
    "MediaSettings",
    "ModalityName",
    "Override",
    "Positive",
    "Rate",
    "Section",
    "Seed",
    "Settings",
    "Source",
    "SpeechSettings",
    "SplitSettings",
    "Stage1Settings",
    "Stage2Settings",
    "TrainSettings",
    "WeightsSettings",
    "Width",
    "parse_override",
    "read_local",
    "read_settings",
    "read_yaml",
    "set_dotted",
    "with_changes",
    "with_local_limits",
    "with_local_weights",
    "with_weights",
]
