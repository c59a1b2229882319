"""Safetensors files of any size: written without a copy in memory, and read as memory-mapped arrays.

    write_mapped    arrays, which may themselves be memory-mapped, → a file with a header and a checksum, atomically
    map_tensors     the arrays, read-only, after the header and the checksum were checked

``checksums.write_tensors`` writes the same format, but holds a file in memory twice; inputs of long clips are too large
for that. The trade-off: a file is hashed whenever it is opened, at a gigabyte a second.
"""

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mien.errors import Damaged
from mien.storage.bounded import DTYPES, Arrays, tensor_places
from mien.storage.checksums import CHECKSUM, digest_of
from mien.storage.files import atomic_file, open_regular

_ALIGN = 8
"""Bytes; data types of more bytes come first, so that every array is aligned."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write_mapped(path: Path, tensors: Arrays, head: Any) -> int:
    """Write arrays with a JSON-like header and a checksum over all of it, atomically; returns the size in bytes.

    Raises:
        OutputError: the disk is full or read-only, or permission is denied.
    """
    text, place, entries = json.dumps(head), 0, {}
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    for name, tensor in ordered:
        entries[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": tensor.shape,
            "data_offsets": [place, place + tensor.nbytes],
        }
        place += tensor.nbytes
    about = {"__metadata__": {"mien": text, CHECKSUM: digest_of(tensors, text)}, **entries}
    header = json.dumps(about).encode()
    header += b" " * (-len(header) % _ALIGN)
    with atomic_file(path) as part, part.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for _, tensor in ordered:
            if tensor.size:
                file.write(np.ascontiguousarray(tensor).data.cast("B"))
    return 8 + len(header) + place


def map_tensors(path: Path) -> tuple[dict[str, npt.NDArray[Any]], Any]:
    """The arrays of a file written by ``write_mapped``, memory-mapped and read-only, and its header.

    Raises:
        Damaged: it is not such a file, is a link, claims more than it has, or does not match its checksum.
    """
    try:
        with open_regular(path, follow=False) as file:
            places, metadata = tensor_places(file, os.fstat(file.fileno()).st_size)
            tensors = {name: _mapped(file, *place) for name, place in places.items()}
        text = metadata.get("mien", "")
        if metadata.get(CHECKSUM) != digest_of(tensors, text):
            raise Damaged(f"{path}: damaged (its checksum does not match)")
        return tensors, json.loads(text)
    except OSError as error:
        raise Damaged(f"{path}: cannot be read ({error.strerror})") from error
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise Damaged(f"{path}: damaged ({' '.join(str(error).split())[:200]})") from error


def _mapped(file: BinaryIO, dtype: str, shape: tuple[int, ...], begin: int) -> npt.NDArray[Any]:
    if 0 in shape:
        return np.empty(shape, DTYPES[dtype])
    return np.memmap(file, DTYPES[dtype], "r", begin, shape)
