"""Face images and OpenFace 2 tables that the owner of the data provides in place of our own face tracking.

Both are used as they are, without another face detection; ``notes`` counts what could not be used.

Shapes: ``T`` images, ``S`` side of a crop, ``U`` rows of motion.
"""

import csv
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.config import FaceSettings, Settings
from mien.errors import DataError, MediaError
from mien.media.crops import CropSpool, Image, cut, resize
from mien.schema import Clip, Crops
from mien.storage.files import read_bytes_checked
from mien.wording import plural

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})

OPENFACE_UNITS = ("01", "02", "04", "05", "06", "07", "09", "10", "12", "14", "15", "17", "20", "23", "25", "26", "45")
"""The 17 facial action units whose intensity OpenFace 2 estimates."""

OPENFACE_POSE = ("pose_Rx", "pose_Ry", "pose_Rz", "pose_Tx", "pose_Ty", "pose_Tz")

OPENFACE_COLUMNS = tuple(f"AU{unit}_r" for unit in OPENFACE_UNITS) + OPENFACE_POSE
"""The columns of a row of motion, in order."""

OPENFACE_SURE = 0.75
"""Rows of lower ``confidence`` are left out; OpenFace's own threshold of a lost face is lower."""

MAX_ABSOLUTE = 1e9
"""Larger than any angle, position, time or intensity; comparisons with nan are false, too."""


@dataclass(frozen=True)
class ProvidedCrops:
    """A clip's face images.

    Attributes:
        crops: ``(T, S, S, 3)``, in the order of the numbers in their names.
        seconds: ``(T,)`` float32. The files have no times: they are spread evenly over the clip, ``nan`` when its
            length is unknown.
        images: number of image files, readable or not, used or skipped.
        notes: how many files were ignored or unreadable.
    """

    crops: Crops
    seconds: npt.NDArray[np.float32]
    images: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class OpenFaceMotion:
    """A clip's facial movement from OpenFace 2.

    Attributes:
        motion: ``(U, 23)`` float32: 17 action unit intensities in [0, 5] in the order of ``OPENFACE_UNITS``, then
            rotation about x, y, z in degrees and position x, y, z in centimetres (OpenFace's own axes: x right,
            y down, z away from the camera).
        seconds: ``(U,)`` float32 times of the rows.
        frames: number of video frames in the table, with or without a usable face.
        notes: how many rows were left out and why.
    """

    motion: npt.NDArray[np.float32]
    seconds: npt.NDArray[np.float32]
    frames: int
    notes: tuple[str, ...]


def settled(settings: Settings, clip: Clip) -> Settings:
    """The settings for one clip, with ``auto`` resolved: provided data where the clip has them, else the video.

    A clip without a file has no other source than its provided data.

    >>> settled(Settings.model_validate({"faces": {"source": "auto"}}), Clip("a", Path("a.mp4"))).faces.source
    'video'
    """
    available = {"faces": clip.crops is not None, "speech": clip.sound is not None}
    sections = {
        name: getattr(settings, name).model_copy(update={"source": "provided" if provided else "video"})
        for name, provided in available.items()
        if getattr(settings, name).source == "auto" or (provided and clip.path is None)
    }
    return settings.model_copy(update=sections) if sections else settings


def provided_crops(
    folder: Path,
    settings: FaceSettings,
    read_image: Callable[[Path], Image],
    seconds: float = math.nan,
    limit: int | None = None,
) -> ProvidedCrops:
    """The images in a folder such as the challenge's ``face_images/{id}/``, padded to squares and resized.

    Args:
        folder: contains ``1.jpg``, ``2.jpg`` …; other files (``Thumbs.db``) are ignored and counted.
        settings: the crop size; no margin is added.
        read_image: reads an image file; an image that raises ``MediaError`` is left out.
        seconds: length of the clip, when known.
        limit: largest number of images; evenly spaced ones if there are more. The challenge
            has up to 2,591 in a folder.

    Raises:
        MediaError: the folder is missing or unreadable, has no images, or none of those taken can be decoded.
    """
    files, ignored = _image_files(folder)
    taken = files if limit is None else [files[at] for at in _evenly(len(files), limit)]
    spool = CropSpool(settings.crop_size)
    positions: list[int] = []
    unreadable: list[Path] = []
    for position, file in enumerate(taken):
        try:
            image = read_image(file)
        except MediaError:
            unreadable.append(file)
            continue
        height, width = image.shape[:2]
        spool.append(resize(cut(image, (0.0, 0.0, float(width), float(height)), margin=0.0)[0], settings.crop_size))
        positions.append(position)
    if not positions:
        raise MediaError(f"{folder}: none of {len(taken)} images can be decoded, for example {taken[0].name}")
    notes = [_count_note(ignored, "ignored: not an image"), _count_note(unreadable, "left out: cannot be decoded")]
    times = (np.array(positions, np.float32) + 0.5) * (seconds / len(taken))
    return ProvidedCrops(spool, times.astype(np.float32), len(files), tuple(note for note in notes if note))


def read_openface(file: Path, start: float = 0.0, end: float = math.inf) -> OpenFaceMotion:
    """Facial motion from a CSV of OpenFace 2's FeatureExtraction.

    Angles are converted from radians to degrees and positions from millimetres to centimetres, as everywhere in mien.
    Rows that OpenFace marks as failed (``success`` 0), with low confidence or without numbers are left out; of several
    people (``face_id``), the one with the most usable rows is kept.

    Args:
        file: the table of a whole recording.
        start, end: the part to read, in seconds of ``timestamp``; ``end`` is exclusive. Times count from ``start``.

    Raises:
        DataError: the file cannot be read, is not an OpenFace table, or a row does not fit its header.

    Source: Baltrušaitis et al., "OpenFace 2.0: Facial Behavior Analysis Toolkit" (2018), and its output format page.
    """
    rows = [row for row in _openface_rows(file) if start <= row["timestamp"] < end or math.isnan(row["timestamp"])]
    people = Counter(row["face_id"] for row in rows if _usable(row))
    main = min(people, key=lambda person: (-people[person], person), default=0.0)
    kept = [row for row in rows if _usable(row) and row["face_id"] == main]
    motion = np.array([[row[name] for name in OPENFACE_COLUMNS] for row in kept], np.float64)
    motion = motion.reshape(-1, len(OPENFACE_COLUMNS))
    motion[:, 17:20] = np.degrees(motion[:, 17:20])
    motion[:, 20:23] /= 10
    lost = sum(not _usable(row) for row in rows)
    others = len(rows) - lost - len(kept)
    notes = [
        f"{file.name}: {lost} of {len(rows)} rows left out: no face, or confidence below {OPENFACE_SURE}" * (lost > 0),
        f"{file.name}: {plural(others, 'row')} of {plural(len(people) - 1, 'other person', 'other people')} left out"
        * (others > 0),
    ]
    return OpenFaceMotion(
        motion=motion.astype(np.float32),
        seconds=np.array([row["timestamp"] - start for row in kept], np.float32),
        frames=len({row["timestamp"] for row in rows}),
        notes=tuple(note for note in notes if note),
    )


def _image_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The image files in a folder, ordered by the numbers in their names, and its other entries."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise MediaError(f"{folder}: cannot be read as a folder of face images ({error.strerror})") from error
    files = [entry for entry in entries if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".")]
    if not files:
        found = f"{plural(len(entries), 'other file')}, for example {entries[0].name}" if entries else "nothing"
        raise MediaError(f"{folder}: no face images in it, found {found}")
    files.sort(key=lambda file: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", file.stem)])
    return files, [entry for entry in entries if entry not in set(files)]


def _evenly(count: int, limit: int) -> list[int]:
    """At most ``limit`` of ``count`` positions, each the middle of its share.

    >>> _evenly(10, 3), _evenly(2, 3)
    ([1, 5, 8], [0, 1])
    """
    taken = min(count, limit)
    return [(2 * at + 1) * count // (2 * taken) for at in range(taken)]


def _count_note(files: Sequence[Path], what: str) -> str:
    return f"{files[0].parent.name}: {plural(len(files), 'file')} {what}, for example {files[0].name}" if files else ""


def _openface_rows(file: Path) -> Iterator[Mapping[str, float]]:
    """The required columns, as numbers, row by row."""
    try:
        lines = read_bytes_checked(file).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not a text file, expected an OpenFace 2 CSV") from error
    header = [name.strip() for name in lines[0].split(",")] if lines else []
    missing = [name for name in ("timestamp", "success", "confidence", *OPENFACE_COLUMNS) if name not in header]
    if missing:
        raise DataError(
            f"{file}:1: no column {missing[0]} ({len(missing)} missing), expected an OpenFace 2 CSV; "
            "run FeatureExtraction with -aus -pose"
        )
    wanted = {name: header.index(name) for name in ("timestamp", "success", "confidence", *OPENFACE_COLUMNS)}
    if "face_id" in header:
        wanted["face_id"] = header.index("face_id")
    for number, cells in enumerate(_split(lines[1:], file), start=2):
        if not cells:
            continue
        if len(cells) != len(header):
            raise DataError(f"{file}:{number}: {len(cells)} cells, but the header has {len(header)}")
        yield {"face_id": 0.0} | {name: _number(cells[at], file, number, name) for name, at in wanted.items()}


def _split(lines: Sequence[str], file: Path) -> Iterator[list[str]]:
    try:
        yield from csv.reader(lines)
    except csv.Error as error:
        raise DataError(f"{file}: not an OpenFace 2 CSV ({error})") from error


def _number(cell: str, file: Path, line: int, column: str) -> float:
    text = cell.strip().lower()
    if text.lstrip("-").startswith("nan"):  # a Windows OpenFace writes -nan(ind)
        return math.nan
    try:
        return float(text)
    except ValueError as error:
        raise DataError(f"{file}:{line}: {column} = {cell.strip()!r}, expected a number") from error


def _usable(row: Mapping[str, float]) -> bool:
    """Whether a face was found with confidence, and every number is plausible."""
    return (
        row["success"] == 1
        and row["confidence"] >= OPENFACE_SURE
        and all(abs(row[name]) < MAX_ABSOLUTE for name in row)
    )
