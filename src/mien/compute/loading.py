"""Only one thread at a time may import transformers and build models with it.

The package replaces its own module at the end of its import, so a thread that waited for another's import gets the
module from before, which has no classes. While it builds a model, it changes global state of PyTorch (the default
dtype, weight initialization).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def transformers() -> Iterator[Any]:
    """The package, held exclusively by this thread.

    It is imported only where it is needed, because the import takes two seconds.
    """
    with _ONE_AT_A_TIME:
        yield import_module("transformers")
