"""The known ceiling: the best possible prediction for every clip and subset of modalities, and its Pearson r.

    oracle.parquet   a row per clip and subset of modalities: clip, split, modalities, E[label | them] per emotion
    ceiling.json     Pearson r of those predictions: per split, subset and emotion, with a 95 % interval over
                     participants, and ``population``, r on infinitely many validation clips

A model that is evaluated on the same clips may exceed a ceiling by chance only: by no more than the sampling error of a
difference of two correlations. Compare on the same clips, with ``metrics.paired_test``.

Shapes: ``N`` clips, ``M`` modalities, ``E`` emotions.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mien.metrics import bootstrap_pearson, count_clusters, interval, over_emotions, pearson
from mien.schema import EMOTIONS
from mien.storage.files import atomic_file, read_json, write_json
from mien.subsets import subset_name
from mien.synthetic.expected import ExpectedShare, Half, expected_labels, label_moments
from mien.synthetic.features import DrawnClips, FeaturePlan
from mien.synthetic.labels import Labels
from mien.synthetic.published import Comparison
from mien.synthetic.quadrature import Array, points
from mien.synthetic.signals import CEILINGS, SignalModel, explained_sd

ORACLE, CEILING = "oracle.parquet", "ceiling.json"
RESAMPLES = 2000


def modality_subsets(modalities: tuple[str, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every non-empty subset of modalities: its name, joined by ``+``, and its columns; the smallest first.

    >>> [name for name, _ in modality_subsets(("text", "audio"))]
    ['text', 'audio', 'text+audio']
    """
    for count in range(1, len(modalities) + 1):
        for which in itertools.combinations(range(len(modalities)), count):
            yield subset_name(modalities[place] for place in which), which


def best_predictions(labels: Labels, drawn: DrawnClips, which: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """``(N, E)`` E[label | the modalities ``which``, where available]."""
    answers = np.empty(labels.shares.shape, np.float32)
    halves: dict[Half, npt.NDArray[np.bool_]] = {"train": labels.split == "train", "valid": labels.split != "train"}
    for half, rows in halves.items():
        if rows.any():
            answers[rows] = expected_labels(drawn.model, half, drawn.signals[rows], drawn.present[rows], which)
    return answers


def write_oracle(labels: Labels, plan: FeaturePlan, drawn: DrawnClips, folder: Path) -> None:
    """Write ``oracle.parquet`` and ``ceiling.json`` into the corpus in ``folder``."""
    answers = {name: best_predictions(labels, drawn, which) for name, which in modality_subsets(drawn.model.modalities)}
    _write_answers(labels, answers, folder / ORACLE)
    splits = {
        split: {name: _score(labels, answer, split) for name, answer in answers.items()}
        for split in ("train", "valid", "test")
        if (labels.split == split).any()
    }
    population = {
        name: dict(zip((*EMOTIONS, "mean"), [*map(float, row), float(row.mean())], strict=True))
        for name, row in population_ceilings(plan, drawn.model).items()
    }
    write_json(folder / CEILING, {"seed": plan.seed, "overlap": plan.overlap, "population": population, **splits})


def _write_answers(labels: Labels, answers: dict[str, npt.NDArray[np.float32]], path: Path) -> None:
    clips, count = pa.array(labels.ids), len(answers)
    columns: dict[str, Any] = {
        "clip": pa.concat_arrays([clips] * count),
        "split": pa.concat_arrays([pa.array(labels.split.tolist())] * count),
        "modalities": pa.array(np.repeat(list(answers), len(labels.ids))),
    }
    columns |= {name: np.concatenate([a[:, place] for a in answers.values()]) for place, name in enumerate(EMOTIONS)}
    with atomic_file(path) as part, part.open("wb") as file:
        pq.write_table(pa.table(columns), file, compression="zstd")


def _score(labels: Labels, answer: npt.NDArray[np.float32], split: str) -> dict[str, Any]:
    """Pearson r per emotion and their mean, each with its interval over participants."""
    rows = labels.rows(split)
    people = [str(person) for person in labels.participants[rows]]
    r = pearson(answer[rows], labels.shares[rows])
    drawn = bootstrap_pearson(answer[rows], labels.shares[rows], people, RESAMPLES)
    clusters = count_clusters(labels.shares[rows], people)
    columns = [(float(r[e]), drawn[:, e], int(clusters[e])) for e in range(len(EMOTIONS))]
    columns.append(over_emotions(r, drawn, clusters))
    found = {name: interval(*column) for name, column in zip((*EMOTIONS, "mean"), columns, strict=True)}
    return {name: {"r": one.value, "low": one.low, "high": one.high} for name, one in found.items()}


def population_ceilings(plan: FeaturePlan, model: SignalModel) -> dict[str, Array]:
    """``(E,)`` r of the best prediction on infinitely many validation clips, with missing modalities, by subset.

    The variance of the best prediction is the mean over the patterns of available modalities, weighted by frequency.
    """
    clips, nodes = points(16384, len(model.correlation)), points(256, len(model.correlation) - 1)
    _, label_sd = label_moments("valid")
    known: dict[tuple[int, ...], Array] = {(): np.zeros(len(EMOTIONS))}
    found = {}
    for name, which in modality_subsets(model.modalities):
        variance = np.zeros(len(EMOTIONS))
        for share, has in presence_patterns(plan, model.modalities):
            left = tuple(place for place in which if has[place])
            if left not in known:
                known[left] = explained_sd(ExpectedShare("valid"), model, left, clips, nodes)
            variance += share * known[left] ** 2
        found[name] = np.sqrt(variance) / label_sd
    return found


def check_ceilings(folder: Path) -> list[Comparison]:
    """The ceilings of a corpus, on infinitely many clips, compared with the paper's table of single modalities.

    Where the paper has no correlation at all a little remains (up to .05), through correlated emotions.

    Raises:
        DataError: there is no ``ceiling.json`` in ``folder``, or it cannot be read.
    """
    population = read_json(folder / CEILING)["population"]
    return [
        Comparison(
            f"{modality}: best r of {emotion}", max(r, 0.0), population[modality][emotion], 0.01 if r > 0 else 0.05
        )
        for modality, row in CEILINGS.items()
        for emotion, r in zip(EMOTIONS, row, strict=True)
    ]


def presence_patterns(plan: FeaturePlan, modalities: tuple[str, ...]) -> Iterator[tuple[float, tuple[bool, ...]]]:
    """Patterns of available modalities: share of clips, and one bool per modality."""
    for silent, wordless, faceless in itertools.product((False, True), repeat=3):
        rates = ((silent, plan.no_sound), (wordless, plan.no_text), (faceless, plan.no_face))
        share = float(np.prod([rate if so else 1 - rate for so, rate in rates]))
        absent = {"text": silent or wordless, "audio": silent}
        yield share, tuple(not absent.get(name, faceless) for name in modalities)
