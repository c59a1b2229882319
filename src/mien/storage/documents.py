"""JSON documents: their numbers, and the format and version that each begins with.

JSON has no ``nan``: an undefined number is written as null (``plain``) and read as ``nan`` again (``or_nan``).
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mien.errors import DataError, MienError


def plain(value: Any) -> Any:
    """A value as JSON can hold it: arrays as lists, and every number that is not finite as null.

    >>> plain({"r": np.array([0.5, np.nan]), "clips": 3, "names": ("Joy",)})
    {'r': [0.5, None], 'clips': 3, 'names': ['Joy']}
    """
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def or_nan(value: float | None) -> float:
    """The inverse of ``plain`` for one number: null is ``nan``.

    >>> or_nan(None), or_nan(1)
    (nan, 1.0)
    """
    return math.nan if value is None else float(value)


def check_document(
    where: Path, head: Any, format: str, version: int, *, noun: str, remedy: str, error: type[MienError] = DataError
) -> dict[str, Any]:
    """Check that what was read is a document that this version of mien reads.

    Args:
        where: the file, for messages.
        head: what was read from it.
        format, version: what it must state.
        noun: what such a document is, e.g. ``"study"``.
        remedy: what to do about a file that is not one, or one of an older version.
        error: what is raised.

    Returns:
        ``head``, which is a JSON object.

    Raises:
        MienError: of the type ``error``: another format, or another version.
    """
    if not isinstance(head, dict) or head.get("format") != format:
        article = "an" if noun[0] in "aeiou" else "a"
        raise error(f"{where}: not {article} {noun} of mien; {remedy}")
    found = head.get("version")
    if found != version:
        newer = isinstance(found, int) and found > version
        advice = "a newer mien reads it" if newer else remedy
        raise error(f"{where}: {noun} version {found}, but this mien reads version {version}; {advice}")
    return head
