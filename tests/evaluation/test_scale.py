"""What is evaluated is what users get: scores and intervals on the scale of the ratings."""

import math
from dataclasses import replace

import numpy as np
import pytest

from mien.cli.results import print_evaluation
from mien.config import read_settings
from mien.evaluation.comparison import compare
from mien.evaluation.evaluate import coverage_by_level, evaluate
from mien.metrics import pearson
from mien.model.bundle import Bundle
from mien.model.description import make_module
from mien.model.half_widths import HalfWidths
from mien.model.network import variants
from mien.subsets import all_subsets, subset_name
from tests.training.planted import WIDTHS, planted


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory):
    """Planted clips, and a model that scores far below 0 and above 1; its intervals are the score ± .2."""
    manifest, store = planted(tmp_path_factory.mktemp("scale"), train=8, valid=40)
    settings = read_settings(
        overrides=[
            "seeds=[0, 1]",
            "backbone.text=frozen",
            "stage1.embedding=8",
            "stage1.motion_embedding=4",
            "stage2.hidden=8",
        ]
    )
    specs = variants(settings, settings.stage2)
    module = make_module("multimodal", WIDTHS, len(manifest.targets), settings, specs).requires_grad_(False)
    for weights in module.parameters():
        weights.mul_(2.5)
    half = np.full(len(manifest.targets), 0.2, np.float32)
    half_widths = {subset_name(names): HalfWidths.constant(half) for names in all_subsets(tuple(WIDTHS))}
    about = {"intervals": {"level": 0.9}}
    return (
        Bundle(module, manifest.targets, WIDTHS, settings, specs, {}, False, provenance=about, half_widths=half_widths),
        manifest,
        store,
    )


def test_r_and_the_table_are_of_clipped_scores_and_the_note_says_so(far) -> None:
    bundle, manifest, store = far
    clips = [clip for clip in manifest.clips if clip.split == "valid"]
    raw = bundle.score({name: store.gather(name, [clip.id for clip in clips]) for name in bundle.modalities})
    labels = np.array([clip.labels for clip in clips], np.float32)
    assert raw.min() < 0 and raw.max() > 1  # or this would test nothing
    found = evaluate(bundle, manifest, store, "valid", resamples=100)
    assert [target.r.value for target in found.targets] == pytest.approx(pearson(np.clip(raw, 0, 1), labels).tolist())
    assert [target.mae for target in found.targets] == pytest.approx(
        np.abs(np.clip(raw, 0, 1) - labels).mean(0).tolist(), abs=1e-6
    )
    table = np.stack([found.table[f"predicted {name}"] for name in bundle.targets], 1)
    np.testing.assert_allclose(table, np.clip(raw, 0, 1), atol=1e-6)
    outside = int(((raw < 0) | (raw > 1)).sum())
    assert any(note.startswith(f"{outside} of {raw.size} scores were outside the rating scale") for note in found.notes)


def test_subsets_and_single_models_are_clipped_too(far) -> None:
    bundle, manifest, store = far
    found = evaluate(bundle, manifest, store, "valid", resamples=100)
    assert found.subsets[subset_name(bundle.modalities)] == pytest.approx(found.mean_r.value, abs=1e-6)
    assert found.missing["audio"][0] == pytest.approx(found.mean_r.value, abs=1e-6)


def test_intervals_are_those_of_users(far) -> None:
    """The score ± .2 within [0, 1]: at most .4 wide, and narrower wherever the score is near an end."""
    bundle, manifest, store = far
    coverage = evaluate(bundle, manifest, store, "valid", resamples=100).coverage
    assert coverage is not None
    assert all(0.199 < width < 0.401 for width in coverage.width)
    assert min(coverage.width) < 0.399


def test_an_emotion_without_a_rating_has_neither_coverage_nor_width_and_is_in_no_mean(
    far, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, manifest, store = far
    clips = tuple(
        clip if clip.split != "valid" else replace(clip, labels=(math.nan, *clip.labels[1:])) for clip in manifest.clips
    )
    found = evaluate(bundle, replace(manifest, clips=clips), store, "valid", resamples=100)
    assert found.coverage is not None
    assert math.isnan(found.coverage.found[0]) and math.isnan(found.coverage.width[0])
    assert all(0.199 < width < 0.401 for width in found.coverage.width[1:])
    print_evaluation(found)
    assert f"width {np.mean(found.coverage.width[1:]):.3f}" in capsys.readouterr().out


def test_models_are_compared_as_users_get_them(far) -> None:
    """A model and its scores moved far beyond 1 are the same to users wherever both are clipped."""
    bundle, manifest, store = far
    evaluated = evaluate(bundle, manifest, store, "valid", resamples=100)
    tests = compare(bundle, bundle, manifest, (store, store), "valid", resamples=100)
    assert tests["mean"].difference.value == 0
    one = Bundle(**{**vars(bundle), "provenance": {**bundle.provenance, "scale": [-1e6, 1e6]}})  # not clipped at all
    unclipped = evaluate(one, manifest, store, "valid", resamples=100).mean_r.value
    difference = compare(one, bundle, manifest, (store, store), "valid", resamples=100)["mean"].difference.value
    assert difference == pytest.approx(evaluated.mean_r.value - unclipped, abs=1e-6) and difference != 0


def test_coverage_is_told_by_level_of_score_and_of_rating() -> None:
    scores = np.array([[0.05], [0.15], [0.5], [1.0]], np.float32)
    ratings = np.array([[0.1], [0.9], [0.45], [np.nan]], np.float32)
    ends = np.array([scores - 0.1, scores + 0.1])
    ends[:, 3] = np.nan
    found = coverage_by_level(scores, ratings, ends, (0.0, 1.0))
    by = {(one.of, round(one.low, 1)): (one.rated, one.found) for one in found if one.rated}
    assert by == {
        ("score", 0.0): (2, 0.5), ("score", 0.4): (1, 1.0),
        ("rating", 0.0): (1, 1.0), ("rating", 0.4): (1, 1.0), ("rating", 0.8): (1, 0.0),
    }  # fmt: skip
    assert len(found) == 10
