"""Labels like those of Hume-Vidmimic2: shares of raters, with the published statistics and a known cause.

Every clip shows one participant mimicking one seed video. Seven standard normal latents per clip are the sum of a
seed's, a participant's and the clip's own part. One of them decides whether the clip is about any of the six emotions;
the other six determine the strength of each. Raters then name one emotion each, out of a longer list, and the label is
the share of raters who named it:

    z       = sqrt(.5) seed + sqrt(.15) participant + sqrt(.35) clip   each N(0, 1)              (N, 7)
    w_e     = gain_e * sqrt(max(0, z_e - threshold_e))                 strength of emotion e     (N, 6)
    p_e     = [z_7 < quantile(about)] * w_e / (1 + sum_e w_e)          expected share            (N, 6)
    k       ~ Multinomial(R, p, something else),  R ~ Uniform{5..12}   share = k / R             (N, 6)

The trade-off: shares that sum to at most 1, with means that add up to .68 and correlations near zero, can only come
from clips that are either nearly all or nearly not about the six (the published figures force the sum to be U-shaped),
so the all-or-nothing switch is explicit rather than implied by extreme parameters. Gains, thresholds and C were fitted
to the published figures by least squares on 2^14 quasi-random points; the validation half has its own thresholds. C is
the correlation of z_1..z_6, and every half's latents are mapped to exact normal quantiles, keeping their order, so that
a small corpus has the right means too.

Shapes: ``N`` clips, ``E`` six emotions in the order of ``EMOTIONS``.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.errors import DataError
from mien.schema import EMOTIONS
from mien.storage.files import atomic_file, read_json, write_json

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CORPUS = "corpus.json"
"""The settings that a corpus was made with."""

TRAIN_CLIPS, VALID_CLIPS, TEST_CLIPS = 8072, 4588, 4586
"""Sizes of the real splits."""

CLIPS_PER_PARTICIPANT, CLIPS_PER_SEED = 25, 8
SEED_SHARE, PARTICIPANT_SHARE, CLIP_SHARE = 0.5, 0.15, 0.35
RATERS = (5, 12)
GAINS = (33.23, 26.73, 14.41, 9.96, 43.88, 44.78)
THRESHOLDS = {
    "train": (-0.657, -0.397, -0.441, 0.546, -0.340, -0.112),
    "valid": (-0.727, -0.654, -0.212, 0.696, -0.416, -0.126),
}
ABOUT = {"train": 0.4538, "valid": 0.2671}
"""Normal quantiles of the share of clips about any of the six: 67.5 % and 60.5 %."""

COUPLING = (
    (1.00, -0.16, -0.32, -0.08, 0.15, 0.14),
    (-0.16, 1.00, -0.40, -0.14, 0.11, 0.10),
    (-0.32, -0.40, 1.00, -0.51, -0.05, -0.50),
    (-0.08, -0.14, -0.51, 1.00, 0.03, 0.16),
    (0.15, 0.11, -0.05, 0.03, 1.00, 0.64),
    (0.14, 0.10, -0.50, 0.16, 0.64, 1.00),
)
"""Correlation matrix C of the six strengths. It undoes the negative correlation that shares of one whole have."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels and latent causes of the clips of a stand-in corpus.

    Attributes:
        ids: ``(N,)`` five-digit names: training clips first, then validation, then test.
        split: ``(N,)`` ``train``, ``valid`` or ``test``; no participant is in two of them.
        participants: ``(N,)`` participant numbers, from 0.
        seeds: ``(N,)`` numbers of the seed videos mimicked, from 0.
        latents: ``(N, 7)`` standard normal causes, the first six correlated; the last switches the six on or off.
        intensities: ``(N, E)`` expected shares in [0, 1], for infinitely many raters.
        raters: ``(N,)`` number of raters.
        shares: ``(N, E)`` labels: the share of raters who named the emotion; rows sum to at most 1.
    """

    ids: tuple[str, ...]
    split: npt.NDArray[np.str_]
    participants: Ints
    seeds: Ints
    latents: Floats
    intensities: Floats
    raters: Ints
    shares: Floats

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, split: str) -> Ints:
        """Positions of the clips of one split, in order."""
        return np.flatnonzero(self.split == split)


def draw_labels(clips: int, seed: int = 0, test_clips: int = 0) -> Labels:
    """Draw a corpus' labels: the same arguments give the same bytes.

    Args:
        clips: labelled clips, divided 8,072 : 4,588 into training and validation.
        seed: of the random numbers.
        test_clips: further clips from further participants, distributed like the validation half.

    Raises:
        ValueError: ``clips`` is under 2 or ``test_clips`` is negative.
    """
    if clips < 2 or test_clips < 0:
        raise ValueError(f"clips = {clips}, test_clips = {test_clips}: expected at least 2 and at least 0")
    rng = np.random.default_rng([seed, 0x1ABE15])
    train = min(clips - 1, max(1, round(clips * TRAIN_CLIPS / (TRAIN_CLIPS + VALID_CLIPS))))
    split = np.repeat(["train", "valid", "test"], [train, clips - train, test_clips])
    participants = _participants(split, rng)
    seeds = rng.permutation(np.arange(len(split)) % _number_of(len(split), CLIPS_PER_SEED))
    latents = (
        np.sqrt(SEED_SHARE) * _effects(seeds.max() + 1, rng)[seeds]
        + np.sqrt(PARTICIPANT_SHARE) * _effects(participants.max() + 1, rng)[participants]
        + np.sqrt(CLIP_SHARE) * _effects(len(split), rng)
    )
    intensities = np.empty((len(split), len(EMOTIONS)))
    for half in np.unique(split):
        rows = split == half
        latents[rows] = normal_scores(latents[rows])
        intensities[rows] = intensity(latents[rows], half)
    raters = rng.integers(RATERS[0], RATERS[1] + 1, len(split))
    return Labels(
        ids=tuple(f"{number:05d}" for number in range(len(split))),
        split=split,
        participants=participants,
        seeds=seeds,
        latents=latents,
        intensities=intensities,
        raters=raters,
        shares=rate(intensities, raters, rng),
    )


def intensity(latents: Floats, split: str) -> Floats:
    """Expected shares ``(N, E)`` given ``(N, 7)`` latents; every split but ``train`` is like ``valid``."""
    half = "train" if split == "train" else "valid"
    strength = np.array(GAINS) * np.sqrt(np.maximum(0.0, latents[:, :6] - THRESHOLDS[half]))
    shares = strength / (1 + strength.sum(1, keepdims=True))
    return np.where(latents[:, 6:] < ABOUT[half], shares, 0.0)


def rate(intensities: Floats, raters: Ints, rng: np.random.Generator) -> Floats:
    """Shares ``(N, E)`` when ``raters`` people each name one emotion of a list longer than the six."""
    something_else = np.maximum(0.0, 1 - intensities.sum(1, keepdims=True))
    votes = rng.multinomial(raters, np.concatenate([intensities, something_else], axis=1))
    return votes[:, :-1] / raters[:, None]


def _number_of(clips: int, each: int) -> int:
    return max(1, min(clips, round(clips / each)))


def _participants(split: npt.NDArray[np.str_], rng: np.random.Generator) -> Ints:
    """A participant for each clip: in one split only, with at least one clip, some with more clips than others."""
    chosen, first = np.empty(len(split), np.int64), 0
    for name in ("train", "valid", "test"):
        clips = np.flatnonzero(split == name)
        if not clips.size:
            continue
        people = max(_number_of(clips.size, CLIPS_PER_PARTICIPANT), round(clips.size**0.5))
        busy = rng.lognormal(0.0, 0.5, people)
        rest = rng.choice(people, clips.size - people, p=busy / busy.sum())
        chosen[clips] = first + rng.permutation(np.concatenate([np.arange(people), rest]))
        first += people
    return chosen


def _effects(count: int, rng: np.random.Generator) -> Floats:
    """``(count, 7)`` standard normal effects, of which the first six correlate by ``COUPLING``."""
    effects = rng.standard_normal((count, 7))
    effects[:, :6] = effects[:, :6] @ np.linalg.cholesky(np.array(COUPLING)).T
    return effects


def normal_scores(values: Floats) -> Floats:
    """Every column's values replaced by the normal quantiles of their ranks: same order, exactly normal.

    >>> normal_scores(np.array([[3.0], [-80.0], [5.0]])).round(2).ravel().tolist()
    [0.0, -0.97, 0.97]
    """
    normal = NormalDist()
    quantiles = np.array([normal.inv_cdf((rank + 0.5) / len(values)) for rank in range(len(values))])
    return quantiles[values.argsort(0, kind="stable").argsort(0, kind="stable")]


def claim_folder(folder: Path, made_of: Mapping[str, Any]) -> None:
    """Write the settings of the corpus in ``folder`` to ``corpus.json``.

    Raises:
        DataError: the folder already holds a corpus with other settings.
    """
    made_of = json.loads(json.dumps(made_of))  # as it is read back
    if (folder / CORPUS).exists() and (found := read_json(folder / CORPUS)) != made_of:
        odd = [
            f"{k}: {found.get(k)!r}, not {made_of.get(k)!r}" for k in found | made_of if found.get(k) != made_of.get(k)
        ]
        raise DataError(f"{folder}: holds another corpus ({'; '.join(odd)}); choose another folder or remove it")
    write_json(folder / CORPUS, made_of)


def write_challenge(labels: Labels, folder: Path) -> None:
    """Write the label files of the challenge's layout, and the participants and test labels.

    ``train_split.csv`` and ``valid_split.csv`` are the challenge's own; ``participants.csv`` has each clip's
    participant and seed video; ``test_answers.csv`` (with test clips only) holds the labels that the challenge does not
    publish.
    """
    files = {"train": "train_split.csv", "valid": "valid_split.csv", "test": "test_answers.csv"}
    for split, name in files.items():
        rows = labels.rows(split)
        if rows.size or split != "test":
            scores = [[labels.ids[row], *(f"{share:.6g}" for share in labels.shares[row])] for row in rows]
            write_table(folder / name, ("Filename", *EMOTIONS), scores)
    people = [
        [name, f"p{participant:04d}", f"s{seed:04d}"]
        for name, participant, seed in zip(labels.ids, labels.participants, labels.seeds, strict=True)
    ]
    write_table(folder / "participants.csv", ("Filename", "Participant", "Seed"), people)


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a CSV file."""
    with atomic_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
