"""Features that do not fit into memory: rows in a temporary file, of which each batch reads its own.

    rows = FileRows(1024, torch.bfloat16)
    rows.append(values)                          # (S, F), as often as there are parts
    rows.read(begins, has, out)                  # the rows of each clip, into a buffer

The order of batches is that of training in memory, and so is every bit of the result; a shuffle buffer over parts
would be faster on a disk that turns, and train in another order. A clip is contiguous, so reading it is one call of
some hundred kilobytes. The file has no name and ends with the process. The system caches it in memory that is free; a
file in ``tmpfs`` is memory, so ``TMPDIR`` should be on a disk.

Shapes: ``S`` steps of all clips, ``F`` feature width, ``B`` batch, ``T`` steps of its longest clip.
"""

import os
import tempfile
import weakref
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from mien.storage.files import writing


class FileRows:
    """``(S, F)`` rows in a file, on their way to a device.

    Attributes:
        shape: ``(S, F)``.
        dtype: of the values.
        device: of the batches.
    """

    def __init__(self, width: int, dtype: torch.dtype, device: torch.device) -> None:
        """An empty file, in ``TMPDIR``.

        Raises:
            OutputError: it cannot be made.
        """
        self.shape, self.dtype, self.device = (0, width), dtype, device
        self._first, self._row = 0, width * dtype.itemsize
        self._file = _File()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: slice) -> "FileRows":
        """Some of the rows, in the same file."""
        first, last, _ = which.indices(len(self))
        part = object.__new__(FileRows)
        part.__dict__.update(self.__dict__)
        part.shape, part._first = (last - first, self.shape[1]), self._first + first
        return part

    def append(self, values: Tensor) -> None:
        """Add rows at the end.

        Raises:
            OutputError: the disk is full.
        """
        if not len(values):
            return
        with writing(Path(tempfile.gettempdir())):
            data = _bytes_of(values.contiguous())
            place = (self._first + len(self)) * self._row
            while data:
                written = os.pwrite(self._file.handle, data, place)
                data, place = data[written:], place + written
        self.shape = (len(self) + len(values), self.shape[1])

    def joined(self, other: "FileRows") -> Self:
        """These rows and those of another, which are copied to the end of this file."""
        buffer = torch.empty((4096, self.shape[1]), dtype=self.dtype)
        for begin in range(0, len(other), len(buffer)):
            count = min(len(buffer), len(other) - begin)
            other._fill(buffer[:count], begin)
            self.append(buffer[:count])
        return self

    def read(self, begins: Tensor, has: Tensor, out: Tensor) -> None:
        """Read the rows of ``B`` clips.

        Args:
            begins: ``(B,)`` the first row of each.
            has: ``(B,)`` their number.
            out: ``(B, T, F)`` on the CPU; what is behind the rows of a clip stays as it is.
        """
        for clip, (begin, count) in enumerate(zip(begins.tolist(), has.tolist(), strict=True)):
            if count:
                self._fill(out[clip, :count], begin)

    def _fill(self, out: Tensor, begin: int) -> None:
        data = _bytes_of(out)
        place = (self._first + begin) * self._row
        while data:
            count = os.preadv(self._file.handle, [data], place)
            if not count:
                raise EOFError("the temporary file of features was cut")
            data, place = data[count:], place + count


class _File:
    """A temporary file without a name, which is closed with the last of its users."""

    def __init__(self) -> None:
        with writing(Path(tempfile.gettempdir())), tempfile.TemporaryFile(prefix="mien-") as file:
            self.handle = os.dup(file.fileno())
        weakref.finalize(self, os.close, self.handle)


def _bytes_of(values: Tensor) -> memoryview:
    return values.view(torch.uint8).numpy().data.cast("B")
