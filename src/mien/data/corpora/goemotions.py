"""GoEmotions: 58,000 comments with 27 emotions and neutral, each 0 or 1."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from mien.data.corpora.corpus import Corpus, Options, find_file, one_hot
from mien.errors import DataError
from mien.schema import Clip, Manifest
from mien.storage.files import read_bytes_checked

SPLITS = {"train": "train", "dev": "valid", "test": "test"}
LARGEST = 50_000_000
"""Bytes of a table."""

LABELS = (
    "Admiration", "Amusement", "Anger", "Annoyance", "Approval", "Caring", "Confusion", "Curiosity", "Desire",
    "Disappointment", "Disapproval", "Disgust", "Embarrassment", "Excitement", "Fear", "Gratitude", "Grief", "Joy",
    "Love", "Nervousness", "Optimism", "Pride", "Realization", "Relief", "Remorse", "Sadness", "Surprise", "Neutral",
)  # fmt: skip
"""In the order of the corpus' ``emotions.txt``."""


def read_goemotions(folder: Path, options: Options) -> Manifest:  # noqa: ARG001 - as every reader
    """The comments of ``train.tsv``, ``dev.tsv`` and ``test.tsv``, as far as they are there.

    Raises:
        DataError: none of them is, or a line has other columns or labels.
    """
    files = [
        path for name in SPLITS for path in (folder / "data" / f"{name}.tsv", folder / f"{name}.tsv") if path.is_file()
    ]
    if not files:
        find_file(folder, "train.tsv", "data/train.tsv")
    clips = tuple(clip for file in files for clip in _read(file))
    read = " and ".join(file.name for file in files)
    note = f"{folder}: {read} read; authors are unknown, so one person may be in both train and valid"
    return Manifest(folder, LABELS, clips, (note,))


def _read(file: Path) -> Iterator[Clip]:
    """A file of text, label numbers and id, separated by tabs, without a header and without quoting."""
    text = read_bytes_checked(file, LARGEST).decode("utf-8", errors="replace")
    lines = csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    for line, cells in enumerate(lines, 1):
        if len(cells) != 3:
            raise DataError(f"{file}:{line}: {len(cells)} columns, expected a text, numbers of labels, and an id")
        try:
            found = [LABELS[int(number)] for number in cells[1].split(",")]
        except (ValueError, IndexError) as error:
            raise DataError(
                f"{file}:{line}: labels {cells[1]!r}; expected numbers from 0 to {len(LABELS) - 1}"
            ) from error
        yield Clip(cells[2], transcript=cells[0], split=SPLITS[file.stem], labels=one_hot(LABELS, found))


GOEMOTIONS = Corpus(
    name="goemotions",
    title="GoEmotions",
    items="43,410 + 5,426 + 5,427 Reddit comments in English (train, dev, test)",
    people="authors unknown; 3 to 5 of 82 raters in India per comment",
    targets="27 emotions and Neutral: 1 if at least two raters chose it, else 0",
    is_not="speech, or intensity, or what the authors felt: readers judged written comments of 2005 to 2019",
    licence="Apache-2.0",
    citation="Demszky et al. 2020, ACL, doi:10.18653/v1/2020.acl-main.372",
    get="https://github.com/google-research/google-research/tree/master/goemotions (data/train.tsv, dev.tsv, test.tsv)",
    read=read_goemotions,
)
