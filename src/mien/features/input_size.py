"""The size of kept inputs before they are made: from rates and settings, and the lengths of clips where they are known.

The length of a clip is known from its ``start`` and ``end`` in the table, or from the store, if its features were
extracted before; nothing is decoded to find it. Clips of unknown length count as the mean of the others, or as
``ASSUMED_SECONDS`` when none is known. The true size is known when the extraction has ended.
"""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from mien.config import Settings
from mien.errors import MienError
from mien.features.store import Store
from mien.media.provided import settled
from mien.modalities import get_modalities
from mien.modalities.base import InputKind
from mien.schema import MOTION_WIDTH, SAMPLE_RATE, Clip, Manifest
from mien.storage.files import in_bytes
from mien.wording import plural

CROP_BYTES = 52_000
"""Of a packed crop of 224 x 224 pixels: the mean over filmed faces, 41 to 61 kB (``docs/decisions/0031``)."""

CROP_SIDE = 224
FILE_BYTES = 1_000
"""Header of a file, and a transcript."""

ASSUMED_SECONDS = 10.0


@dataclass(frozen=True)
class InputSize:
    """The estimated size of the kept inputs of a data set.

    Attributes:
        clips: their number; unknown: of how many the length is unknown.
        total: bytes in all.
        by_kind: bytes per second of a clip with all inputs.
        assumed: seconds that a clip of unknown length counts as.
        free: free bytes where the store is.
    """

    clips: int
    unknown: int
    total: float
    by_kind: dict[InputKind, float]
    assumed: float
    free: int

    def __str__(self) -> str:
        """One line: bytes per second, per clip and in all; what was assumed; the free space."""
        rates = ", ".join(f"{kind} {rate / 1000:.0f} kB/s" for kind, rate in self.by_kind.items() if rate)
        unknown = plural(self.unknown, "clip")
        guessed = f"; {unknown} of unknown length, taken as {self.assumed:.3g} s each" if self.unknown else ""
        line = (
            f"kept inputs: about {_rounded(self.total / max(1, self.clips))} per clip, {_rounded(self.total)} in all"
            f"{f' ({rates})' if rates else ''}{guessed}; {_rounded(self.free)} are free"
        )
        return f"{line}; this does not fit" if self.total > self.free else line


def estimate(manifest: Manifest, settings: Settings, store: Path) -> InputSize:
    """The size of the kept inputs of clips.

    Args:
        manifest: the clips.
        settings: rates, crop size, modalities.
        store: where they will be; lengths of clips that it knows are used. It need not exist.
    """
    known = _known_lengths(store)
    lengths = [_length(clip, known) for clip in manifest.clips]
    measured = [
        length for clip, length in zip(manifest.clips, lengths, strict=True) if clip.has_file and length == length
    ]
    assumed = sum(measured) / len(measured) if measured else ASSUMED_SECONDS
    kinds: set[InputKind] = {modality.sense for modality in get_modalities(settings.modalities)}
    total = 0.0
    for clip, length in zip(manifest.clips, lengths, strict=True):
        rates = _rates(clip, settings)
        seconds = assumed if math.isnan(length) else length
        total += sum(rates[kind] * seconds + FILE_BYTES for kind in kinds)
    of_video = _rates(Clip("", Path()), settings)
    filmed = any(clip.has_file for clip in manifest.clips)
    shown: dict[InputKind, float] = {kind: rate for kind, rate in of_video.items() if kind in kinds and filmed}
    unknown = sum(math.isnan(length) for length in lengths)
    existing = next(folder for folder in (store, *store.absolute().parents) if folder.is_dir())
    return InputSize(len(lengths), unknown, total, shown, assumed, shutil.disk_usage(existing).free)


def _rates(clip: Clip, settings: Settings) -> dict[InputKind, float]:
    """Bytes per second of a clip, by kind of input."""
    settings = settled(settings, clip)
    crop = CROP_BYTES * (settings.faces.crop_size / CROP_SIDE) ** 2
    seen = clip.has_file or clip.crops is not None
    return {
        "text": 0.0,
        "audio": 4.0 * SAMPLE_RATE if clip.has_file or clip.sound is not None else 0.0,
        "vision": settings.media.vision_fps * crop if seen else 0.0,
        "motion": settings.media.motion_fps * (MOTION_WIDTH + 1) * 4.0 if clip.has_file else 0.0,
    }


def _length(clip: Clip, known: dict[str, float]) -> float:
    if clip.start is not None and clip.end is not None:
        return clip.end - clip.start
    if not clip.has_file and clip.crops is None:
        return 0.0
    return known.get(clip.id, math.nan)


def _known_lengths(store: Path) -> dict[str, float]:
    if not (store / "store.json").exists():
        return {}
    try:
        return {clip: float(about["seconds"]) for clip, about in Store(store).clips.items()}
    except MienError:  # reported when the store is opened for writing
        return {}


def _rounded(size: float) -> str:
    return in_bytes(int(float(f"{size:.2g}"))) if size >= 1e6 else f"{size / 1000:.0f} kB"
