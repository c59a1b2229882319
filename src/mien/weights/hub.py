"""Repositories of the Hugging Face hub, or of a local mirror of it: pinned revision, no pickled files.

    $MIEN_HUB_MIRROR/<owner>/<name>/   when set, copied from instead of the hub (closed networks, own storage)

Files without a SHA-256 in the table are trusted on first use and recorded in ``trusted.json``; another fetch of the
same revision must give the same bytes.
"""

import fnmatch
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mien.errors import DataError, WeightsError, WeightsMissing
from mien.storage.exclusive import refuse_link
from mien.storage.files import read_json, sha256_of, write_json
from mien.weights.cache import files_of, mismatch, offline_and_missing, weights_folder
from mien.weights.table import Entry


def fill(entry: Entry, folder: Path, offline: bool, progress: Callable[[str], None]) -> str:
    """Fill ``folder`` from the mirror or the hub, resuming an earlier fetch; returns ``mirror`` or ``hub``."""
    if mirror := os.environ.get("MIEN_HUB_MIRROR"):
        origin = Path(mirror).expanduser() / entry.repository
        progress(f"{entry.name}: copying from {origin}; its revision cannot be checked")
        _copy_mirror(entry, origin, folder)
        came_from = "mirror"
    elif offline:
        raise offline_and_missing(entry)
    else:
        progress(f"{entry.name}: downloading {entry.source} (about {entry.bytes / 1e6:.0f} MB)")
        _download(entry, folder)
        came_from = "hub"
    if not any(folder.glob(entry.patterns[0])):
        raise WeightsError(f"{entry.source}: no {entry.patterns[0]} among its files; pickled weights are refused")
    return came_from


def _copy_mirror(entry: Entry, origin: Path, folder: Path) -> None:
    if not origin.is_dir():
        raise WeightsMissing(
            f"{entry.name}: $MIEN_HUB_MIRROR is set, but {origin} is not a folder; put the model there"
        )
    refuse_link(folder)
    shutil.rmtree(folder, ignore_errors=True)  # an incomplete download from the hub
    folder.mkdir(parents=True)
    for path in sorted(origin.rglob("*")):
        name = path.relative_to(origin).as_posix()
        if path.is_file() and any(fnmatch.fnmatch(name, pattern) for pattern in entry.patterns):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)


def _download(entry: Entry, folder: Path) -> None:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - heavy, and needed only here

    try:
        snapshot_download(
            entry.repository, revision=entry.revision, local_dir=folder, allow_patterns=list(entry.patterns)
        )
    except Exception as error:  # the errors of the hub's client and of its transports have no common base
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{entry.source}: the hub could not be reached or refused ({type(error).__name__}: {reason}); "
            "fetch again to resume, or point $MIEN_HUB_MIRROR at a folder that holds owner/name"
        ) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _read_ledger(ledger: Path) -> dict[str, dict[str, str]]:
    """Recorded hashes by file, by source."""
    try:
        return TypeAdapter(dict[str, dict[str, str]]).validate_python(read_json(ledger))
    except (DataError, ValidationError) as error:
        raise WeightsError(f"{ledger}: damaged; delete it, and the next fetch is trusted and recorded again") from error


def trust(entry: Entry, folder: Path, progress: Callable[[str], None]) -> None:
    """Compare with the hashes of the table and of the first fetch, and record those of new files."""
    ledger = weights_folder() / "trusted.json"
    trusted = _read_ledger(ledger) if ledger.exists() else {}
    expected: Mapping[str, str] = trusted.get(entry.source, {}) | dict(entry.known)
    found = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files_of(folder)}
    for name, known in expected.items():
        if found.get(name) != known:
            shutil.rmtree(folder)
            origin = "the table" if name in entry.known else f"the first fetch, kept in {ledger}"
            raise mismatch(f"{name} of {entry.source}", found.get(name, "absent"), f"{known} (by {origin})")
    if new := [name for name in found if name not in expected]:
        progress(f"{entry.name}: {len(new)} new files ({new[0]}, …); their hashes are trusted and recorded")
        write_json(ledger, trusted | {entry.source: dict(expected) | found})
