"""What a result of a study depends on, as parts of its key.

Settings that older keys did not have are in a key only where they are not the default, so that results of before are
found again.
"""

from collections.abc import Iterable
from typing import Any

from mien.config import EncoderSource, FitSettings, Settings, SplitSettings, Stage1Settings
from mien.modalities import MODALITIES
from mien.storage.files import key_of
from mien.study.plan import Cell
from mien.training.adapt import adapted_modalities

VERSION, FROZEN_VERSION = 1, 2
"""Raised when the same cell gives another result."""

NEW_SETTINGS = frozenset({"centered", "contrastive", "triplet", "objective"})
"""Settings of a stage that came after the first version of keys; their defaults change nothing."""


def without_new_defaults(stage: FitSettings) -> dict[str, Any]:
    """A stage as a part of a key: settings that older keys did not have are in it only if they are not the default.

    Encoders from other runs are known by their bytes instead (``StudyContext.source``).
    """
    sources = {name for name, field in Stage1Settings.model_fields.items() if field.annotation is EncoderSource}
    return {
        name: value
        for name, value in stage.model_dump(mode="json", exclude=sources).items()
        if name not in NEW_SETTINGS or getattr(stage, name) != type(stage).model_fields[name].default
    }


def layers_in(settings: Settings, modalities: Iterable[str]) -> list[dict[str, Any]]:
    """A part of a key: the layers that are read, by modality, and affect; nothing where only last layers are."""
    backbone = settings.backbone
    read: dict[str, Any] = {name: backbone.layers_of(name) for name in modalities if backbone.reads_layers(name)}
    read |= {"affect": True} if backbone.affect else {}
    return [read] if read else []


def layer_start_in(settings: Settings, modalities: Iterable[str]) -> list[dict[str, Any]]:
    """A part of a key: where learned weights of layers start, if there are any; those of older keys started equal."""
    return [{"layers start at": "ridge"}] if any(map(settings.backbone.reads_layers, modalities)) else []


def adapted_in(cell: Cell) -> list[dict[str, Any]]:
    """A part of a key: how backbones are trained; nothing where none is."""
    names = adapted_modalities(cell.settings) if cell.method == "train" else ()
    how = {name: getattr(cell.settings.backbone, name) for name in names}
    return [{"backbones": how, "adapt": without_new_defaults(cell.settings.adapt)}] if how else []


def dump(settings: Settings, include: set[str]) -> dict[str, Any]:
    """A part of a key: some settings, stage 1 and the split."""
    stage1 = without_new_defaults(settings.stage1)
    return settings.model_dump(mode="json", include=include) | {"split": split_key(settings), "stage1": stage1}


def split_key(settings: Settings) -> dict[str, Any]:
    """A part of a key: the split; that all clips are trained on is not in older keys."""
    few = {"train_clips", "train_clips_seed"}
    return settings.split.model_dump(mode="json", exclude=few if settings.split.train_clips is None else set())


def with_every_clip(split: SplitSettings) -> SplitSettings:
    """A split without a draw of its training clips: equal for all that have the same validation clips."""
    return split.model_copy(update={"train_clips": None, "train_clips_seed": 0})


def data_key(settings: Settings) -> str:
    """Equal for settings that read the same data."""
    layers = layers_in(settings, MODALITIES)
    return key_of(split_key(settings), settings.stage1.longest_steps, *inner_in(settings), *layers)


def inner_in(settings: Settings) -> list[Any]:
    """Part of a key if an inner split chooses the epochs; else nothing, as in older keys."""
    return [{"inner_ratio": settings.train.inner_ratio}] if settings.train.select == "inner" else []
