"""Square crops of frames, thousands of which are kept in bounded memory.

An hour of face crops is 2 GB, so they move to a temporary file once they exceed a few megabytes and are read back in
slices. They are stored as raw pixels: a codec would be smaller, but slower and not exact.

Shapes: ``H, W`` height and width of a frame, ``S`` side of a crop, ``T`` crops.
"""

import tempfile
import weakref
from collections.abc import Iterable, Sequence
from types import ModuleType

import numpy as np
import numpy.typing as npt

from mien.errors import DependencyMissing

Image = npt.NDArray[np.uint8]
"""``(H, W, 3)`` RGB."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the frame; right and bottom are exclusive."""

IN_MEMORY_BYTES = 64 * 2**20
"""Crops beyond this go to a temporary file (in ``TMPDIR``)."""


def open_cv() -> ModuleType:
    """OpenCV.

    Raises:
        DependencyMissing: it is not installed, or did not load.
    """
    try:
        import cv2  # noqa: PLC0415
    except ImportError as error:
        raise DependencyMissing(
            f"faces need OpenCV, which did not load ({error}); pip install 'mien[faces]', and if another build of "
            "OpenCV is installed beside it, uninstall that one"
        ) from error
    return cv2


class CropSpool:
    """Crops in the order in which they were appended; a ``mien.schema.Crops``.

    Held in memory up to ``IN_MEMORY_BYTES``, in an unnamed temporary file beyond; it is deleted with the spool.

    >>> spool = CropSpool(size=2)
    >>> index = spool.append(np.full((2, 2, 3), 7, np.uint8))
    >>> len(spool), spool[0:1].shape, int(spool[0:1].max())
    (1, (1, 2, 2, 3), 7)
    """

    def __init__(self, size: int, in_memory_bytes: int = IN_MEMORY_BYTES) -> None:
        self.size = size
        self._length = 0
        self._file = tempfile.SpooledTemporaryFile(max_size=in_memory_bytes)  # noqa: SIM115 - lives as long as we do
        self._closer = weakref.finalize(self, self._file.close)

    def append(self, crop: Image) -> int:
        """Add one ``(S, S, 3)`` crop and return its index."""
        if crop.shape != (self.size, self.size, 3) or crop.dtype != np.uint8:
            raise ValueError(f"a crop is ({self.size}, {self.size}, 3) uint8, not {crop.shape} {crop.dtype}")
        self._file.seek(0, 2)
        self._file.write(crop.tobytes())
        self._length += 1
        return self._length - 1

    def take(self, indices: Sequence[int]) -> Image:
        """The crops at ``indices``, in that order: ``(len(indices), S, S, 3)``."""
        out = np.empty((len(indices), self.size, self.size, 3), np.uint8)
        one = out[:1].nbytes if len(out) else 0
        for position, index in enumerate(indices):
            self._file.seek(index * one)
            out[position] = np.frombuffer(self._file.read(one), np.uint8).reshape(out.shape[1:])
        return out

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, which: slice, /) -> Image:
        return self.take(range(self._length)[which])

    def close(self) -> None:
        """Free the memory or the file."""
        self._closer()


class RecentCrops:
    """As ``CropSpool``, in memory, for crops of which only the last ones are needed."""

    def __init__(self) -> None:
        self._crops: dict[int, Image] = {}
        self._appended = 0

    def append(self, crop: Image) -> int:
        """Add one ``(S, S, 3)`` crop and return its index."""
        self._crops[self._appended] = crop
        self._appended += 1
        return self._appended - 1

    def take(self, indices: Sequence[int]) -> Image:
        """The crops at ``indices``, which were not forgotten, in that order: ``(len(indices), S, S, 3)``."""
        return np.stack([self._crops[index] for index in indices]) if indices else np.empty((0, 1, 1, 3), np.uint8)

    def forget(self, indices: Iterable[int]) -> None:
        """Free the crops at ``indices``."""
        for index in indices:
            self._crops.pop(index, None)


class CropSelection:
    """Some of a spool's crops, in a given order; a ``mien.schema.Crops``."""

    def __init__(self, spool: CropSpool | RecentCrops, indices: Sequence[int]) -> None:
        self._spool, self._indices = spool, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, which: slice, /) -> Image:
        return self._spool.take(self._indices[which])


def cut(image: Image, box: Box, margin: float) -> tuple[Image, tuple[int, int]]:
    """The square around ``box``, at the image's own resolution, and its top left corner.

    The square's side is the longer side of the box, plus ``margin`` times that on each side. Outside the image, the
    border's pixels are repeated.

    Args:
        image: ``(H, W, 3)``.
        box: centre and size of the square.
        margin: share of the box's longer side added on each side, ≥ 0.

    >>> square, corner = cut(np.arange(27, dtype=np.uint8).reshape(3, 3, 3), (0.0, 0.0, 2.0, 2.0), margin=0.5)
    >>> square.shape, corner, square[:, :, 0].tolist()  # column -1 repeats column 0, row -1 repeats row 0
    ((4, 4, 3), (-1, -1), [[0, 0, 3, 6], [0, 0, 3, 6], [9, 9, 12, 15], [18, 18, 21, 24]])
    """
    height, width = image.shape[:2]
    left, top, right, bottom = box
    side = max(1, round(max(right - left, bottom - top) * (1 + 2 * margin)))
    x, y = round((left + right - side) / 2), round((top + bottom - side) / 2)
    x, y = min(max(x, 1 - side), width - 1), min(max(y, 1 - side), height - 1)  # at least one pixel of the image
    over_left, over_top = max(-x, 0), max(-y, 0)
    over_right, over_bottom = max(x + side - width, 0), max(y + side - height, 0)
    inside = image[y + over_top : y + side - over_bottom, x + over_left : x + side - over_right]
    if inside.shape[:2] == (side, side):
        return inside, (x, y)
    return np.pad(inside, ((over_top, over_bottom), (over_left, over_right), (0, 0)), mode="edge"), (x, y)


def resize(square: Image, size: int) -> Image:
    """``square`` as ``(size, size, 3)``: averaged over areas when it shrinks, interpolated linearly when it grows."""
    if square.shape[0] == square.shape[1] == size:
        return np.ascontiguousarray(square)
    cv2 = open_cv()
    way = cv2.INTER_AREA if square.shape[0] > size else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(square), (size, size), interpolation=way)


def warp(image: Image, matrix: npt.NDArray[np.float64], side: int, border: int | None = None) -> Image:
    """The ``(side, side, 3)`` image whose pixel ``(u, v)`` is at ``matrix @ (u, v, 1)`` in ``image``, interpolated.

    Positions are rounded to 1/32 pixel: MediaPipe's graphs do so, and their networks give the same numbers only then.

    Args:
        image: ``(H, W, 3)``.
        matrix: ``(2, 3)``, x and y in pixels.
        side: of the result, pixels.
        border: the value of all that is outside the image; ``None`` repeats the border's pixels.

    >>> ramp = np.repeat(np.arange(0, 80, 10, dtype=np.uint8)[None, :, None], 3, axis=2)
    >>> warp(ramp, np.array([[1, 0, 2.5], [0, 1, 0]]), 2)[:, :, 0].tolist()
    [[25, 35], [25, 35]]
    """
    cv2 = open_cv()
    steps = np.arange(side)
    x, y = (np.rint(32 * (a * steps + (b * steps + c)[:, None])).astype(np.int32) for a, b, c in matrix.tolist())
    whole = np.stack([x >> 5, y >> 5], axis=-1).astype(np.int16)
    parts = ((y & 31) * 32 + (x & 31)).astype(np.uint16)
    mode = cv2.BORDER_REPLICATE if border is None else cv2.BORDER_CONSTANT
    return cv2.remap(image, whole, parts, cv2.INTER_LINEAR, borderMode=mode, borderValue=[border or 0] * 3)
