"""Scores, windows and contributions lie on the scale of the ratings, unless the model's own numbers are asked for."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mien.features.spans import Windows
from mien.features.windows import window_spans
from mien.inference.explain import explain
from mien.inference.provenance import clipping_notes, media_notes
from mien.inference.score import score_features
from mien.inference.windows import score_windows
from mien.model.bundle import Bundle
from mien.schema import Prediction
from tests.inference.test_explain import TARGETS, bundle, clip, total

CLIPS = [clip(), clip("text"), clip("audio", "motion"), clip("text", "audio", "vision")]


def beyond() -> Bundle:
    """A model that scores far below 0 and above 1."""
    model = bundle()
    generator = torch.Generator().manual_seed(3)
    for weights in model.module.parameters():
        weights.mul_(2).add_(torch.randn(weights.shape, generator=generator), alpha=0.5)
    return model


def values(model: Bundle, raw: bool) -> np.ndarray:
    return np.array([[one.scores[name] for name in TARGETS] for one in score_features(model, CLIPS, raw)])


def test_scores_outside_the_scale_get_its_nearest_end_and_are_named() -> None:
    model = beyond()
    raw, clipped = values(model, True), values(model, False)
    assert raw.min() < 0 and raw.max() > 1  # or this would test nothing
    np.testing.assert_array_equal(clipped, np.clip(raw, 0, 1))
    for one, row in zip(score_features(model, CLIPS), raw, strict=True):
        assert one.clipped == tuple(name for name, value in zip(TARGETS, row, strict=True) if not 0 <= value <= 1)
    assert all(one.clipped == () for one in score_features(model, CLIPS, raw=True))


def test_an_interval_is_around_the_clipped_score_and_within_the_scale() -> None:
    """Half-width .125 with all four modalities: a score of 1.6 becomes 1 with [.875, 1], and not an empty interval."""
    model = beyond()
    for one in score_features(model, CLIPS):
        half = 0.5 / len(one.present)
        for name, (low, high) in one.intervals.items():
            assert low == pytest.approx(max(0, one.scores[name] - half), abs=1e-6)
            assert high == pytest.approx(min(1, one.scores[name] + half), abs=1e-6)
    raw = score_features(model, CLIPS, raw=True)[0]
    assert any(low < 0 or high > 1 for low, high in raw.intervals.values())


def test_clipping_loses_no_coverage() -> None:
    """A rating lies in [0, 1]: whenever the raw interval holds it, so does the clipped one."""
    generator = np.random.default_rng(0)
    ratings, raw, half = generator.uniform(0, 1, 20_000), generator.normal(0.5, 1, 20_000), 0.4
    held = (ratings >= raw - half) & (ratings <= raw + half)
    clipped = np.clip(raw, 0, 1)
    assert ((ratings >= clipped - half) & (ratings <= clipped + half))[held].all()


def test_contributions_add_up_to_the_scores_that_are_shown() -> None:
    model = beyond()
    for made in CLIPS:
        for raw in (False, True):
            why, (scored,) = explain(model, made, raw=raw), score_features(model, [made], raw)
            for name in TARGETS:
                assert total(why, name) == pytest.approx(scored.scores[name], abs=1e-4)
                assert raw or 0 <= why.baseline[name] <= 1


def test_windows_lie_within_the_scale_too() -> None:
    model, made = beyond(), clip()
    spans = window_spans(Windows(2, 1), made.seconds)
    windows, raw = score_windows(model, made, spans), score_windows(model, made, spans, raw=True)
    outside = [[name for name, value in w.scores.items() if not 0 <= value <= 1] for w in raw]
    assert any(outside)
    assert [list(w.clipped) for w in windows] == outside
    for w in windows:
        ends = [end for pair in w.intervals.values() for end in pair]
        assert all(0 <= value <= 1 for value in (*w.scores.values(), *ends))


def test_a_model_of_another_scale_keeps_its_own() -> None:
    """The scale is the model's; one that does not say has the scale of all manifests."""
    model = bundle()
    assert model.scale == (0.0, 1.0)
    model.provenance = {"scale": [0.0, 0.25]}
    assert values(model, False).max() <= 0.25


def test_clipped_scores_are_counted_once_a_run_with_the_first() -> None:
    one = Prediction("a", dict.fromkeys(TARGETS, 0.5))
    two = replace(one, clip="b", clipped=("Awe", "Calm"))
    failed = Prediction("c", dict.fromkeys(TARGETS, math.nan), error="c: not a video")
    assert clipping_notes([one, failed], (0.0, 1.0)) == []
    assert clipping_notes([one, two, failed], (0.0, 1.0)) == [
        "2 of 6 scores were outside the rating scale [0, 1] and were clipped to it (first: b, Awe); "
        "--raw keeps the model's own numbers"
    ]


def test_notes_on_files_are_counted_by_kind_with_the_first() -> None:
    made = [
        Prediction("a", {}, notes=("2 audio tracks: the first is used",)),
        Prediction("b", {}, notes=("2 audio tracks: the first is used", "damaged at 3.2 s")),
        Prediction("c", {}),
    ]
    assert media_notes(made) == ["2 clips: 2 audio tracks: the first is used (first: a)", "b: damaged at 3.2 s"]
    many = [Prediction(str(n), {}, notes=(chr(97 + n),)) for n in range(12)]
    assert media_notes(many)[-1] == "and 2 more kinds of notes; the column notes has them all"
    assert len(media_notes(many)) == 11
