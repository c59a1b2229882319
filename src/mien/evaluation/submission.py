"""The submission file of the challenge: written in its format, and validated.

Header ``Filename`` and the targets in order, a row per clip of the split sorted by name, floats in [0, 1]. An invalid
submission never replaces a file. Cells are not escaped for spreadsheets: ids are checked against the data, and
everything else is a number.
"""

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.data.rows import LARGEST_TABLE
from mien.data.splits import clips_of
from mien.errors import DataError
from mien.evaluation.model_inputs import check_features, gather_inputs
from mien.features.store import Store
from mien.model.bundle import Bundle
from mien.schema import Manifest
from mien.storage.files import atomic_file, read_bytes_checked
from mien.wording import plural


def write_submission(
    bundle: Bundle, manifest: Manifest, store: Store, path: Path, split: str = "test", fill: str | None = None
) -> tuple[str, ...]:
    """Score a split and write the submission.

    Args:
        bundle: the model.
        manifest: the data.
        store: features of the split's clips.
        path: the CSV file to write.
        split: of the clips to score.
        fill: score of a clip without any modality: ``mean`` (of the scored clips), or a number in [0, 1].

    Returns:
        Notes on filled and clipped scores.

    Raises:
        DataError: the targets are not those of the data, there is no such split, clips cannot be scored and ``fill``
            is not given, ``fill`` is neither ``mean`` nor a number in [0, 1], or files were replaced since extraction.
        ModelError: the features were made in a different way than those of the training.
    """
    check_features(bundle, store)
    clips = sorted(clips_of(manifest, split), key=lambda clip: clip.id)
    ids = [clip.id for clip in clips]
    packed = gather_inputs(bundle, store, clips)
    scores = bundle.score(packed).astype(np.float64)
    scored = np.stack([packed[name].lengths for name in bundle.modalities]).max(0) > 0
    notes = _fill(scores, scored, ids, fill)
    outside = int(((scores < 0) | (scores > 1)).sum())
    if outside:
        notes.append(f"{outside} of {scores.size} scores outside [0, 1] were clipped")
    with atomic_file(path) as part:
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["Filename", *bundle.targets])
            for clip, row in zip(ids, np.clip(scores, 0, 1), strict=True):
                writer.writerow([clip, *(f"{value:z.6f}" for value in row)])
        _check(part, path, manifest, split)
    return tuple(notes)


def check_submission(path: Path, manifest: Manifest, split: str = "test") -> int:
    """Validate a submission; returns its number of rows.

    Raises:
        DataError: header, order, clips, or a value is wrong; the message gives the line.
    """
    return _check(path, path, manifest, split)


def _check(file: Path, path: Path, manifest: Manifest, split: str) -> int:
    """Validate ``file``; messages call it ``path``."""
    wanted = sorted(clip.id for clip in clips_of(manifest, split))
    try:
        rows = list(csv.reader(read_bytes_checked(file, LARGEST_TABLE).decode("utf-8").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from error
    header = ["Filename", *manifest.targets]
    if not rows or rows[0] != header:
        raise DataError(
            f"{path}:1: header is {','.join(rows[0]) if rows else 'missing'!r}, expected {','.join(header)}"
        )
    for line, (row, clip) in enumerate(zip(rows[1:], wanted, strict=False), 2):
        _check_row(f"{path}:{line}", row, clip, header)
    if len(rows) - 1 != len(wanted):
        raise DataError(
            f"{path}: {plural(len(rows) - 1, 'row')}, but the {split} split has {plural(len(wanted), 'clip')}"
        )
    return len(wanted)


def _check_row(where: str, row: list[str], clip: str, header: list[str]) -> None:
    if len(row) != len(header):
        raise DataError(f"{where}: {len(row)} values, expected {len(header)}")
    if row[0] != clip:
        raise DataError(f"{where}: clip {row[0]!r}, expected {clip!r}; rows must be sorted by name and complete")
    for name, text in zip(header[1:], row[1:], strict=True):
        if _score(text) is None:
            raise DataError(f"{where}: {name} = {text!r}, expected a number in [0, 1]")


def _fill(
    scores: npt.NDArray[np.float64], scored: npt.NDArray[np.bool_], ids: list[str], fill: str | None
) -> list[str]:
    """Fill the scores of clips without any modality; returns a note."""
    without = np.flatnonzero(~scored)
    if not len(without):
        return []
    first = f"no features of {len(without)} of {plural(len(ids), 'clip')}, first {ids[without[0]]}"
    if fill is None:
        raise DataError(f"{first}; extract them, or give them a score with --fill mean or --fill NUMBER")
    if fill == "mean":
        if not scored.any():
            raise DataError(f"{first}; there is no scored clip for a mean")
        scores[without] = scores[scored].mean(0)
        return [f"{first}; filled with the mean of the others"]
    value = _score(fill)
    if value is None:
        raise DataError(f"--fill {fill}: expected mean, or a number in [0, 1]")
    scores[without] = value
    return [f"{first}; filled with {value:g}"]


def _score(text: str) -> float | None:
    """A number in [0, 1], else ``None``."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None
