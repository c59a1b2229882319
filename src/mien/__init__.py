"""mien estimates how strongly emotions show in short videos of people.

    import mien

    mien.extract("hume-vidmimic2", "features")               # each clip decoded once, each backbone run once
    mien.train("hume-vidmimic2", "features", "runs/first")   # stage 1, then stage 2
    model = mien.load("runs/first")
    model.predict(["clip.mp4"])                              # → a pyarrow.Table

Importing this package loads nothing; each name is imported from its module on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mien.api import cross_validate as cross_validate
    from mien.api import evaluate as evaluate
    from mien.api import extract as extract
    from mien.api import train as train
    from mien.config import Settings as Settings
    from mien.config import read_settings as read_settings
    from mien.data.manifest import read_manifest as read_manifest
    from mien.errors import MienError as MienError
    from mien.features.store import Store as Store
    from mien.inference.predict import Model as Model
    from mien.inference.predict import load as load
    from mien.schema import EMOTIONS as EMOTIONS
    from mien.schema import Clip as Clip
    from mien.schema import Manifest as Manifest
    from mien.synthetic.corpus import synth as synth

__version__ = "0.1.0"

_EXPORTS = {
    "EMOTIONS": "mien.schema",
    "Clip": "mien.schema",
    "Manifest": "mien.schema",
    "MienError": "mien.errors",
    "Model": "mien.inference.predict",
    "Settings": "mien.config",
    "Store": "mien.features.store",
    "cross_validate": "mien.api",
    "evaluate": "mien.api",
    "extract": "mien.api",
    "load": "mien.inference.predict",
    "read_manifest": "mien.data.manifest",
    "read_settings": "mien.config",
    "synth": "mien.synthetic.corpus",
    "train": "mien.api",
}

__all__ = [
    "EMOTIONS",
    "Clip",
    "Manifest",
    "MienError",
    "Model",
    "Settings",
    "Store",
    "cross_validate",
    "evaluate",
    "extract",
    "load",
    "read_manifest",
    "read_settings",
    "synth",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'mien' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
