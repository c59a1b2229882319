"""Checksums: every file that mien writes and reads again has one, and it is verified on reading.

    SHA256SUMS   in a folder that is written atomically (a model, a shard, a cell of a study); sha256sum -c reads it too
    checksum     in a JSON file, over its values
    checksum     in the header of a safetensors file, over header and tensors

The trade-off: a folder's files are read twice, once to hash and once to use, at a gigabyte a second. The large arrays
of a feature store are not hashed as files; ``features/store.py`` has a checksum for each clip, so that opening a store
reads none of them and a damaged byte costs one clip.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from mien.errors import Damaged, DataError
from mien.storage.bounded import LARGEST_WEIGHTS, Arrays, read_safetensors
from mien.storage.files import atomic_file, key_of, read_bytes_checked, read_json, sha256_of, write_json

SUMS = "SHA256SUMS"
CHECKSUM = "checksum"

LARGEST_SUMS = 10_000_000
"""Bytes of a ``SHA256SUMS``."""


def write_sums(folder: Path, *names: str) -> None:
    """Write ``SHA256SUMS`` of files in a folder, before it is renamed into place (``atomic_folder``)."""
    (folder / SUMS).write_text("".join(f"{sha256_of(folder / name)}  {name}\n" for name in names), encoding="utf-8")


def check_sums(folder: Path, names: Sequence[str] | None = None) -> None:
    """Check that files of a folder match ``SHA256SUMS``; all that it lists, when no names are given.

    Raises:
        Damaged: one does not match or is missing, or the list names a file outside the folder.
        DataError: there is no ``SHA256SUMS``: the folder is from an older version, or was copied in part.
    """
    known = read_sums(folder)
    for name in known if names is None else names:
        try:
            found = sha256_of(folder / name, LARGEST_WEIGHTS)
        except OSError as error:
            raise Damaged(f"{folder / name}: cannot be read ({error.strerror})") from error
        if found != known.get(name):
            raise Damaged(f"{folder / name}: damaged (does not match {SUMS})")


def read_sums(folder: Path) -> dict[str, str]:
    """The digests in ``SHA256SUMS``, by file name."""
    try:
        text = read_bytes_checked(folder / SUMS, LARGEST_SUMS).decode("utf-8", "replace")
    except DataError as error:
        if not isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            raise
        raise DataError(
            f"{folder}: has no {SUMS}, so it cannot be checked; make it again, or, if you trust it as it is: "
            f"cd {folder} && sha256sum * > {SUMS}"
        ) from error
    known = {name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines())}
    for name in known:
        if "/" in name or "\0" in name or name in ("", ".", ".."):
            raise Damaged(f"{folder / SUMS}: damaged (lists {name[:100]!r}, which is not a file of this folder)")
    return known


def write_checksummed(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file of named values with their checksum, atomically."""
    write_json(path, {**values, CHECKSUM: key_of(values)})


def read_checksummed(path: Path) -> dict[str, Any]:
    """Read a file written by ``write_checksummed``.

    Raises:
        Damaged: it is not JSON, or the checksum does not match.
        DataError: it does not exist, or cannot be read.
    """
    try:
        values = read_json(path)
    except DataError as error:
        malformed = isinstance(error.__cause__, ValueError | RecursionError)
        raise (Damaged if malformed else DataError)(str(error)) from error
    if not isinstance(values, dict) or values.pop(CHECKSUM, None) != key_of(values):
        raise Damaged(f"{path}: damaged (its checksum does not match)")
    return values


def write_tensors(path: Path, tensors: Arrays, head: Any = None) -> None:
    """Write a safetensors file with a JSON-like header and a checksum over all of it, atomically."""
    text = json.dumps(head)
    in_order = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}  # else views are saved wrongly
    with atomic_file(path) as part:
        part.write_bytes(save(in_order, {"mien": text, CHECKSUM: digest_of(tensors, text)}))


def read_tensors(path: Path) -> tuple[dict[str, npt.NDArray[Any]], Any]:
    """The tensors and the header of a file written by ``write_tensors``.

    Raises:
        Damaged: it is not such a file, or the checksum does not match.
    """
    tensors, head = read_safetensors(path)
    text = head.get("mien", "")
    if head.get(CHECKSUM) != digest_of(tensors, text):
        raise Damaged(f"{path}: damaged (its checksum does not match)")
    try:
        return tensors, json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path}: damaged (its header is not JSON)") from error


def digest_of(tensors: Arrays, head: str) -> str:
    """SHA-256 over header, names, data types, shapes and values."""
    digest = hashlib.sha256(head.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\0{name}\0{tensor.dtype.str}\0{tensor.shape}\0".encode())
        digest.update(np.ascontiguousarray(tensor).data if tensor.size else b"")
    return digest.hexdigest()
