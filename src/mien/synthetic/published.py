"""Published figures of the real data compared with those of a stand-in corpus.

A figure of a small corpus misses the published one by sampling error alone, so every check has a number of clips that
it needs; with fewer it is not made.
"""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.schema import EMOTIONS

Floats = npt.NDArray[np.float64]

TRAIN_MEANS = (0.178, 0.125, 0.097, 0.021, 0.142, 0.116)
TRAIN_NONZERO = (0.447, 0.364, 0.325, 0.101, 0.382, 0.325)
VALID_MEANS = (0.159, 0.130, 0.067, 0.013, 0.129, 0.099)
CORRELATIONS = {("Excitement", "Joy"): 0.23, ("Determination", "Joy"): -0.14}
"""Published label correlations; every other pair is near zero."""

MEAN_NEEDS, NONZERO_NEEDS, CORRELATION_NEEDS = 5_000, 8_000, 12_000
"""Labelled clips from which about one check in a hundred fails by chance (40 seeds of ``draw_labels``)."""


@dataclass(frozen=True)
class Check:
    """One figure of a corpus compared with a reference.

    Attributes:
        name: the figure.
        published: the published or required value.
        found: the value in the corpus.
        clips: clips of the corpus that it is computed from.
        needs: clips from which the sampling error is smaller than the tolerance; with fewer the check is not made.
    """

    name: str
    published: float
    found: float
    clips: int = field(default=0, kw_only=True)
    needs: int = field(default=0, kw_only=True)

    @property
    def possible(self) -> bool:
        """Whether there are enough clips for the check."""
        return self.clips >= self.needs


@dataclass(frozen=True)
class Comparison(Check):
    """A figure that should be near a published one; ``within`` is the largest difference allowed."""

    within: float

    @property
    def holds(self) -> bool:
        """Whether the difference is within the tolerance."""
        return abs(self.found - self.published) <= self.within

    @property
    def allowed(self) -> str:
        """The tolerance, in words."""
        return f"± {self.within:g}"


@dataclass(frozen=True)
class Bound(Check):
    """A figure with a lower or an upper bound, ``published``."""

    at_least: bool = True

    @property
    def holds(self) -> bool:
        """Whether the figure is within its bound."""
        return self.found >= self.published if self.at_least else self.found <= self.published

    @property
    def allowed(self) -> str:
        """The bound in words."""
        return "at least" if self.at_least else "at most"


def compare_published(train: Floats, valid: Floats) -> list[Comparison]:
    """Compare a corpus's labels with the published figures.

    Args:
        train: ``(N, E)`` shares of the training half.
        valid: ``(V, E)`` shares of the validation half.

    Returns:
        Per emotion the two means (±.01) and the share of non-zero training labels (±.02), then the 15 correlations
        over both halves (±.05).
    """
    clips = len(train) + len(valid)
    rows = []
    for which, name in enumerate(EMOTIONS):
        figures = (
            ("training mean", TRAIN_MEANS, train[:, which].mean(), 0.01, MEAN_NEEDS),
            ("validation mean", VALID_MEANS, valid[:, which].mean(), 0.01, MEAN_NEEDS),
            ("training non-zero", TRAIN_NONZERO, (train[:, which] > 0).mean(), 0.02, NONZERO_NEEDS),
        )
        rows += [
            Comparison(f"{name}: {figure}", published[which], float(found), within, clips=clips, needs=needs)
            for figure, published, found, within, needs in figures
        ]
    with np.errstate(invalid="ignore"):  # a label without variance has no correlation, and is nan
        correlations = np.asarray(np.corrcoef(np.concatenate([train, valid]), rowvar=False))
    for one, first in enumerate(EMOTIONS):
        for two, second in enumerate(EMOTIONS[:one]):
            published = CORRELATIONS.get((second, first), CORRELATIONS.get((first, second), 0.0))
            name, found = f"{second} with {first}: correlation", float(correlations[one, two])
            rows.append(Comparison(name, published, found, 0.05, clips=clips, needs=CORRELATION_NEEDS))
    return rows


def check_labels(folder: Path) -> list[Comparison]:
    """``compare_published`` of the label files in a folder of the challenge's layout."""
    return compare_published(*(_read_shares(folder / f"{split}_split.csv") for split in ("train", "valid")))


def _read_shares(path: Path) -> Floats:
    with path.open(newline="", encoding="utf-8") as file:
        return np.array([[float(row[emotion]) for emotion in EMOTIONS] for row in csv.DictReader(file)])
