"""JSON documents: numbers that JSON cannot hold, and the format and version at the top of each.

JSON has no ``nan``: an undefined number is written as null (``plain``) and read as ``nan`` again (``or_nan``).
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mien.errors import DataError, MienError


def plain(value: Any) -> Any:
    """A JSON-serialisable copy of a value: arrays become lists, and numbers that are not finite become null.

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
    """Check that parsed JSON is a document of a format and version that this mien reads.

    Args:
        where: the file, for messages.
        head: the parsed JSON.
        format, version: the expected values.
        noun: the kind of document, e.g. ``"study"``.
        remedy: what to do about a file of another format, or of an older version.
        error: the type of the exception.

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
