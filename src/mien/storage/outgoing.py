"""Outputs that go to object storage: made here, then stored whole.

    before = versions(["s3://bucket/scores.parquet"])    what is there when the work begins
    file = local_file("s3://bucket/scores.parquet")      in the cache, the same at each call
    ...                                                  written as any file
    publish(file, "s3://bucket/scores.parquet", before)

The file here has a fixed place, so that an interrupted command finds what it had, and continues. What was there when
the work began is replaced; what another command has written since then is not.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from mien.errors import Taken
from mien.storage.addresses import is_address, name_of
from mien.storage.files import cache_folder, key_of, writing
from mien.storage.remote import find, list_files, upload


def versions(outputs: Iterable[str]) -> dict[str, str]:
    """The versions of files at and below addresses, by address; also a check that they can be reached.

    Raises:
        DataError: an address is malformed, or the storage cannot be reached or refuses.
    """
    found = [file for out in outputs for file in (find(out), *list_files(out)) if file]
    return {file.address: file.version for file in found}


def local_file(out: str) -> Path:
    """Where an output is written: at its path, or in the cache if it is an address.

    Raises:
        OutputError: the cache cannot be written.
    """
    if not is_address(out):
        return Path(out)
    folder = cache_folder() / "outgoing" / key_of(out)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder / name_of(out)


def publish(file: Path, address: str, before: Mapping[str, str]) -> None:
    """Store an output, a file or a folder of files, at an address, and remove it here.

    Args:
        file: the output.
        address: of the output.
        before: what may be replaced: ``versions`` of the address.

    Raises:
        Taken: another command has written there; the output stays here.
        OutputError: the storage cannot be reached or refuses.
    """
    if file.is_dir():
        for part in sorted(path for path in file.rglob("*") if path.is_file()):
            _publish(part, f"{address.rstrip('/')}/{part.relative_to(file).as_posix()}", before)
        shutil.rmtree(file)
    else:
        _publish(file, address, before)
        file.unlink()


def _publish(file: Path, address: str, before: Mapping[str, str]) -> None:
    try:
        upload(file, address, before.get(address, ""))
    except Taken as error:
        raise Taken(
            f"{address}: another command has written it since this one began; nothing there was changed, and what was "
            "made is kept here: the same command replaces it with that, or name another file"
        ) from error
