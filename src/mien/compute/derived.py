"""What transformers makes of the small files beside a model's weights, kept in the cache as JSON.

    cache_folder()/derived/<key>.json        key: what it is, the files, and the versions that made it

Importing transformers takes most of the time before the first features of a text or a voice. With what is kept here,
and the graph that ``engine.py`` keeps, it is imported only for training and for a model's first use.
"""

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mien.compute.loading import transformers
from mien.storage.cached import write_cached
from mien.storage.files import cache_folder, key_of, sha256_of

VERSION = 1
"""Raised when the same files give something else."""

READ = (".json", ".txt", ".model")
"""Suffixes of the files that it is made of."""


def derived(what: str, folder: Path, make: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """What ``make`` returns, which is called only if that is not in the cache.

    Args:
        what: the name of what is made.
        folder: of a model.
        make: takes the package transformers; returns what JSON can hold.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in READ)
    versions = [importlib.metadata.version(name) for name in ("transformers", "tokenizers")]
    key = key_of(what, VERSION, versions, [(path.relative_to(folder).as_posix(), sha256_of(path)) for path in files])
    file = cache_folder() / "derived" / f"{key}.json"
    if file.exists():
        return json.loads(file.read_bytes())
    with transformers() as library:
        made = make(library)
    write_cached(file, json.dumps(made).encode())
    return made
