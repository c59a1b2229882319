"""Outputs that go to object storage: made here, then stored whole.

    file = local_file("s3://bucket/scores.parquet")      in the cache, the same at each call
    ...                                                  written as any file
    publish(file, "s3://bucket/scores.parquet")

The file here has a fixed place, so that an interrupted command finds what it had, and continues.
"""

import shutil
from pathlib import Path

from mien.storage.files import cache_folder, key_of, writing
from mien.storage.remote import find, is_address, name_of, upload


def local_file(out: str) -> Path:
    """Where an output is written: at its path, or in the cache if it is an address.

    Raises:
        DataError: the storage cannot be reached or refuses; better now than after the work.
        OutputError: the cache cannot be written.
    """
    if not is_address(out):
        return Path(out)
    find(out)
    folder = cache_folder() / "outgoing" / key_of(out)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder / name_of(out)


def publish(file: Path, address: str) -> None:
    """Store an output, a file or a folder of files, at an address, and remove it here.

    Raises:
        OutputError: the storage cannot be reached or refuses.
    """
    if file.is_dir():
        for part in sorted(path for path in file.rglob("*") if path.is_file()):
            upload(part, f"{address.rstrip('/')}/{part.relative_to(file).as_posix()}")
        shutil.rmtree(file)
    else:
        upload(file, address)
        file.unlink()
