"""Import of the features that the challenge provides: pickled NumPy arrays, which are not computed again.

    vit/{id}.pkl        frames x 384    → vision
    wav2vec2/{id}.pkl   steps x 768     → audio, 50 steps per second

Unpickling runs code, so they are read by an interpreter that can only build one numeric array (``safe_unpickle``).
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.errors import DataError
from mien.features.safe_unpickle import safe_unpickle_array
from mien.features.writer import StoreWriter
from mien.schema import ClipFeatures, Feature, Manifest
from mien.storage.files import key_of, read_bytes_checked, sha256_of

PROVIDED = {"vision": ("vit", 1.0), "audio": ("wav2vec2", 50.0)}
"""By modality: the challenge's folder, and steps per second (frame times are unknown, so frames are numbered)."""


@dataclass(frozen=True)
class Imported:
    """The result of an import: clips by modality; missing features by (modality, reason), with the first clip."""

    made: dict[str, int]
    absent: dict[tuple[str, str], tuple[int, str]]


def import_provided(data: Path, manifest: Manifest, out: Path) -> Imported:
    """Import the challenge's features into a store; features of other modalities in it stay.

    Args:
        data: the challenge's folder.
        manifest: its clips.
        out: the folder of the store.

    Raises:
        DataError: the folder has no such features.
        OutputError: the store cannot be written.
    """
    folders = {modality: data / name for modality, (name, _) in PROVIDED.items() if (data / name).is_dir()}
    if not folders:
        names = " or ".join(f"{name}/" for name, _ in PROVIDED.values())
        raise DataError(f"{data}: no provided features ({names}) to import")
    made: Counter[str] = Counter()
    absent: dict[tuple[str, str], tuple[int, str]] = {}
    with StoreWriter(out, [clip.id for clip in manifest.clips]) as writer:
        for clip in manifest.clips:
            features = tuple(_feature(modality, folder, clip.id) for modality, folder in folders.items())
            writer.add(ClipFeatures(clip.id, float("nan"), features))
            for feature in features:
                if feature.values is not None:
                    made[feature.modality] += 1
                else:
                    key = (feature.modality, feature.reason.partition(":")[0])
                    count, first = absent.get(key, (0, clip.id))
                    absent[key] = (count + 1, first)
    return Imported(dict(made), absent)


def read_array(path: Path) -> npt.NDArray[np.float32]:
    """The numeric array in a pickle.

    Args:
        path: a pickle of one NumPy array, ``(T, F)`` or ``(F,)``.

    Returns:
        ``(T, F)`` float32.

    Raises:
        DataError: it cannot be read, is not a numeric array, or has values that are not finite.
    """
    content = read_bytes_checked(path)
    try:
        value = safe_unpickle_array(content)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if value.ndim not in (1, 2):
        raise DataError(f"{path}: not a numeric array of steps x features")
    array = np.atleast_2d(value).astype(np.float32)
    if not np.isfinite(array).all():
        raise DataError(f"{path}: holds numbers that are not finite")
    return array


def _feature(modality: str, folder: Path, clip: str) -> Feature:
    name, rate = PROVIDED[modality]
    provenance = f"challenge {name}@1"
    path = folder / f"{clip}.pkl"
    if not path.is_file():
        return Feature(modality, key_of("none"), provenance, status="absent", reason=f"no provided file: {path.name}")
    try:
        values = read_array(path)
    except DataError as error:
        return Feature(
            modality, key_of("failed"), provenance, status="failed", reason=f"provided file unusable: {error}"
        )
    if not values.size:
        return Feature(
            modality, key_of("empty"), provenance, status="absent", reason=f"provided file is empty: {path.name}"
        )
    seconds = np.arange(len(values), dtype=np.float32) / rate
    limit = float(np.finfo(np.float16).max)
    return Feature(
        modality,
        key_of(provenance, sha256_of(path)),
        provenance,
        values.clip(-limit, limit).astype(np.float16),
        seconds,
    )
