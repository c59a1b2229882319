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
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

from mien.errors import Damaged, DataError, StoreError
from mien.features.input_file import read_input, write_input
from mien.modalities.base import InputKind
from mien.schema import Clip, FaceTrack, Media
from mien.storage.checksums import read_checksummed, write_checksummed
from mien.storage.exclusive import refuse_link
from mien.storage.files import atomic_file, writing

FOLDER = "inputs"
INDEX = "index.json"
INDEX_FORMAT = "mien-inputs"
KINDS: tuple[InputKind, ...] = get_args(InputKind)

_KEY = re.compile(r"[0-9a-f]{32}")


class KeptFile(NamedTuple):
    """A kept input of a clip: its kind, key, size in bytes, and whether it was written now."""

    kind: str
    key: str
    size: int
    new: bool


class KeptInputs:
    """The kept inputs of a feature store."""

    def __init__(self, store: str | Path) -> None:
        """Those of the store in this folder; there need not be any. The index is read once, by the first ``read``."""
        self.root = Path(store) / FOLDER
        self._known: dict[str, dict[str, str]] | None = None

    def exist(self) -> bool:
        """Whether there are any."""
        return self.root.is_dir()

    def read(self, clip: str, kind: InputKind) -> Media | None:
        """One input of a clip by its id, as ``Media`` without the other parts; ``None`` when it is not kept.

        Raises:
            Damaged: its file, or the index, is damaged.
        """
        if self._known is None:
            self._known = self.index()
        key = self._known.get(clip, {}).get(kind)
        return None if key is None else self.find(Clip(clip), kind, key)

    def find(self, clip: Clip, kind: InputKind, key: str) -> Media | None:
        """One input by its key, as for ``read``; ``clip`` is the clip of the result.

        Raises:
            Damaged: its file is damaged.
        """
        if self.size(kind, key) is None:
            return None
        return read_input(self.path(kind, key), clip, kind)

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
        return write_input(self.path(kind, key), media, kind)

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
        self._write_index(clips)

    def add_all(self, others: Iterable["KeptInputs"]) -> None:
        """Add the kept inputs of other stores; their files are shared by hard links where the file system allows it.

        Raises:
            Damaged: an index is damaged, or a file that it names is missing.
            OutputError: they cannot be written, or a file of the others is a link.
        """
        clips = self.index()
        for other in others:
            for clip, keys in other.index().items():
                for kind, key in keys.items():
                    if self.size(kind, key) is None:
                        _share(other.path(kind, key), self.path(kind, key))
                clips[clip] = {**clips.get(clip, {}), **keys}
        if clips:
            self._write_index(clips)

    def _write_index(self, clips: Mapping[str, Mapping[str, str]]) -> None:
        write_checksummed(self.root / INDEX, {"format": INDEX_FORMAT, "version": 1, "clips": clips})

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
        self._write_index(left)
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


def _share(source: Path, path: Path) -> None:
    """Link a file to another path, or copy it."""
    if not source.exists():
        raise Damaged(f"{source}: missing, but named in {INDEX}; run its part again, with --keep-inputs")
    refuse_link(source)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.hardlink_to(source)
        except OSError:  # on another file system, or on one without hard links
            with atomic_file(path) as part:
                shutil.copyfile(source, part)


def _is_index(clips: Any) -> bool:
    """Whether parsed JSON is keys by clip and kind; a key becomes part of a path."""
    if not isinstance(clips, dict) or not all(isinstance(keys, dict) for keys in clips.values()):
        return False
    pairs = (pair for keys in clips.values() for pair in keys.items())
    return all(kind in KINDS and isinstance(key, str) and _KEY.fullmatch(key) for kind, key in pairs)
