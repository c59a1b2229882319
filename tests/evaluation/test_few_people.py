"""Few people: evaluation, comparison and model card have no interval and no p, say why, and count clips and people."""

from pathlib import Path

import numpy as np
import pytest

from mien.cli.results import print_comparison
from mien.evaluation.evaluate import evaluate_targets
from mien.evaluation.subgroups import by_group, interval_notes
from mien.evaluation.validation import results_record
from mien.metrics import paired_test
from mien.schema import Clip

TARGETS = ("Joy", "Empathic Pain")


def clips_of(people: list[str | None], group: str | None = None) -> list[Clip]:
    return [Clip(f"c{n}", Path("x.mp4"), participant=who, group=group) for n, who in enumerate(people)]


def drawn(people: int, each: int = 4) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(people)
    labels = rng.random((people * each, 2)).astype(np.float32)
    scores = (labels + rng.normal(size=labels.shape)).astype(np.float32)
    return scores, labels, [f"p{n // each}" for n in range(people * each)]


@pytest.mark.parametrize(("people", "given"), [(5, False), (6, True)])
def test_intervals_begin_with_six_people(people: int, given: bool) -> None:
    scores, labels, who = drawn(people)
    targets, mean = evaluate_targets(TARGETS, scores, labels, who, 300)
    clips = clips_of([*who], "g")
    record = results_record(scores[None], labels, clips, TARGETS, {"fused": np.zeros((1, 2))})
    (group,) = by_group(scores, labels, clips, 300)
    lows = [*(t.r.low for t in targets), mean.low, group.r.low, group.error.low]
    assert np.isfinite(lows).all() == given and np.isfinite(lows).any() == given
    assert all((row["r"][1] is not None) == given == (row["error"][1] is not None) for row in record["scores"])
    assert [(t.rated, t.people) for t in targets] == [(4 * people, people)] * 2
    assert [(row["rated"], row["participants"]) for row in record["scores"]] == [(4 * people, people)] * 3
    assert bool(record["notes"]) == (not given)


def test_an_emotion_that_five_people_are_rated_for_takes_the_interval_from_itself_and_the_mean() -> None:
    scores, labels, who = drawn(10)
    labels[20:, 1] = np.nan
    targets, mean = evaluate_targets(TARGETS, scores, labels, who, 300)
    assert [t.people for t in targets] == [10, 5]
    assert np.isfinite(targets[0].r.low) and np.isnan(targets[1].r.low) and np.isnan(mean.low)
    (note,) = interval_notes(who, labels)
    assert note.startswith("no interval and no p for 1 of 2 emotions and for their mean: they need 6 participants")
    assert note.endswith("with a rating, and 5 are there")


def test_partly_named_participants_are_said() -> None:
    people = ["Ada", None, *[None] * 8]
    assert interval_notes(people, np.zeros((10, 1))) == [
        "participants are known of 1 of 10 clips only: intervals resample clips and may be too narrow"
    ]
    assert interval_notes([None] * 10, np.zeros((10, 1))) == [
        "participants are unknown: intervals resample clips and may be too narrow"
    ]


def test_a_comparison_prints_clips_and_people_and_why_there_is_no_p(capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.array([[0.1], [0.5], [0.9]])
    scores, many, who = drawn(8)
    print_comparison({
        "few": paired_test(-labels, labels, labels, ["a", "a", "b"], 200),
        "many": paired_test(many, scores, many, who, 200),
    })  # fmt: skip
    printed = capsys.readouterr().out
    few, enough = (line.split() for line in printed.splitlines()[1:3])
    assert few == ["few", "+2.0000", "–", "–", "3", "2"]
    assert enough[-2:] == ["32", "8"]
    assert "no interval and no p for few: they need rated clips of 6 participants" in " ".join(printed.split())
