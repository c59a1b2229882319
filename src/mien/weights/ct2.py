"""The ``model.bin`` of CTranslate2 as NumPy arrays.

    version u32 · specification text · its revision u32 · count u32
    count x (name text · rank u8 · rank x size u32 · type u8 · bytes u32 · values)      little endian
    count u32 x (alias text · name text)       equal variables are stored once
    text = length u16 with its final zero · bytes

Source: CTranslate2 (MIT), ``python/ctranslate2/specs/model_spec.py``, binary version 6.
"""

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mien.errors import WeightsError
from mien.storage.files import open_regular

_TYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}


def read_ct2(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The variables of a CTranslate2 ``model.bin``, by name and by alias; scalars have no axes.

    Raises:
        WeightsError: the format is older than 6, or the file ends early.
    """
    with open_regular(path) as file:
        try:
            (version,) = _unpack(file, "<I")
            if version < 6:
                raise WeightsError(f"{path}: CTranslate2 format {version}, expected 6 or later")
            _text(file)  # name of the specification
            _unpack(file, "<I")  # its revision
            (count,) = _unpack(file, "<I")
            variables = {_text(file): _array(file) for _ in range(count)}
            (count,) = _unpack(file, "<I")
            aliases = {_text(file): _text(file) for _ in range(count)}
            return variables | {alias: variables[name] for alias, name in aliases.items()}
        except (struct.error, ValueError, KeyError) as error:
            raise WeightsError(f"{path}: not a complete CTranslate2 model ({error})") from error


def _unpack(file: BinaryIO, form: str) -> tuple[Any, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _text(file: BinaryIO) -> str:
    (length,) = _unpack(file, "<H")
    return file.read(length).rstrip(b"\0").decode()


def _array(file: BinaryIO) -> npt.NDArray[Any]:
    (rank,) = _unpack(file, "<B")
    shape = _unpack(file, f"<{rank}I")
    kind, size = _unpack(file, "<BI")
    return np.frombuffer(file.read(size), _TYPES[kind]).reshape(shape)
