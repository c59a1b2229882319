"""The files of clips that are finished, but whose shard is not complete yet: ``pending/<key of the clip>.safetensors``.

Each has its checksum, and is checked against what it should hold when it is read.
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
    """The head of the file of a pending clip."""

    clip: str
    seconds: float | None
    transcript: str | None
    notes: tuple[str, ...]
    features: list[tuple[str, str, str, Literal["present", "absent", "failed"], str, str]]


def pending_file(root: Path, clip: str) -> Path:
    """Where the file of a clip lies."""
    return root / "pending" / f"{key_of(clip)}.safetensors"


def pending_of(root: Path) -> list[Path]:
    """The files of pending clips of a store.

    Raises:
        StoreError: there is something else among them.
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
    """What a file of a pending clip holds.

    Raises:
        Damaged: it cannot be read, or is no such file.
    """
    arrays, values = read_tensors(path)
    try:
        head = _Head.model_validate(values)
        said = transcript_from_json(head.transcript)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path}: damaged ({' '.join(str(error).split())[:200]})") from error
    features = tuple(
        Feature(name, key, made, *_steps_of(path, name, arrays), status, reason, origin)
        for name, key, made, status, reason, origin in head.features
    )
    seconds = or_nan(head.seconds)
    return ClipFeatures(head.clip, seconds, features, said, head.notes)


def _steps_of(path: Path, modality: str, arrays: Arrays) -> tuple[Any, Any]:
    """The steps of a modality and their times; nothing when it is absent."""
    values, seconds = arrays.get(modality), arrays.get(f"{modality}.seconds")
    if values is None and seconds is None:
        return None, None
    if values is None or seconds is None or values.ndim != 2 or seconds.shape != values.shape[:1]:
        raise Damaged(f"{path}: damaged (the steps of {modality} and their times do not go together)")
    if (values.dtype, seconds.dtype) != (np.float16, np.float32):
        raise Damaged(f"{path}: damaged ({modality} is {values.dtype}, its times {seconds.dtype})")
    return values, seconds
