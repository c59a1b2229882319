"""Kept inputs: what the backbones read of each clip, beside the features, so that no video is decoded twice.

    STORE/inputs/vision/3f/3f…a2.safetensors   crops, their times and boxes
    STORE/inputs/motion/…                      face descriptors and their times
    STORE/inputs/audio/…                       waveform at 16 kHz
    STORE/inputs/text/…                        transcript
    STORE/inputs/index.json                    the files of each clip, by its id

    kept = KeptInputs("features")
    media = kept.read("00042", "vision")       # a Media with this part alone; None when it is not kept
    VISION.prepare(media)                      # what the backbone reads

A file's name is a hash of everything that the input depends on (``Keys.of_input``): the bytes and the range of the
clip, the settings of media, faces and speech, the recogniser or detector, the version of the code; not the backbone.
Everything is exact, so that features made of kept inputs are those that the clip itself gives: waveforms are int16
where that holds them, else float32; crops are compressed without loss (``packed_crops.py``). Long ones are not read as
a whole: arrays are memory-mapped, crops are decompressed by slices.

A file that is damaged, or was made by somebody to do harm, is ``Damaged``; extraction then reads the clip again.
"""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from mien.errors import Damaged, DataError, StoreError
from mien.features.packed_crops import LARGEST_SIDE, PackedCrops, pack_crops
from mien.features.shards import transcript_from_json, transcript_to_json
from mien.modalities.base import InputKind
from mien.schema import Clip, Faces, FaceTrack, Media
from mien.storage.bounded import Arrays
from mien.storage.checksums import read_checksummed, write_checksummed
from mien.storage.documents import or_nan, plain
from mien.storage.files import writing
from mien.storage.mapped import map_tensors, write_mapped

FOLDER = "inputs"
INDEX = "index.json"
FORMAT, VERSION = "mien-input", 1
KINDS: tuple[InputKind, ...] = get_args(InputKind)

_KEY = re.compile(r"[0-9a-f]{32}")
_INT16 = 32_768.0
_LONGEST_SAMPLES = 1 << 31


class KeptFile(NamedTuple):
    """A kept input of a clip: its kind, key, size in bytes, and whether it was written now."""

    kind: str
    key: str
    size: int
    new: bool


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


class KeptInputs:
    """The kept inputs of a feature store."""

    def __init__(self, store: str | Path) -> None:
        """Those of the store in this folder; nothing is read yet, and there need not be any."""
        self.root = Path(store) / FOLDER

    def exist(self) -> bool:
        """Whether there are any."""
        return self.root.is_dir()

    def read(self, clip: str, kind: InputKind) -> Media | None:
        """One input of a clip by its id, as ``Media`` without the other parts; ``None`` when it is not kept.

        Raises:
            Damaged: its file, or the index, is damaged.
        """
        key = self.index().get(clip, {}).get(kind)
        return None if key is None else self.find(Clip(clip), kind, key)

    def find(self, clip: Clip, kind: InputKind, key: str) -> Media | None:
        """One input by its key, as for ``read``; ``clip`` is the clip of the result.

        Raises:
            Damaged: its file is damaged.
        """
        if self.size(kind, key) is None:
            return None
        path = self.path(kind, key)
        arrays, values = map_tensors(path)
        try:
            head = _Head.model_validate(values)
            if head.kind != kind:
                raise ValueError(f"holds {head.kind}, expected {kind}")
            return _media(clip, head, arrays, str(path))
        except (ValueError, KeyError, RecursionError) as error:
            raise Damaged(f"{path}: damaged ({' '.join(str(error).split())[:200]})") from error

    def size(self, kind: str, key: str) -> int | None:
        """Bytes of a file, damaged or not; ``None`` when it is not kept."""
        try:
            return self.path(kind, key).stat(follow_symlinks=False).st_size
        except OSError:
            return None

    def write(self, media: Media, kind: InputKind, key: str) -> int:
        """Keep one input of a decoded clip, atomically; returns its size in bytes.

        Raises:
            OutputError: the disk is full or cannot be written.
        """
        head, arrays = _parts(media, kind)
        about = {
            "format": FORMAT, "version": VERSION, "kind": kind, "clip": media.clip.id, "seconds": plain(media.seconds),
            "reason": media.absent.get(kind, ""), "notes": tuple(media.notes), **head,
        }  # fmt: skip
        return write_mapped(self.path(kind, key), arrays, about)

    def path(self, kind: str, key: str) -> Path:
        """The file of an input."""
        return self.root / kind / key[:2] / f"{key}.safetensors"

    def index(self) -> dict[str, dict[str, str]]:
        """By clip and kind, the keys of all kept inputs; empty when there is no index.

        Raises:
            Damaged: it is damaged.
        """
        path = self.root / INDEX
        if not path.exists():
            return {}
        clips: Any = read_checksummed(path).get("clips")
        if not _is_index(clips):
            raise Damaged(f"{path}: damaged (not an index of clips); run the extraction with --keep-inputs again")
        return clips

    def write_index(self, files: Mapping[str, Iterable[KeptFile]]) -> None:
        """Add the files of clips to the index, in place of those that it had of the same clip and kind."""
        try:
            clips = self.index()
        except DataError:  # made again by an extraction of all clips, which decodes none of them
            clips = {}
        for clip, kept in files.items():
            clips[clip] = {**clips.get(clip, {}), **{file.kind: file.key for file in kept}}
        write_checksummed(self.root / INDEX, {"format": FORMAT, "version": VERSION, "clips": clips})

    def prune(self, clips: Iterable[str]) -> tuple[int, int]:
        """Remove the inputs of clips that are not among ``clips``, and of older settings or files.

        Returns:
            Number of files that were removed, and their bytes.

        Raises:
            Damaged: the index is damaged, so it is unknown what may go.
            OutputError: a file cannot be removed.
        """
        index, wanted = self.index(), set(clips)
        left = {clip: keys for clip, keys in index.items() if clip in wanted}
        used = {self.path(kind, key) for keys in left.values() for kind, key in keys.items()}
        write_checksummed(self.root / INDEX, {"format": FORMAT, "version": VERSION, "clips": left})
        count = size = 0
        for path in sorted(self.root.glob("*/??/*.safetensors")):
            if path not in used and path.parts[-3] in KINDS and _KEY.fullmatch(path.stem):
                count, size = count + 1, size + path.stat(follow_symlinks=False).st_size
                with writing(path):
                    path.unlink()
        return count, size


def find_kept(store: Path) -> KeptInputs:
    """The kept inputs of a store that must have some.

    Raises:
        StoreError: it has none.
    """
    kept = KeptInputs(store)
    if not kept.exist():
        raise StoreError(f"{store}: no kept inputs; make them with: mien extract DATA --out {store} --keep-inputs")
    return kept


def joined(clip: Clip, parts: Iterable[Media]) -> Media:
    """The parts of a clip as one ``Media``."""
    whole = Media(clip, math.nan)
    for part in parts:
        whole = Media(
            clip,
            part.seconds if math.isnan(whole.seconds) else whole.seconds,
            part.waveform if whole.waveform is None else whole.waveform,
            part.transcript if whole.transcript is None else whole.transcript,
            _joined_tracks(whole.faces, part.faces),
            {**whole.absent, **part.absent},
            tuple(dict.fromkeys((*whole.notes, *part.notes))),
            part.face_count if whole.face_count is None else whole.face_count,
        )
    return whole


def _joined_tracks(one: FaceTrack | None, other: FaceTrack | None) -> FaceTrack | None:
    """Crops and descriptors of one face, each from the track that has searched for them."""
    if one is None or other is None:
        return other if one is None else one
    crops = one if one.vision_frames or len(one.crops) else other
    motion = one if one.motion_frames or len(one.motion) else other
    return FaceTrack(
        crops.crops, crops.crop_seconds, crops.vision_frames, motion.motion, motion.motion_seconds,
        motion.motion_frames, max(one.people, other.people), crops.boxes,
        max(one.several_seconds, other.several_seconds), one.upside_down or other.upside_down,
    )  # fmt: skip


def _is_index(clips: Any) -> bool:
    """Whether parsed JSON is keys by clip and kind; a key becomes part of a path."""
    if not isinstance(clips, dict) or not all(isinstance(keys, dict) for keys in clips.values()):
        return False
    pairs = (pair for keys in clips.values() for pair in keys.items())
    return all(kind in KINDS and isinstance(key, str) and _KEY.fullmatch(key) for kind, key in pairs)


# -- one file -----------------------------------------------------------------------------------------------------


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
    return samples.astype(np.float32) / np.float32(_INT16) if samples.dtype == np.int16 else samples.copy()


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
