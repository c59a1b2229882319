"""The clips that backbones behind features were trained on, as ``extraction.json`` of a store records them.

A backbone that was trained further has seen ratings, and so have the features that it makes of its training clips:
results on these say nothing about new clips. The record is by the name of the backbone, which features have as their
provenance; those of earlier backbones stay, because features of clips that are not extracted again are still theirs.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mien.data.source_clips import SourceClips
from mien.errors import DataError, StoreError
from mien.features.store import Store
from mien.schema import Clip
from mien.starters import NAMES as STARTERS
from mien.storage.checksums import read_checksummed
from mien.weights import Weights
from mien.weights.adapted import SUFFIX, is_adapted, training_clips

SETTINGS = "extraction.json"
"""In a store: the settings of its newest features, so that new clips can be prepared in the same way."""

_FIELD = "trained_on"


def training_records(weights: Mapping[str, Weights], earlier: Path) -> dict[str, Any]:
    """The part of ``SETTINGS`` on backbones that were trained further; empty without any.

    Args:
        weights: of an extraction, by role.
        earlier: the ``SETTINGS`` of the extraction before, if it exists.
    """
    known = {}
    with suppress(DataError):  # a damaged one is made again
        known = _known(read_checksummed(earlier)) if earlier.exists() else {}
    for role, one in weights.items():
        if is_adapted(one):
            known[one.name] = [clips and clips.record() for clips in training_clips(role, one)]
    return {_FIELD: known} if known else {}


def backbone_clips(
    store: Store, clips: Iterable[Clip], modalities: Iterable[str]
) -> dict[str, tuple[SourceClips | None, ...]]:
    """What the backbones that made features of some clips were trained on, by name, if they were trained further.

    Args:
        store: of the features.
        clips: whose features are read.
        modalities: that are read.

    Returns:
        By training; ``None`` for one that is not recorded.

    Raises:
        StoreError: the record is damaged.
    """
    file, names = store.root / SETTINGS, tuple(modalities)
    if not file.exists():
        return {}
    try:
        known = _known(read_checksummed(file))
        rows = (store.row(clip.id, name) for clip in clips for name in names) if known else ()
        used = {row.provenance.partition(" ")[0] for row in rows if row}
        return {name: _read(records) for name, records in known.items() if name in used}
    except (DataError, KeyError, TypeError, AttributeError) as error:
        reason = str(error) if isinstance(error, DataError) else f"{file}: damaged"
        raise StoreError(f"{reason}; run the extraction again") from error


def _known(made: Mapping[str, Any]) -> dict[str, Any]:
    """The records in a ``SETTINGS``; ``None`` for adapted backbones of a store from before there were any."""
    named = {one["name"]: str(one["reference"]) for one in made.get("backbones", {}).values()}
    adapted = (name for name, place in named.items() if place.endswith(SUFFIX) or place in STARTERS)
    return {name: [None] for name in adapted} | made.get(_FIELD, {})


def _read(records: Sequence[Mapping[str, Any] | None]) -> tuple[SourceClips | None, ...]:
    return tuple(None if one is None else SourceClips.read(one) for one in records)
