"""The rated texts that ``words-en`` learns from: three public corpora as one table, divided into parts.

    fit        trains
    calibrate  chooses the epoch, maps scores to ratings, sets the widths of intervals
    report     is looked at once, for the figures of the card

The dev texts of GoEmotions and BRIGHTER are ``report``; Empathic Reactions has no split, so an eighth of its articles
is. A tenth of the other texts, by article where there are articles, is ``calibrate``.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mien.data.corpora import read_corpus
from mien.errors import DataError
from mien.schema import Clip
from mien.storage.files import sha256_of

Part = Literal["fit", "calibrate", "report"]


@dataclass(frozen=True)
class Source:
    """A corpus, and how it is read.

    Attributes:
        corpus: its name for ``mien data``.
        folder: within the data folder.
        files: SHA-256 by name.
        copies: how often a training text is read in an epoch; those of small corpora more often.
    """

    corpus: str
    folder: str
    files: dict[str, str]
    copies: int


SOURCES = (
    Source(
        "goemotions",
        "goemotions",
        {
            "train.tsv": "1c254a142be5c00e80d819b9ae1bbd36d94b2eeb8f4b1271846508d57e57d9c5",
            "dev.tsv": "575489c079c9de1097062a01738f998590d6b7ead66dd1c9fd1d2ba01fd8bc62",
        },
        copies=1,
    ),
    Source(
        "brighter",
        "brighter",
        {
            "eng_b_train.csv": "7e7b967bfd96304e74498db28278c4ed343a58fb6f40cd03c6b2df1bedc8bc54",
            "eng_b_dev.csv": "a10d4a7e94c9d1f91ab07f87084c6322a224192e87970438c3af65eb96552c35",
        },
        copies=3,
    ),
    Source(
        "empathic-reactions",
        "empathic_reactions",
        {"messages.csv": "380d2670254565629f81616df57cc0729de96ac87c056d05e39c370624ae8f64"},
        copies=2,
    ),
)


SCORES = {
    "Admiration": ("goemotions Admiration",),
    "Amusement": ("goemotions Amusement",),
    "Excitement": ("goemotions Excitement",),
    "Joy": ("goemotions Joy",),
    "Joy (graded)": ("brighter Joy",),
    "Empathic Pain": ("empathic-reactions Empathy", "empathic-reactions Distress"),
}
"""What each score is the mean of. Determination has no public ratings, so it is not among them.

Joy is two questions with two answers: whether readers of a comment would say joy (GoEmotions, 0 or 1), and how much joy
a sentence says of its writer (BRIGHTER, 0 to 3). One column for both lost .08 on the one or .03 on the other.
"""


@dataclass(frozen=True)
class Texts:
    """Rated texts.

    Attributes:
        targets: ``goemotions Joy``, ``brighter Joy`` …
        clips: with transcripts, without files.
        sources: number of the corpus of each, ``(N,)``.
        parts: of each.
        labels: ``(N, E)``, 0 to 1, ``nan`` where a corpus does not rate a target.
    """

    targets: tuple[str, ...]
    clips: tuple[Clip, ...]
    sources: npt.NDArray[np.int64]
    parts: tuple[Part, ...]
    labels: npt.NDArray[np.float32]

    def places(self, part: Part, corpus: str | None = None) -> npt.NDArray[np.int64]:
        """Places of the texts of a part, of all corpora or of one."""
        names = [source.corpus for source in SOURCES]
        wanted = np.ones(len(self.clips), bool) if corpus is None else self.sources == names.index(corpus)
        return np.flatnonzero(wanted & (np.array(self.parts) == part))


def read_texts(data: Path, check: bool = True) -> Texts:
    """Read the corpora of a folder.

    Args:
        data: with a folder per corpus.
        check: refuse files whose bytes are not those that the shipped model was trained on.

    Raises:
        DataError: a file is missing, has other bytes, or cannot be read.
    """
    manifests = []
    for source in SOURCES:
        folder = data / source.folder
        for name, sha256 in source.files.items() if check else ():
            if not (folder / name).is_file():
                raise DataError(f"{folder / name}: not there; run `mien data {source.corpus}` to see where to get it")
            if sha256_of(folder / name) != sha256:
                raise DataError(f"{folder / name}: not the bytes that words-en was trained on (--any-bytes trains)")
        manifests.append(read_corpus(source.corpus, folder))
    targets = tuple(f"{s.corpus} {t}" for s, m in zip(SOURCES, manifests, strict=True) for t in m.targets)
    widths = [len(manifest.targets) for manifest in manifests]
    clips, sources, parts, labels = [], [], [], []
    for number, (source, manifest) in enumerate(zip(SOURCES, manifests, strict=True)):
        before, after = sum(widths[:number]), sum(widths[number + 1 :])
        for clip, part in _divided(source, manifest.clips):
            clips.append(clip)
            sources.append(number)
            parts.append(part)
            labels.append((*[np.nan] * before, *(clip.labels or [np.nan] * widths[number]), *[np.nan] * after))
    return Texts(targets, tuple(clips), np.array(sources), tuple(parts), np.array(labels, np.float32))


def _divided(source: Source, clips: tuple[Clip, ...]) -> Iterator[tuple[Clip, Part]]:
    """The clips with their parts; texts of the report do not train."""
    has_dev = any(clip.split == "valid" for clip in clips)
    kept = {_plain(clip) for clip in clips if clip.split == "valid"}
    for clip in clips:
        if clip.split == "test":
            continue
        place = _draw(source.corpus, clip.participant or clip.transcript or "")
        if clip.split == "valid" or (not has_dev and place < 1 / 8):
            yield clip, "report"
        elif _plain(clip) not in kept:
            yield clip, "calibrate" if place > 0.9 else "fit"


def _plain(clip: Clip) -> str:
    return " ".join((clip.transcript or "").casefold().split())


def _draw(*names: str) -> float:
    """A number in [0, 1) that depends on names alone."""
    return int.from_bytes(hashlib.sha256("\0".join(names).encode()).digest()[:6], "big") / 2**48
