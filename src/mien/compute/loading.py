"""One thread at a time imports transformers and makes models with it.

The package puts another module in its own place at the end of its import: a thread that waited for another to import it
is given the one before, which has no classes. And while it makes a model, it changes what is global in PyTorch (the
default number format, how layers begin).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def transformers() -> Iterator[Any]:
    """The package, for as long as no other thread may use it to make something.

    It takes two seconds to import, so it is imported where it is needed, and not before.
    """
    with _ONE_AT_A_TIME:
        yield import_module("transformers")
