"""The file of one kept input: what ``kept_inputs.py`` stores under a key, as safetensors with a JSON header.

    text      transcript, in the header
    audio     waveform (N,) int16 where that holds it, else float32
    vision    packed (N,) uint8 and offsets (T + 1,) int64: crops, compressed; seconds (T,); boxes (T, 4)
    motion    motion (U, 58 or 23), seconds (U,)

The header also has what was found out about the clip: length, notes, why something is missing, the number of faces.
Every shape and type is checked when a file is read; arrays stay memory-mapped.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from mien.errors import Damaged
from mien.features.packed_crops import LARGEST_SIDE, PackedCrops, pack_crops
from mien.features.shards import transcript_from_json, transcript_to_json
from mien.modalities.base import InputKind
from mien.schema import Clip, Faces, FaceTrack, Media
from mien.storage.bounded import Arrays
from mien.storage.documents import or_nan, plain
from mien.storage.mapped import map_tensors, write_mapped

FORMAT, VERSION = "mien-input", 1

_INT16 = 32_768.0
_LONGEST_SAMPLES = 1 << 31


class _Head(BaseModel):
    """The header of a kept input."""

    format: Literal["mien-input"]
    version: Literal[1]
    kind: InputKind
    clip: str
    seconds: float | None
    reason: str
    notes: tuple[str, ...]
    transcript: str | None = None
    side: int = Field(default=1, ge=1, le=LARGEST_SIDE)
    frames: int = Field(default=0, ge=0)
    faces: tuple[int, float] | None = None
    upside_down: bool = False


def write_input(path: Path, media: Media, kind: InputKind) -> int:
    """Write one input of a decoded clip, atomically; returns its size in bytes.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    head, arrays = _parts(media, kind)
    about = {
        "format": FORMAT, "version": VERSION, "kind": kind, "clip": media.clip.id, "seconds": plain(media.seconds),
        "reason": media.absent.get(kind, ""), "notes": tuple(media.notes), **head,
    }  # fmt: skip
    return write_mapped(path, arrays, about)


def read_input(path: Path, clip: Clip, kind: InputKind) -> Media:
    """The input in a file, as ``Media`` of ``clip`` without the other parts.

    Raises:
        Damaged: the file is damaged, or is of another kind.
    """
    arrays, values = map_tensors(path)
    try:
        head = _Head.model_validate(values)
        if head.kind != kind:
            raise ValueError(f"holds {head.kind}, expected {kind}")
        return _media(clip, head, arrays, str(path))
    except (ValueError, KeyError, RecursionError) as error:
        raise Damaged(f"{path}: damaged ({' '.join(str(error).split())[:200]})") from error


def _parts(media: Media, kind: InputKind) -> tuple[dict[str, Any], Arrays]:
    """The header and the arrays of one input."""
    track, faces = media.faces, media.face_count
    counted: dict[str, Any] = {"faces": None if faces is None else (faces.most, faces.several_seconds)}
    if kind == "text":
        return {"transcript": transcript_to_json(media.transcript)}, {}
    if kind == "audio":
        return {}, {} if media.waveform is None else {"waveform": _as_int16(media.waveform)}
    if track is None:
        return counted, {}
    counted["upside_down"] = track.upside_down
    if kind == "motion":
        arrays = {"motion": track.motion, "seconds": track.motion_seconds}
        return {**counted, "frames": track.motion_frames}, arrays
    packed, offsets = pack_crops(track.crops)
    side = track.crops[0:1].shape[1] if len(track.crops) else 1
    arrays = {"packed": packed, "offsets": offsets, "seconds": track.crop_seconds, "boxes": track.boxes}
    return {**counted, "frames": track.vision_frames, "side": side}, arrays


def _as_int16(waveform: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """The waveform in half the bytes, where that loses nothing."""
    steps = waveform * np.float32(_INT16)
    rounded = np.clip(np.rint(steps), -_INT16, _INT16 - 1)
    return rounded.astype(np.int16) if np.array_equal(rounded, steps) else np.ascontiguousarray(waveform)


def _media(clip: Clip, head: _Head, arrays: Arrays, where: str) -> Media:
    """The inverse of ``_parts``, with checks of all shapes.

    Raises:
        KeyError, ValueError, RecursionError, Damaged: the arrays are not those of such an input.
    """
    transcript = transcript_from_json(head.transcript)
    waveform = None
    if "waveform" in arrays:
        waveform = _floats(arrays["waveform"])
    track = _track(head, arrays, where) if "seconds" in arrays else None
    count = None if head.faces is None else Faces(*head.faces)
    absent = {head.kind: head.reason} if head.reason else {}
    return Media(clip, or_nan(head.seconds), waveform, transcript, track, absent, head.notes, count)


def _floats(samples: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    if samples.ndim != 1 or samples.dtype not in (np.int16, np.float32) or samples.size > _LONGEST_SAMPLES:
        raise ValueError(f"a waveform of {samples.dtype} {samples.shape}")
    return samples.astype(np.float32) / np.float32(_INT16) if samples.dtype == np.int16 else np.asarray(samples)


def _track(head: _Head, arrays: Arrays, where: str) -> FaceTrack:
    """A track with the crops, or with the descriptors, of one file."""
    seconds, nothing = _checked(arrays["seconds"], np.float32, 1), np.empty((0, 0), np.float32)
    crops: Any = np.empty((0, 1, 1, 3), np.uint8)
    crop_seconds, boxes, motion, motion_seconds = nothing[:, 0:0].reshape(0), nothing, nothing, nothing.reshape(0)
    if head.kind == "motion":
        motion, motion_seconds = _checked(arrays["motion"], np.float32, 2), seconds
        if len(motion) != len(seconds):
            raise ValueError(f"{len(motion)} rows with {len(seconds)} times")
    else:
        offsets = _checked(arrays["offsets"], np.int64, 1)
        crops = PackedCrops(_checked(arrays["packed"], np.uint8, 1), offsets, head.side, where)
        crop_seconds, boxes = seconds, _checked(arrays["boxes"], np.float32, 2)
        if len(crops) != len(seconds):
            raise ValueError(f"{len(crops)} crops with {len(seconds)} times")
    frames = (head.frames, 0) if head.kind == "vision" else (0, head.frames)
    people, several = head.faces or (0, 0.0)
    return FaceTrack(
        crops, crop_seconds, frames[0], motion, motion_seconds, frames[1], people, boxes, several, head.upside_down
    )


def _checked(array: npt.NDArray[Any], dtype: npt.DTypeLike, axes: int) -> npt.NDArray[Any]:
    if array.dtype != np.dtype(dtype) or array.ndim != axes:
        raise ValueError(f"an array of {array.dtype} {array.shape}, expected {np.dtype(dtype)} of {axes} axes")
    return array
