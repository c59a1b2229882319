"""Files of numbers that somebody brought: what a head claims is held against the file before anything is allocated.

    read_npy           an array, memory-mapped
    read_safetensors   tensors by name, after their heads were looked at
    read_parquet       a table, row by row up to a limit

A head is a few bytes, and may claim terabytes. Here it is read first, by itself, and whatever does not fit into the
file that carries it is refused. The trade-off: a safetensors file is held in memory twice for a moment.
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
"""Of a safetensors file."""

LARGEST_HEAD = 10_000_000
"""Of the head of a safetensors file."""

MOST_CELLS = 10_000_000
"""Of a Parquet table."""

_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8,
          "F64": 8}  # fmt: skip
_ROWS_AT_ONCE = 1024


class TensorHead(NamedTuple):
    """What a safetensors file says of a tensor: ``F32`` or the like, and its shape."""

    dtype: str
    shape: tuple[int, ...]


def read_npy(path: Path, dtype: npt.DTypeLike, most: int | None = None) -> npt.NDArray[Any]:
    """An array in NumPy's own format, memory-mapped, read-only.

    Args:
        path: the file.
        dtype: what it has to hold.
        most: bytes above which it is refused; ``None`` takes any size, since nothing is read yet.

    Raises:
        Damaged: it cannot be read, is no such file, holds another kind of numbers, or less than its head claims.
    """
    try:
        with open_regular(path, most) as file:
            shape, by_columns, found = _npy_head(file)
            size, begin = os.fstat(file.fileno()).st_size, file.tell()
            if found != np.dtype(dtype):
                raise Damaged(f"{path}: damaged (holds {found}, expected {np.dtype(dtype)})")
            if begin + math.prod(shape) * found.itemsize > size:
                raise Damaged(f"{path}: damaged (its head claims an array of {shape}, more than its {in_bytes(size)})")
            if not math.prod(shape):
                return np.empty(shape, found)
            return np.memmap(file, found, "r", begin, shape, "F" if by_columns else "C")
    except Damaged:
        raise
    except OSError as error:
        raise Damaged(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # NumPy reads a head as Python's literals, which fail in nearly any way
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
        check: told of what the file says that it holds, before any of it is read; may raise.

    Raises:
        Damaged: it cannot be read, or is no such file.
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
    """The head of a safetensors file: its length in 8 bytes, then JSON.

    Source: https://huggingface.co/docs/safetensors, "Format".
    """
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(LARGEST_HEAD, size - 8):
        raise ValueError(f"a head of {length} bytes in a file of {size}")
    head = json.loads(file.read(length).decode("utf-8"))
    if not isinstance(head, dict):
        raise ValueError("its head is no JSON object")
    metadata = head.pop("__metadata__", {})
    heads = {name: _tensor_head(name, said) for name, said in head.items()}
    claimed = sum(math.prod(one.shape) * _BYTES[one.dtype] for one in heads.values())
    if claimed != size - 8 - length:
        raise ValueError(f"its head claims {claimed} bytes of tensors, but {size - 8 - length} follow")
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata is no text by name")
    return heads, metadata


def _tensor_head(name: str, said: Any) -> TensorHead:
    kind, shape = said["dtype"], said["shape"]
    if kind not in _BYTES:
        raise ValueError(f"{name[:100]} holds {str(kind)[:20]}, which is not taken")
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"{name[:100]} has no shape")
    return TensorHead(kind, tuple(shape))


def read_parquet(path: Path, columns: Sequence[str] | None = None, most_cells: int = MOST_CELLS) -> "pa.Table":
    """A Parquet table, which is a few bytes that unpack to gigabytes where somebody wants it so.

    Args:
        path: the file.
        columns: what is read, in this order; by default all.
        most_cells: rows by columns above which it is refused.

    Raises:
        Damaged: it cannot be read, is no such file, lacks a column, or is too large.
    """
    import pyarrow as pa  # noqa: PLC0415 - slow to load, and not everybody who checks files needs it
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with open_regular(path, LARGEST_BYTES) as file, pq.ParquetFile(file) as table:
            cells = table.metadata.num_rows * table.metadata.num_columns
            if cells > most_cells:
                raise Damaged(f"{path}: {cells:,} cells, but at most {most_cells:,} are read")
            if lacking := [name for name in columns or () if name not in table.schema_arrow.names]:
                raise Damaged(f"{path}: damaged (no column {lacking[0]})")
            parts, taken = [], 0
            for part in table.iter_batches(_ROWS_AT_ONCE, columns=list(columns) if columns else None):
                parts.append(part)
                taken += part.nbytes
                if taken > LARGEST_BYTES:
                    raise Damaged(f"{path}: more than {in_bytes(LARGEST_BYTES)} when it is unpacked")
            whole = pa.Table.from_batches(parts, None if parts else table.schema_arrow)
            return whole.select(list(columns)) if columns else whole
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else _short(error)
        raise Damaged(f"{path}: cannot be read ({said})") from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
