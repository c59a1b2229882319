"""What the layers of backbones add to a store, before they are extracted.

Exact for a clip whose features are stored already, as its layers have as many steps. For others the steps follow from
its length, as in ``input_size.py``: from the table, else the mean of the known ones, else ``ASSUMED_SECONDS``.

Shapes: ``T`` steps, ``L`` layers, ``F`` backbone width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mien.config import Settings
from mien.errors import MienError
from mien.features.input_size import ASSUMED_SECONDS
from mien.features.layers import affect_feature, chosen_layers
from mien.features.store import Row, Store
from mien.modalities import get_modalities
from mien.modalities.affect import NAMES as AFFECT
from mien.modalities.base import Modality
from mien.schema import Clip, Manifest
from mien.storage.files import in_bytes
from mien.weights import resolve_backbones
from mien.weights.architecture import read_architecture
from mien.wording import plural

BYTES, SECONDS_BYTES = 2, 4
"""Of a stored number, and of the time of a step."""


@dataclass(frozen=True)
class LayersSize:
    """The size of the layers of a data set.

    Attributes:
        clips: their number; estimated: of how many the size follows from a length.
        by_modality: bytes in all, number of layers and width.
        assumed: seconds that a clip of unknown length counts as.
    """

    clips: int
    estimated: int
    by_modality: Mapping[str, tuple[float, int, int]]
    assumed: float

    @property
    def total(self) -> float:
        """Bytes in all."""
        return sum(size for size, _, _ in self.by_modality.values())

    def __str__(self) -> str:
        """One line: layers and width, bytes per clip and in all, what was assumed."""
        parts = ", ".join(f"{name} {layers} x {width}" for name, (_, layers, width) in self.by_modality.items())
        each = in_bytes(round(self.total / max(1, self.clips)))
        clips = plural(self.estimated, "clip")
        how = f"; {clips} estimated, those of unknown length as {self.assumed:.3g} s"
        return (
            f"layers ({parts}): {'about ' if self.estimated else ''}{each} per clip, {in_bytes(round(self.total))} in "
            f"all{how if self.estimated else ''}"
        )


def estimate_layers(manifest: Manifest, settings: Settings, store: Path) -> LayersSize | None:
    """What the layers that the settings name add to a store; ``None`` if none of them is a sequence in time.

    Those of text are one vector a clip, a few kilobytes.

    Args:
        manifest: the clips.
        settings: weights, modalities, layers, rates.
        store: where they will be; it need not exist.

    Raises:
        SettingsError: a backbone does not have the named layers.
        WeightsMissing: weights are not in the cache.
    """
    layered = [one for one in get_modalities(settings.modalities) if one.main_feature(settings.backbone) != one.name]
    if not any(one.sequence for one in layered):
        return None
    rows = _rows(store)
    lengths = [clip.end - clip.start for clip in manifest.clips if clip.start is not None and clip.end is not None]
    assumed = sum(lengths) / len(lengths) if lengths else ASSUMED_SECONDS
    weights = resolve_backbones(settings.backbones, [one.backbone_role or "" for one in layered])
    sizes, estimated = {}, set()
    for modality in layered:
        one = weights[modality.backbone_role or ""]
        layers, width = len(chosen_layers(settings.backbone, modality, one)), read_architecture(one.path).width
        if modality.main_feature(settings.backbone) == affect_feature(modality):
            layers, width = 1, width + len(AFFECT)
        steps = 0.0
        for clip in manifest.clips:
            row = rows.get((clip.id, modality.name))
            if modality.sequence and (row is None or row.status == "failed"):
                estimated.add(clip.id)
            steps += _steps(clip, modality, row, assumed, settings)
        sizes[modality.name] = (steps * (layers * width * BYTES + SECONDS_BYTES), layers, width)
    return LayersSize(len(manifest.clips), len(estimated), sizes, assumed)


def _steps(clip: Clip, modality: Modality, row: Row | None, assumed: float, settings: Settings) -> float:
    if row is not None and row.status != "failed":
        return row.steps
    known = clip.start is not None and clip.end is not None
    seconds = clip.end - clip.start if known else assumed  # type: ignore[operator]
    return modality.steps_per_second(settings.media) * seconds if modality.sequence else 1.0


def _rows(store: Path) -> Mapping[tuple[str, str], Row]:
    if not (store / "store.json").exists():
        return {}
    try:
        return Store(store).rows
    except MienError:  # reported when the store is opened for writing
        return {}
