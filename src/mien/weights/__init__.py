"""Pretrained weights: their sources, and the local cache.

table.py    entries and sets, each with source, licence, size and hash
convert.py  another program's format → a Hugging Face folder
tiny.py     random weights of the same architectures
cache.py    entries in the cache, and their status
fetch.py    package index, hub or random weights → cache
own.py      backbones of one's own: folders and hub repositories, checked
adapted.py  backbones that were trained further: what changed, on top of one of these

weights = resolve("small", ["text", "audio"])   # Weights by role; WeightsMissing names the command that fetches them
AutoModel.from_pretrained(weights["text"].path)
"""

from collections.abc import Iterable
from pathlib import Path

from mien.config import WeightsSettings
from mien.errors import WeightsMissing
from mien.weights.adapted import resolve_reference
from mien.weights.cache import (
    Status,
    Weights,
    cached_repositories,
    check,
    entries_of,
    fetch_command,
    weights_folder,
    weights_of,
)
from mien.weights.fetch import fetch
from mien.weights.table import ENTRIES, SETS, Entry

__all__ = [
    "ENTRIES",
    "SETS",
    "Entry",
    "Status",
    "Weights",
    "fetch",
    "locate",
    "resolve",
    "resolve_backbones",
    "verify",
    "weights_folder",
]


def locate(name: str) -> Path:
    """Path of an entry's ready-to-use folder or file. Random weights (``tiny-…``) are made when they are missing.

    Raises:
        ValueError: no entry has this name.
        WeightsMissing: it is missing or damaged; the message names the command that fetches it.
    """
    if name not in ENTRIES:
        raise ValueError(f"{name!r} is not an entry of weights; known are {', '.join(ENTRIES)}")
    return _ready(ENTRIES[name]).path


def resolve(set_name: str, roles: Iterable[str] | None = None) -> dict[str, Weights]:
    """The weights of a set, by role.

    Args:
        set_name: ``small``, ``paper`` or ``tiny``.
        roles: roles to resolve; all of the set when ``None``.

    Raises:
        ValueError: no set or role has this name.
        WeightsMissing: the set has no weights for a role, or they are not in the cache; the message says what to do.

    >>> resolve("tiny", ["asr"])
    Traceback (most recent call last):
    mien.errors.WeightsMissing: set tiny has no asr: random weights would invent a transcript; give transcripts with \
the clips, or take another set
    """
    if set_name not in SETS:
        raise ValueError(f"{set_name!r} is not a set of weights; known are {', '.join(SETS)}")
    entries = SETS[set_name]
    return {role: _ready(ENTRIES[_entry_name(set_name, role)]) for role in (entries if roles is None else roles)}


def resolve_backbones(weights: WeightsSettings, roles: Iterable[str]) -> dict[str, Weights]:
    """The weights that settings name, by role: those of the set, or backbones of one's own in their place.

    Raises:
        WeightsMissing: as ``resolve``, or a folder or repository is missing.
        WeightsError: a backbone of one's own cannot be loaded safely (``own.py``).
    """
    own = weights.references
    entries = SETS[weights.set]
    wanted = [role for role in roles if role in entries or role in own]
    return resolve(weights.set, [role for role in wanted if role not in own]) | {
        role: resolve_reference(role, own[role]) for role in wanted if role in own
    }


def verify(names: Iterable[str] | None = None) -> list[Status]:
    """Hash cached weights again and compare with the recorded and pinned hashes.

    Args:
        names: sets or entries; missing ones are reported. ``None`` verifies every entry in the cache.
    """
    if names is not None:
        return [check(entry, rehash=True) for entry in entries_of(names)]
    statuses = [check(entry, rehash=True) for entry in (*ENTRIES.values(), *cached_repositories())]
    return [status for status in statuses if status.state != "missing"]


def _ready(entry: Entry) -> Weights:
    status = check(entry)
    if status.state != "whole" and entry.kind == "made":
        fetch([entry.name])
    elif status.state != "whole":
        raise WeightsMissing(f"{entry.name}: {status.detail}; run `{fetch_command(entry)}`")
    return weights_of(entry)


def _entry_name(set_name: str, role: str) -> str:
    entries = SETS[set_name]
    if role in entries:
        return entries[role]
    if role not in SETS["small"]:
        raise ValueError(f"{role!r} is not a role of weights; known are {', '.join(SETS['small'])}")
    raise WeightsMissing(
        f"set {set_name} has no {role}: random weights would invent a transcript; give transcripts with the clips, "
        "or take another set"
    )
