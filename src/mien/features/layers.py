"""Layers of a backbone in the feature store, and what a model reads of them.

With ``backbone.audio: layers`` an extraction stores, beside ``audio``, the states of several layers as one sequence
``audio_layers``: the layers side by side, ``(T, L F)``. Which layers they are is part of the sequence's provenance, so
that a store describes itself, and a model may read some of them.

Shapes: ``T`` steps, ``L`` layers, ``F`` backbone width.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mien.config import BackboneSettings, Layers, Settings, with_changes
from mien.errors import DataError, SettingsError, StoreError
from mien.features.store import Packed, Store
from mien.modalities import MODALITIES
from mien.modalities.base import Modality
from mien.storage.files import key_of
from mien.weights import Weights
from mien.weights.architecture import read_architecture
from mien.wording import plural

_LAYERS = re.compile(r" layers ([0-9]{1,4}(?:,[0-9]{1,4})*)$")


@dataclass(frozen=True)
class StoredInput:
    """What a model reads of one modality.

    Attributes:
        feature: name of the stored sequence.
        layers: the layers that are read, ascending; empty for a single sequence.
        stored: the layers in the store, in the order in which they lie side by side.
    """

    feature: str
    layers: tuple[int, ...] = ()
    stored: tuple[int, ...] = ()

    def columns(self, width: int) -> np.ndarray | None:
        """The columns that are read of a stored sequence that is ``width`` wide; ``None`` for all."""
        if self.layers == self.stored:
            return None
        one = width // len(self.stored)
        return np.concatenate([np.arange(one) + one * self.stored.index(layer) for layer in self.layers])

    def width(self, width: int) -> int:
        """The width that is read of a stored sequence that is ``width`` wide."""
        return width * len(self.layers) // len(self.stored) if self.layers else width


def chosen_layers(backbone: BackboneSettings, modality: Modality, weights: Weights) -> tuple[int, ...]:
    """The numbers of the layers of a backbone that are extracted.

    Raises:
        SettingsError: it has no such layer.
        WeightsError: its configuration is damaged.
    """
    wanted, depth = backbone.layers_of(modality.name), read_architecture(weights.path).depth
    if wanted == "all":
        return tuple(range(depth + 1))
    if wanted[-1] > depth:
        raise SettingsError(
            f"backbone.{modality.name}_layers: no layer {wanted[-1]} in {weights.name}, which has layers 0 to {depth}"
        )
    return wanted


def layers_key(key: str, feature: str, layers: Layers) -> str:
    """The key of a sequence of layers, from the key of the last layer, with which it is made in one pass.

    That of a sequence with values of affect, without ``layers``.
    """
    return key_of(key, feature, layers)


def with_layers(provenance: str, layers: Sequence[int]) -> str:
    """The provenance of a sequence of several layers.

    >>> with_layers("gte-base float32 v3", (0, 6, 12))
    'gte-base float32 v3 layers 0,6,12'
    """
    return f"{provenance} layers {','.join(map(str, layers))}" if layers else provenance


def inputs_of(store: Store, backbone: BackboneSettings, modalities: Iterable[str]) -> dict[str, StoredInput]:
    """What a model with these settings reads from a store, by modality.

    Imported and synthetic features have no layers: their only sequence is read.

    Raises:
        DataError: the store lacks layers that the settings name; the message says how to extract them.
        StoreError: its clips have different layers.
    """
    return {name: _input_of(store, backbone, MODALITIES[name]) for name in modalities}


def _input_of(store: Store, backbone: BackboneSettings, modality: Modality) -> StoredInput:
    feature = modality.main_feature(backbone)
    if feature in modality.features:
        return StoredInput(feature)
    made = {row.provenance for (_, name), row in store.rows.items() if name == feature and row.steps}
    if not made and modality.name not in store.modalities:
        return StoredInput(feature)  # the modality is missing altogether
    if feature == affect_feature(modality):
        if not made:
            raise DataError(
                f"{store.root}: no {feature}, which backbone.affect reads; {_again(feature, modality.name)} (imported "
                f"and synthetic features cannot have it), or set backbone.affect=false"
            )
        return StoredInput(feature)
    if not made and not any(row.origin for (_, name), row in store.rows.items() if name == modality.name):
        return StoredInput(modality.name)
    remedy = _again(feature, modality.name)
    found = {match[1] for match in map(_LAYERS.search, made) if match}
    if not found:
        raise DataError(
            f"{store.root}: no {feature}, which backbone.{modality.name}: layers reads; {remedy}, or read the last "
            f"layer alone with --set backbone.{modality.name}=frozen"
        )
    if len(found) > 1:
        raise StoreError(f"{store.root}: {feature} has layers {' and '.join(sorted(found))}; {remedy}")
    stored = tuple(map(int, found.pop().split(",")))
    wanted = backbone.layers_of(modality.name)
    layers = stored if wanted == "all" else wanted
    if lacking := [layer for layer in layers if layer not in stored]:
        raise DataError(
            f"{store.root}: backbone.{modality.name}_layers: no layer {lacking[0]} in the store, which has layers "
            f"{', '.join(map(str, stored))}; {remedy} --set backbone.{modality.name}_layers=all"
        )
    return StoredInput(feature, layers, stored)


def affect_feature(modality: Modality) -> str:
    """The name of the sequence with values of affect; empty if the modality has none."""
    return f"{modality.name}_affect" if modality.load_affect else ""


def _again(feature: str, modality: str, made: str = "it") -> str:
    """How a missing sequence is extracted."""
    setting = "backbone.affect=true" if feature.endswith("_affect") else f"backbone.{modality}=layers"
    return f"run the mien extract command that made {made} again, with --set {setting}"


def gather(store: Store, read: StoredInput, modality: str, clips: Sequence[str]) -> Packed:
    """What a model reads of one modality of the given clips, packed in memory; see ``Store.gather``.

    Raises:
        DataError: some clips have the modality but not its layers, or layers of an earlier extraction.
        StoreError: a clip's steps are damaged.
    """
    if read.feature != modality:
        without = [clip for clip in clips if not _has_layers(store, read, modality, clip)]
        if without:
            raise DataError(
                f"{store.root}: {plural(len(without), 'clip')} with {modality} but no {read.feature} of the same "
                f"making, first {without[0]}; {_again(read.feature, modality, 'the store')}"
            )
    return store.gather(read.feature, clips, read.columns)


def _has_layers(store: Store, read: StoredInput, modality: str, clip: str) -> bool:
    """Whether a clip has the layers of its modality, or lacks both."""
    last, layers = store.row(clip, modality), store.row(clip, read.feature)
    if not (last and last.steps and layers and layers.steps):
        return not (last and last.steps) and not (layers and layers.steps)
    return layers.key in (layers_key(last.key, read.feature, known) for known in ("all", read.stored))


def with_read_layers(settings: Settings, inputs: Mapping[str, StoredInput]) -> Settings:
    """Settings in which the layers that a model reads are numbers, so that new clips give the same.

    A modality without layers in the store is ``frozen``.

    Args:
        settings: of the run.
        inputs: from ``inputs_of``.
    """
    changes: dict[str, object] = {
        f"backbone.{name}_layers": read.layers for name, read in inputs.items() if read.layers
    }
    changes |= {f"backbone.{name}": "frozen" for name in inputs if is_without_layers(settings.backbone, inputs, name)}
    return with_changes(settings, changes, "layers") if changes else settings


def is_without_layers(backbone: BackboneSettings, inputs: Mapping[str, StoredInput], modality: str) -> bool:
    """Whether layers of a modality are asked for, but its features were imported or synthesised and have none."""
    return backbone.reads_layers(modality) and inputs[modality].feature == modality
