"""Files of finished clips until their shard is complete: ``pending/<key of the clip>.safetensors``.

Each has a checksum; it and the shapes are checked when the file is read.
"""

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel

from mien.errors import Damaged, StoreError
from mien.features.shards import transcript_from_json, transcript_to_json
from mien.schema import ClipFeatures, Feature
from mien.storage.bounded import Arrays
from mien.storage.checksums import read_tensors, write_tensors
from mien.storage.documents import or_nan, plain
from mien.storage.files import key_of

_NAME = re.compile(r"[0-9a-f]{32}\.safetensors")


class _Head(BaseModel):
    """The header of the file of a pending clip."""

    clip: str
    seconds: float | None
    transcript: str | None
    notes: tuple[str, ...]
    features: list[tuple[str, str, str, Literal["present", "absent", "failed"], str, str]]


def pending_file(root: Path, clip: str) -> Path:
    """The path of the file of a clip."""
    return root / "pending" / f"{key_of(clip)}.safetensors"


def pending_of(root: Path) -> list[Path]:
    """The files of pending clips of a store.

    Raises:
        StoreError: the folder contains something else.
    """
    found = sorted(path for path in (root / "pending").iterdir() if not path.name.startswith("."))
    for path in found:
        if not _NAME.fullmatch(path.name) or path.is_dir():
            raise StoreError(f"{path}: not a pending clip of a store; move it out of there")
    return found


def write_pending(path: Path, clip: ClipFeatures) -> None:
    """Write a finished clip, atomically."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for feature in clip.features:
        if feature.values is not None and feature.seconds is not None:
            arrays[feature.modality] = np.ascontiguousarray(feature.values, np.float16)
            arrays[f"{feature.modality}.seconds"] = np.ascontiguousarray(feature.seconds, np.float32)
    head = {
        "clip": clip.clip,
        "seconds": plain(clip.seconds),
        "transcript": transcript_to_json(clip.transcript),
        "notes": clip.notes,
        "features": [(f.modality, f.key, f.provenance, f.status, f.reason, f.origin) for f in clip.features],
    }
    write_tensors(path, arrays, head)


def read_pending(path: Path) -> ClipFeatures:
    """Read the file of a pending clip.

    Raises:
        Damaged: it cannot be read, or is not such a file.
    """
    arrays, values = read_tensors(path)
    try:
        head = _Head.model_validate(values)
        transcript = transcript_from_json(head.transcript)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path}: damaged ({' '.join(str(error).split())[:200]})") from error
    features = tuple(
        Feature(name, key, provenance, *_steps_of(path, name, arrays), status, reason, origin)
        for name, key, provenance, status, reason, origin in head.features
    )
    seconds = or_nan(head.seconds)
    return ClipFeatures(head.clip, seconds, features, transcript, head.notes)


def _steps_of(path: Path, modality: str, arrays: Arrays) -> tuple[Any, Any]:
    """The steps of a modality and their times; ``None`` twice when it is absent."""
    values, seconds = arrays.get(modality), arrays.get(f"{modality}.seconds")
    if values is None and seconds is None:
        return None, None
    if values is None or seconds is None or values.ndim != 2 or seconds.shape != values.shape[:1]:
        raise Damaged(f"{path}: damaged (the steps of {modality} do not match their times)")
    if (values.dtype, seconds.dtype) != (np.float16, np.float32):
        raise Damaged(f"{path}: damaged ({modality} is {values.dtype}, its times {seconds.dtype})")
    return values, seconds
