"""BRIGHTER, English, track B: short texts with the intensity of five emotions, 0 to 3."""

from pathlib import Path

from mien.data.corpora.corpus import Corpus, Options
from mien.data.labels import read_number
from mien.data.rows import read_table
from mien.errors import DataError
from mien.schema import Clip, Manifest

TARGETS = ("Anger", "Fear", "Joy", "Sadness", "Surprise")
HIGHEST = 3
FILES = {"train": ("eng_b_train.csv", "train/eng.csv"), "valid": ("eng_b_dev.csv", "dev/eng.csv"),
         "test": ("eng_b_test.csv", "test/eng.csv")}  # fmt: skip


def read_brighter(folder: Path, options: Options) -> Manifest:  # noqa: ARG001 - as every reader
    """The texts of the train, dev and test tables, as far as they are there.

    Raises:
        DataError: none of them is, or an intensity is not between 0 and 3.
    """
    found = [
        (split, folder / place) for split, places in FILES.items() for place in places if (folder / place).is_file()
    ]
    if not found:
        raise DataError(f"{folder}: neither eng_b_train.csv nor train/eng.csv in it; expected track B of BRIGHTER")
    clips = []
    for split, file in found:
        table = read_table(file)
        for name in ("id", "text", *map(str.lower, TARGETS)):
            if name not in table.columns:
                raise DataError(f"{file}:1: no column {name!r}; expected track B (id, text, anger, fear, joy, …)")
        for line, row in table.rows:
            labels = tuple(_intensity(file, line, name, row[name.lower()]) for name in TARGETS)
            clips.append(Clip(row["id"], transcript=row["text"], split=split, labels=labels))
    note = f"{folder}: intensities of 0 to {HIGHEST} divided by {HIGHEST}; authors are unknown"
    return Manifest(folder, TARGETS, tuple(clips), (note,), HIGHEST)


def _intensity(file: Path, line: int, column: str, cell: str) -> float:
    value = read_number(file, line, column, cell)
    if value is None:
        return float("nan")
    if not 0 <= value <= HIGHEST:
        raise DataError(f"{file}:{line}: {column} = {cell}, but intensities lie in [0, {HIGHEST}]")
    return value / HIGHEST


BRIGHTER = Corpus(
    name="brighter",
    title="BRIGHTER / SemEval-2025 task 11, track B, English",
    items="2,763 + 115 sentences (train, dev)",
    people="authors unknown; several raters per text",
    targets="Anger, Fear, Joy, Sadness, Surprise: perceived intensity of 0, 1, 2 or 3, divided by 3",
    is_not="speech, or what the authors felt: readers judged what a sentence says of its writer",
    licence="CC BY 4.0",
    citation="Muhammad et al. 2025, ACL, BRIGHTER, arXiv:2502.11926; SemEval-2025 task 11, arXiv:2503.07269",
    get="https://brighter-dataset.github.io (track B, English)",
    read=read_brighter,
)
