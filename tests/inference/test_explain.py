"""What moved a score: exact, adding up to it, and the same as asking in every order."""

import itertools
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import torch

from mien.config import Settings, read_settings
from mien.features.jobs import ClipOutcome
from mien.features.spans import Windows
from mien.features.windows import window_spans
from mien.inference.explain import explain, shapley
from mien.inference.predict import Model
from mien.inference.prediction import predict_clip
from mien.inference.score import pack, score_features
from mien.inference.windows import score_windows, window_notes
from mien.model.bundle import Bundle
from mien.model.conformal import all_subsets
from mien.model.description import make_module
from mien.model.half_widths import HalfWidths
from mien.model.heads import HEADS
from mien.model.network import variants
from mien.schema import Attribution, Clip, ClipFeatures, Feature, Prediction, Transcript, Word
from mien.scores.document import ModelNote, document
from mien.scores.exports import tabular

WIDTHS = {"text": 6, "audio": 5, "vision": 4, "motion": 3}
TARGETS = ("Joy", "Awe", "Calm")
RATES = {"audio": 50, "vision": 4, "motion": 10}
LENGTH = 6.0
"""Seconds; 300 steps of sound, which a model reads as a hundred."""


def bundle(head: str = "concat", missing: str = "zero", kind: str = "multimodal") -> Bundle:
    """An untrained model whose interval is the wider, the fewer modalities a clip has."""
    widths = {"audio": WIDTHS["audio"]} if kind == "unimodal" else WIDTHS
    settings: Settings = read_settings(
        overrides=["seeds=[0, 1, 2]", "backbone.text=frozen", "stage1.embedding=8", "stage1.motion_embedding=4",
                   "stage2.hidden=8", f"stage2.head={head}", f"stage2.missing={missing}"]
    )  # fmt: skip
    models = variants(settings, settings.stage2)
    module = make_module(kind, widths, len(TARGETS), settings, models).requires_grad_(False)
    half = {"+".join(names): HalfWidths.constant(np.full(3, 0.5 / len(names))) for names in all_subsets(tuple(widths))}
    return Bundle(module, TARGETS, widths, settings, models, {}, False, half_widths=half)


def clip(*lacking: str, length: float = LENGTH) -> ClipFeatures:
    generator = np.random.default_rng(0)
    made = []
    for name, width in WIDTHS.items():
        seconds = np.zeros(1) if name == "text" else (np.arange(round(length * RATES[name])) + 0.5) / RATES[name]
        values = generator.standard_normal((len(seconds), width)).astype(np.float16)
        here = Feature(name, "k", "p", values, seconds.astype(np.float32))
        gone = Feature(name, "k", "p", status="absent", reason="not there")
        made.append(gone if name in lacking else here)
    return ClipFeatures("a", length, tuple(made))


def by_permutation(players: tuple[str, ...], answers: Mapping[frozenset[str], np.ndarray]) -> dict[str, np.ndarray]:
    """The slow way: everybody comes in every order, and each is credited with what changes when they come."""
    orders = list(itertools.permutations(players))
    credit = {name: np.zeros(len(TARGETS)) for name in players}
    for order in orders:
        for place, name in enumerate(order):
            before = frozenset(order[:place])
            credit[name] += (answers[before | {name}] - answers[before]) / len(orders)
    return credit


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_shapley_values_are_the_mean_over_all_orders(count: int) -> None:
    players = tuple(WIDTHS)[:count]
    generator = np.random.default_rng(count)
    answers = {frozenset(s): generator.standard_normal(len(TARGETS)) for s in [(), *all_subsets(players)]}
    fast, slow = shapley(players, answers), by_permutation(players, answers)
    for name in players:
        np.testing.assert_allclose(fast[name], slow[name], atol=1e-12)
    np.testing.assert_allclose(sum(fast.values()), answers[frozenset(players)] - answers[frozenset()], atol=1e-12)


def test_shapley_values_by_hand() -> None:
    """Two who say the same share it, and one who says nothing gets nothing."""
    answers = {frozenset(s): np.array([0.6 if {"text", "audio"} & set(s) else 0.0])
               for s in [(), *all_subsets(("text", "audio", "vision"))]}  # fmt: skip
    moved = shapley(("text", "audio", "vision"), answers)
    assert {name: value.item() for name, value in moved.items()} == pytest.approx(
        {"text": 0.3, "audio": 0.3, "vision": 0.0}
    )


def total(why: Attribution, target: str) -> float:
    return why.baseline[target] + sum(moved[target] for moved in why.shapley.values())


@pytest.mark.parametrize("missing", ["zero", "token"])
@pytest.mark.parametrize("head", HEADS)
def test_nothing_and_what_each_modality_adds_make_the_score(head: str, missing: str) -> None:
    model = bundle(head, missing)
    for made in (clip(), clip("text"), clip("audio", "motion"), clip("text", "audio", "vision")):
        why, scored = explain(model, made), score_features(model, [made])[0]
        assert tuple(why.shapley) == tuple(why.leave_one_out) == scored.present
        assert [total(why, name) for name in TARGETS] == pytest.approx([scored.scores[n] for n in TARGETS], abs=1e-5)


def test_left_out_is_the_score_minus_that_of_the_clip_without_it() -> None:
    model = bundle()
    why, whole = explain(model, clip("vision")), score_features(model, [clip("vision")])[0]
    without = score_features(model, [clip("vision", "audio")])[0]
    for name in TARGETS:
        assert why.leave_one_out["audio"][name] == pytest.approx(whole.scores[name] - without.scores[name], abs=1e-5)


def test_one_modality_alone_moved_everything() -> None:
    why = explain(bundle(), clip("text", "audio", "vision"))
    assert why.shapley["motion"] == pytest.approx(why.leave_one_out["motion"])


def test_attention_is_the_mean_softmax_at_the_times_of_the_steps() -> None:
    model, made = bundle(), clip("motion")
    attention = explain(model, made).attention
    assert tuple(attention) == ("audio", "vision")
    vision = made.features[2]
    assert vision.values is not None and vision.seconds is not None
    pool = model.module.attending["vision"].pool
    scores = torch.from_numpy(vision.values.astype(np.float32)) @ pool.query.T  # (T, K)
    assert attention["vision"].weights == pytest.approx(torch.softmax(scores, 0).mean(1).tolist(), abs=1e-6)
    assert attention["vision"].seconds == tuple(vision.seconds.tolist())
    # 300 steps of 20 ms are read as 100 of 60 ms, whose middles are .03, .09 …
    assert attention["audio"].seconds == pytest.approx(((np.arange(100) + 0.5) * 0.06).tolist(), abs=1e-5)
    assert len(attention["audio"].weights) == 100
    assert all(sum(part.weights) == pytest.approx(1, abs=1e-5) for part in attention.values())


@pytest.mark.parametrize("head", [name for name, head in HEADS.items() if head.reads_steps])
def test_heads_that_read_steps_have_no_attention_to_show(head: str) -> None:
    assert explain(bundle(head), clip()).attention == {}


def test_a_model_of_one_modality_can_be_asked_too() -> None:
    why = explain(bundle(kind="unimodal"), clip())
    assert tuple(why.shapley) == tuple(why.attention) == ("audio",)


def test_one_window_over_everything_is_the_clip() -> None:
    model, made = bundle(), clip()
    window, = score_windows(model, made, window_spans(Windows(10, 10), LENGTH))  # fmt: skip
    whole = score_features(model, [made])[0]
    assert (window.start, window.end, window.present) == (0, LENGTH, whole.present)
    assert window.scores == whole.scores
    assert window.intervals == whole.intervals


def test_a_window_is_scored_as_a_clip_of_its_own() -> None:
    """So many that they are not scored in one go."""
    model, made = bundle(), clip("vision")
    windows = score_windows(model, made, window_spans(Windows(1, 0.05), LENGTH))
    assert len(windows) == 101
    for number in (0, 63, 64, 100):
        start = windows[number].start
        features = []
        for feature in made.features:
            if feature.modality in ("audio", "motion") and feature.values is not None and feature.seconds is not None:
                inside = (feature.seconds >= np.float32(start)) & (feature.seconds < np.float32(start + 1))
                feature = Feature(feature.modality, "k", "p", feature.values[inside], feature.seconds[inside])
            features.append(feature)
        alone = score_features(model, [ClipFeatures("b", 1.0, tuple(features))])[0]
        assert windows[number].scores == pytest.approx(alone.scores, abs=1e-5)
        assert windows[number].present == ("text", "audio", "motion")


def test_a_clip_is_packed_once_for_its_scores_windows_and_attribution() -> None:
    model, made = Model(bundle()), clip()
    outcome = ClipOutcome(Clip("a", Path("a.mp4")), made, window_spans=tuple(window_spans(Windows(2, 1), LENGTH)))
    entered: list[str] = []

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is pack.__code__:
            entered.append(frame.f_code.co_name)

    sys.setprofile(count)
    try:
        prediction = predict_clip(model.bundle, outcome, why=True, raw=False)
    finally:
        sys.setprofile(None)
    assert entered == ["pack"]
    assert len(prediction.windows) == 5 and prediction.why is not None
    assert prediction.scores == score_features(model.bundle, [made])[0].scores


def test_a_window_without_anything_has_no_scores_and_one_with_less_a_wider_interval() -> None:
    made = clip("text", "motion")
    late = [
        Feature(f.modality, "k", "p", f.values, None if f.seconds is None else f.seconds + 2) for f in made.features
    ]
    vision = late[2]
    assert vision.values is not None and vision.seconds is not None
    late[2] = Feature("vision", "k", "p", vision.values[8:], vision.seconds[8:])  # from second 4 on
    windows = score_windows(bundle(), ClipFeatures("a", 8.0, tuple(late)), window_spans(Windows(2, 2), 8.0), raw=True)
    assert [window.present for window in windows] == [(), ("audio",), ("audio", "vision"), ("audio", "vision")]
    assert all(math.isnan(value) for value in windows[0].scores.values())
    assert all(math.isnan(end) for ends in windows[0].intervals.values() for end in ends)
    widths = [upper - lower for lower, upper in (window.intervals["Joy"] for window in windows[1:])]
    assert widths == pytest.approx([1.0, 0.5, 0.5], abs=1e-5)  # twice .5 / 1, twice .5 / 2


def predictions() -> list[Prediction]:
    model, made = bundle(), clip("vision")
    whole = score_features(model, [made])[0]
    good = Prediction(
        "a", whole.scores, whole.intervals, whole.present, {"vision": "not there"},
        windows=score_windows(model, made, window_spans(Windows(4, 1), LENGTH)), why=explain(model, made),
    )  # fmt: skip
    return [good, Prediction("b", dict.fromkeys(TARGETS, math.nan), error="b.mp4: no such file")]


NOTE = ModelNote(name="m", weights="tiny", modalities=list(WIDTHS), interval_level=0.9, random_weights=True)


def test_reasons_are_columns_when_they_are_known() -> None:
    good, bad = predictions()
    rows = tabular.wide(document([good, bad], TARGETS, NOTE)).to_pylist()
    assert good.why is not None
    assert rows[0]["Joy from audio"] == good.why.shapley["audio"]["Joy"]
    assert rows[0]["Joy from vision"] is None
    assert rows[1]["Joy from audio"] is None
    assert not any(" from " in name for name in tabular.wide(document([bad], TARGETS, NOTE)).column_names)


def test_windows_are_a_table_of_their_own() -> None:
    rows = tabular.windows(document(predictions(), TARGETS, NOTE)).to_pylist()
    assert [(row["clip"], row["start"], row["end"]) for row in rows] == [("a", 0, 4), ("a", 1, 5), ("a", 2, 6)]
    assert rows[1]["present"] == "text audio motion"
    assert rows[1]["Joy lower"] <= rows[1]["Joy"] < rows[1]["Joy upper"]
    assert tabular.windows(document([], TARGETS, NOTE)).num_rows == 0


def test_what_windows_cannot_show_is_said_once() -> None:
    good = predictions()[0]
    untimed, timed = Transcript("so", "given"), Transcript("so", "tiny", (Word("so", 0, 1, 1.0),))
    made = [
        Prediction(name, {}, present=("text",), transcript=said, windows=windows)
        for name, said, windows in (("a", timed, good.windows), ("b", untimed, good.windows), ("c", untimed, ()))
    ]
    assert [note.partition(":")[0] + ")" for note in window_notes([*made, predictions()[1]])] == [
        "1 clip (first)", "1 clip (first)"
    ]  # fmt: skip
    assert "b): the transcript has no word times" in window_notes(made)[0]
    assert "c): no windows" in window_notes(made)[1]
    assert window_notes(made[:1]) == []
