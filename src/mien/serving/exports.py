"""The old place of ``mien.scores.exports``: everything is found there, and that is said once."""

import warnings
from typing import Any

from mien.scores import exports

warnings.warn("mien.serving.exports is now mien.scores.exports", DeprecationWarning, stacklevel=2)


def __getattr__(name: str) -> Any:
    return getattr(exports, name)
