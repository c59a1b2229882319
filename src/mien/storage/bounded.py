"""Readers for untrusted array files: the sizes in a header are compared with the file before memory is allocated.

    read_npy           an array, memory-mapped
    read_safetensors   tensors by name, after their header was checked
    read_parquet       a table, in batches up to a limit

A header is a few bytes and may claim terabytes. It is read first, by itself; a file that is smaller than its header
claims is refused. The trade-off: a safetensors file is held in memory twice for a moment.
"""

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load

from mien.errors import Damaged
from mien.storage.files import LARGEST_BYTES, in_bytes, open_regular

if TYPE_CHECKING:
    import pyarrow as pa

Arrays = Mapping[str, npt.NDArray[Any]]

LARGEST_WEIGHTS = 4_000_000_000
"""Bytes of a safetensors file."""

LARGEST_HEAD = 10_000_000
"""Bytes of the header of a safetensors file."""

MOST_CELLS = 10_000_000
"""Cells of a Parquet table."""

DTYPES = {
    name: np.dtype(code)
    for name, code in (
        ("BOOL", "?"), ("U8", "u1"), ("I8", "i1"), ("I16", "<i2"), ("U16", "<u2"), ("F16", "<f2"), ("I32", "<i4"),
        ("U32", "<u4"), ("F32", "<f4"), ("I64", "<i8"), ("U64", "<u8"), ("F64", "<f8"),
    )
}  # fmt: skip
"""Data types of safetensors, by their names there."""

_ROWS_AT_ONCE = 1024


class TensorHead(NamedTuple):
    """A tensor's entry in the header of a safetensors file: data type (``F32`` or the like) and shape."""

    dtype: str
    shape: tuple[int, ...]


def read_npy(path: Path, dtype: npt.DTypeLike, most: int | None = None) -> npt.NDArray[Any]:
    """An array in NumPy's own format, memory-mapped, read-only.

    Args:
        path: the file.
        dtype: the expected data type.
        most: maximum size in bytes; ``None`` takes any size, since nothing is read yet.

    Raises:
        Damaged: it cannot be read, is not an ``npy`` file, has another data type, or is smaller than its header claims.
    """
    try:
        with open_regular(path, most) as file:
            shape, by_columns, found = _npy_head(file)
            size, begin = os.fstat(file.fileno()).st_size, file.tell()
            if found != np.dtype(dtype):
                raise Damaged(f"{path}: damaged (holds {found}, expected {np.dtype(dtype)})")
            if begin + math.prod(shape) * found.itemsize > size:
                raise Damaged(
                    f"{path}: damaged (its header claims an array of {shape}, more than its {in_bytes(size)})"
                )
            if not math.prod(shape):
                return np.empty(shape, found)
            return np.memmap(file, found, "r", begin, shape, "F" if by_columns else "C")
    except Damaged:
        raise
    except OSError as error:
        raise Damaged(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # NumPy parses the header as Python literals, which fail in nearly any way
        raise Damaged(f"{path}: damaged ({_short(error)})") from error


def _npy_head(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version}")
    shape, by_columns, dtype = read(file)
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError(f"{dtype} {shape}")
    return shape, by_columns, dtype


def read_safetensors(
    path: Path, check: Callable[[Mapping[str, TensorHead]], None] = lambda _: None
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """The tensors of a safetensors file by name, and its metadata.

    Args:
        path: the file.
        check: called with the header before any tensor is read; may raise.

    Raises:
        Damaged: it cannot be read, or is not a safetensors file.
    """
    try:
        with open_regular(path, LARGEST_WEIGHTS) as file:
            size = os.fstat(file.fileno()).st_size
            heads, metadata = _tensor_heads(file, size)
            check(heads)
            file.seek(0)
            return dict(sorted(load(file.read(size)).items())), metadata
    except OSError as error:
        raise Damaged(f"{path}: cannot be read ({error.strerror})") from error
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise Damaged(f"{path}: damaged ({_short(error)})") from error


def _tensor_heads(file: BinaryIO, size: int) -> tuple[dict[str, TensorHead], dict[str, str]]:
    """The header of a safetensors file: its length in 8 bytes, then JSON.

    Source: https://huggingface.co/docs/safetensors, "Format".
    """
    heads, _, metadata = _read_heads(file, size)
    return heads, metadata


def tensor_places(file: BinaryIO, size: int) -> tuple[dict[str, tuple[str, tuple[int, ...], int]], dict[str, str]]:
    """Data type, shape and place in the file of each tensor of a safetensors file, and its metadata.

    Args:
        file: at its beginning.
        size: of the file in bytes.

    Raises:
        KeyError, TypeError, ValueError, RecursionError: the header is damaged: tensors overlap, leave gaps, or claim
            more bytes than there are.
    """
    heads, entries, metadata = _read_heads(file, size)
    places, place, first = {}, 0, file.tell()
    for name in sorted(heads, key=lambda name: entries[name]["data_offsets"]):
        dtype, shape = heads[name]
        end = place + math.prod(shape) * DTYPES[dtype].itemsize
        if entries[name]["data_offsets"] != [place, end]:
            raise ValueError(f"{name[:100]} is not where its header says")
        places[name] = (dtype, shape, first + place)
        place = end
    return places, metadata


def _read_heads(file: BinaryIO, size: int) -> tuple[dict[str, TensorHead], dict[str, Any], dict[str, str]]:
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(LARGEST_HEAD, size - 8):
        raise ValueError(f"a header of {length} bytes in a file of {size}")
    head = json.loads(file.read(length).decode("utf-8"))
    if not isinstance(head, dict):
        raise ValueError("its header is not a JSON object")
    metadata = head.pop("__metadata__", {})
    heads = {name: _tensor_head(name, entry) for name, entry in head.items()}
    claimed = sum(math.prod(one.shape) * DTYPES[one.dtype].itemsize for one in heads.values())
    if claimed != size - 8 - length:
        raise ValueError(f"its header claims {claimed} bytes of tensors, but {size - 8 - length} follow")
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata is not a mapping of text")
    return heads, head, metadata


def _tensor_head(name: str, entry: Any) -> TensorHead:
    dtype, shape = entry["dtype"], entry["shape"]
    if dtype not in DTYPES:
        raise ValueError(f"{name[:100]} has the unsupported data type {str(dtype)[:20]}")
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"{name[:100]} has no valid shape")
    return TensorHead(dtype, tuple(shape))


def read_parquet(
    path: Path, columns: Sequence[str] | None = None, most_cells: int = MOST_CELLS, largest: int = LARGEST_BYTES
) -> "pa.Table":
    """A Parquet table; a hostile one of a few kilobytes may unpack to gigabytes.

    Args:
        path: the file.
        columns: the columns to read, in this order; by default all.
        most_cells: maximum number of rows times columns.
        largest: maximum size in bytes, of the file and unpacked.

    Raises:
        Damaged: it cannot be read, is not a Parquet file, lacks a column, or is too large.
    """
    import pyarrow as pa  # noqa: PLC0415 - slow to import, and not needed by all that check files
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with open_regular(path, largest) as file, pq.ParquetFile(file) as table:
            cells = table.metadata.num_rows * max(1, table.metadata.num_columns)
            if cells > most_cells:
                raise Damaged(f"{path}: {cells:,} cells, but at most {most_cells:,} are read")
            if lacking := [name for name in columns or () if name not in table.schema_arrow.names]:
                raise Damaged(f"{path}: damaged (no column {lacking[0]})")
            parts, taken = [], 0
            for part in table.iter_batches(_ROWS_AT_ONCE, columns=list(columns) if columns else None):
                parts.append(part)
                taken += part.nbytes
                if taken > largest:
                    raise Damaged(f"{path}: more than {in_bytes(largest)} when unpacked")
            whole = pa.Table.from_batches(parts, None if parts else table.schema_arrow)
            return whole.select(list(columns)) if columns else whole
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else _short(error)
        raise Damaged(f"{path}: cannot be read ({reason})") from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
