"""Scoring in parts (``storage/parts.py``): each part is a scores document; ``scores/parts.py`` joins them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mien.compute.device import resolve_compute
from mien.inference.predict import Model
from mien.schema import Manifest
from mien.scores.parts import KIND
from mien.storage.parts import Part, begin_part


def part_of(
    model: Model, manifest: Manifest, out: str | Path, part: Part, options: Mapping[str, Any]
) -> tuple[Manifest, str | Path]:
    """The clips of a part, and the file of its scores document.

    Args:
        model: that scores them.
        manifest: all clips.
        out: the output of all parts.
        part: one of them.
        options: of the scoring.

    Raises:
        SettingsError: there are fewer clips than parts, or the other parts have other clips, options or another model.
    """
    made = {"model": model.sha256, "compute": str(resolve_compute(model.bundle.settings.compute)), **options}
    file = begin_part(out, KIND, part, [clip.id for clip in manifest.clips], made, ".json")
    return replace(manifest, clips=tuple(part.of(manifest.clips))), file
