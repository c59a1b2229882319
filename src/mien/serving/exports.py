"""Deprecated alias of ``mien.scores.exports``."""

import warnings
from typing import Any

from mien.scores import exports


def __getattr__(name: str) -> Any:
    if name.startswith("_") or not hasattr(exports, name):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("mien.serving.exports is now mien.scores.exports", DeprecationWarning, stacklevel=2)
    return getattr(exports, name)
