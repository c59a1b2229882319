"""Intervals and p-values keep what they promise, by simulation with known truth: 5, 8, 20 and 200 people.

Coverage of 95 % intervals and type I error at .05 must be within ``MARGIN`` of nominal, or neither is given; the bounds
add two standard errors of the simulation. ``make soak`` draws many corpora. The table in docs/log.md is printed by

    python -m tests.test_calibration 2000 2000      # corpora, resamples
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from mien.metrics import bootstrap_pearson, count_clusters, interval, over_emotions, paired_test, pearson
from mien.scores.people import ScoredClips
from mien.scores.summary import summarize

MARGIN, NOMINAL = 0.02, 0.05
PEOPLE = (5, 8, 20, 200)

Found = Iterator[tuple[bool, bool] | None]
"""By corpus: whether the interval misses the truth, whether p < .05; ``None`` where neither is given."""


@dataclass(frozen=True)
class Corpus:
    """Rated clips of drawn people: levels and errors of a person are shared by all of his clips.

    Attributes:
        people: how many.
        emotions: ``E``.
        zeros: share of ratings that are exactly 0, as most of Empathic Pain is; the others are skewed.
        alike: share of the variance that is between people.
    """

    people: int
    emotions: int = 6
    zeros: float = 0.0
    alike: float = 0.3

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Two predictions with the same true r, labels ``(N, E)``, and the person of each clip ``(N,)``."""
        who = np.repeat(np.arange(self.people), rng.integers(4, 17, self.people))

        def normal() -> np.ndarray:
            between, within = (rng.normal(size=(n, self.emotions)) for n in (self.people, len(who)))
            return np.sqrt(self.alike) * between[who] + np.sqrt(1 - self.alike) * within

        shown, shared = normal(), normal()
        labels = np.exp(0.5 * shown)
        labels = np.where(labels > np.quantile(labels, self.zeros), labels, 0) if self.zeros else shown
        first, second = (0.5 * shown + 0.5 * shared + 0.7 * normal() for _ in range(2))
        return first, second, labels, who


def correlations(corpus: Corpus, corpora: int, resamples: int) -> Found:
    """The interval of the mean r against the r of very many people; p of the difference of two equal models."""
    rng = np.random.default_rng(7)
    very_many = Corpus(20_000, corpus.emotions, corpus.zeros, corpus.alike)
    truth = np.mean([pearson(*very_many.draw(rng)[:3:2]).mean() for _ in range(5)])
    for seed in range(corpora):
        first, second, labels, who = corpus.draw(np.random.default_rng([corpus.people, seed]))
        clusters = [f"p{person}" for person in who]
        r = pearson(first, labels)
        drawn = bootstrap_pearson(first, labels, clusters, resamples, seed)
        found = interval(*over_emotions(r, drawn, count_clusters(labels, clusters)))
        test = paired_test(first, second, labels, clusters, resamples, seed)
        assert np.isnan(found.low) == np.isnan(test.p)
        yield None if np.isnan(test.p) else (not found.low <= truth <= found.high, test.p < NOMINAL)


def conditions(corpora: int, resamples: int, scores: Callable[[np.random.Generator], list]) -> Found:
    """The interval of a difference that is 0, and its p."""
    for seed in range(corpora):
        rows = scores(np.random.default_rng(seed))
        made = ScoredClips(
            ("Joy",), tuple(f"c{n}" for n in range(len(rows))), np.array([[score] for _, _, score in rows]),
            tuple(who for who, _, _ in rows), tuple(where for _, where, _ in rows), (None,) * len(rows),
        )  # fmt: skip
        (contrast,) = summarize(made, resamples=resamples, seed=seed).contrasts
        assert np.isnan(contrast.p) == np.isnan(contrast.difference.low)
        yield None if np.isnan(contrast.p) else (
            not contrast.difference.low <= 0 <= contrast.difference.high, contrast.p < NOMINAL
        )  # fmt: skip


def within(people: int, skewed: bool = False) -> Callable[[np.random.Generator], list]:
    """Each person in both conditions, with a different spread in each; differences are symmetric unless skewed."""

    def scores(rng: np.random.Generator) -> list:
        level, noise = rng.normal(size=people), rng.normal(size=(people, 2)) * [0.5, 1.0]
        if skewed:
            noise[:, 1] = rng.exponential(size=people) - 1
        return [(f"p{p}", "ab"[k], level[p] + noise[p, k]) for p in range(people) for k in range(2)]

    return scores


def between(first: int, second: int, ratio: float) -> Callable[[np.random.Generator], list]:
    """Different people in the two conditions; the spread of the second is ``ratio`` times that of the first."""

    def scores(rng: np.random.Generator) -> list:
        one, other = rng.normal(size=first), ratio * rng.normal(size=second)
        return [(f"p{n}", "a", x) for n, x in enumerate(one)] + [(f"q{n}", "b", x) for n, x in enumerate(other)]

    return scores


def mixed(both: int, first: int, second: int) -> Callable[[np.random.Generator], list]:
    """Some people in both conditions, others in one only."""

    def scores(rng: np.random.Generator) -> list:
        level = rng.normal(size=both + first + second)
        here = [(p, k) for p in range(both) for k in range(2)]
        here += [(both + p, int(p >= first)) for p in range(first + second)]
        return [(f"p{p}", "ab"[k], level[p] + (0.5 + k) * rng.normal()) for p, k in here]

    return scores


def rates(found: Found) -> tuple[float, float] | None:
    """Share of intervals that miss, and of p below .05; ``None`` if neither is given."""
    rows = list(found)
    if all(row is None for row in rows):
        return None
    miss, reject = np.array([row for row in rows if row is not None], float).mean(0)
    return float(miss), float(reject)


def designs(people: int) -> dict[str, Callable[[np.random.Generator], list]]:
    """``people`` are those of the smaller condition."""
    return {
        "within": within(people),
        "within, skewed": within(people, skewed=True),
        "between, spread 1:3": between(people, people, 3.0),
        "between, 1:3 in number, 3:1 in spread": between(people, 3 * people, 1 / 3),
        "between, 1:3 in number, 1:3 in spread": between(people, 3 * people, 3.0),
        "mixed, two in both": mixed(2, people - 2, people - 2),
        "mixed, half in both": mixed(people // 2, people - people // 2, people - people // 2),
    }


CORPORA = {
    "mean r of 6 emotions": Corpus(0),
    "mean r of 6 emotions, people differ little": Corpus(0, alike=0.1),
    "r of 1 emotion": Corpus(0, emotions=1),
    "r of 1 emotion, half of the ratings 0": Corpus(0, emotions=1, zeros=0.5),
}


def near_nominal(rate: float, corpora: int) -> bool:
    """Within ``MARGIN`` of nominal, but for two standard errors of so many corpora."""
    return abs(rate - NOMINAL) <= MARGIN + 2 * np.sqrt(NOMINAL * (1 - NOMINAL) / corpora)


@pytest.mark.parametrize(("people", "corpora"), [(8, 600), (20, 400), (200, 150)])
def test_r_and_differences_of_r_hold_what_they_promise(people: int, corpora: int) -> None:
    found = rates(correlations(replace(CORPORA["mean r of 6 emotions"], people=people), corpora, 1000))
    assert found is not None
    assert [near_nominal(rate, corpora) for rate in found] == [True, True], found


def test_five_people_get_neither_interval_nor_p() -> None:
    for corpus in CORPORA.values():
        assert rates(correlations(replace(corpus, people=5), 3, 200)) is None
    for scores in designs(5).values():
        assert rates(conditions(3, 200, scores)) is None


@pytest.mark.parametrize("people", [8, 20])
@pytest.mark.parametrize("design", list(designs(8)))
def test_conditions_that_do_not_differ_are_rarely_told_apart(design: str, people: int) -> None:
    corpora = 250
    found = rates(conditions(corpora, 1000, designs(people)[design]))
    assert found is not None
    assert [near_nominal(rate, corpora) for rate in found] == [True, True], found


def table(corpora: int, resamples: int) -> Iterator[tuple[str, int, int, tuple[float, float] | None]]:
    """What is simulated, people, corpora, and the rates of missing intervals and of p < .05."""
    for people in PEOPLE:
        count = corpora if people < 200 else corpora // 4
        for name, corpus in CORPORA.items():
            yield name, people, count, rates(correlations(replace(corpus, people=people), count, resamples))
        for name, scores in designs(people).items():
            yield name, people, count, rates(conditions(count, resamples, scores))


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_every_interval_and_p_is_within_the_margin_of_nominal() -> None:
    off = [
        row for row in table(2000, 2000)
        if row[3] is not None and not all(near_nominal(rate, row[2]) for rate in row[3])
    ]  # fmt: skip
    assert off == []


if __name__ == "__main__":
    print("| simulated | people | corpora | coverage | type I error |\n|---|---|---|---|---|")
    for name, people, count, found in table(int(sys.argv[1]), int(sys.argv[2])):
        cells = ("not given", "not given") if found is None else (f"{1 - found[0]:.3f}", f"{found[1]:.3f}")
        print(f"| {name} | {people} | {count} | {cells[0]} | {cells[1]} |", flush=True)
