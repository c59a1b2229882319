"""Scores are expected ratings: maps that are fitted, applied and stored by set of modalities, and never invert."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from mien.errors import ModelError
from mien.features.spans import Windows
from mien.features.windows import window_spans
from mien.inference.explain import explain
from mien.inference.partial import _model_key
from mien.inference.score import score_features
from mien.inference.windows import score_windows
from mien.metrics import pearson
from mien.model.bundle import Bundle
from mien.model.calibration import FEWEST_CLIPS, PRIOR_CLIPS, fit, left_out_errors, shrunken_line
from mien.model.conformal import calibrate
from mien.model.embeddings import subset_scores
from mien.model.model_folder import load_bundle, save_bundle
from mien.storage.checksums import write_sums
from mien.subsets import all_subsets, subset_name
from tests.inference.test_explain import TARGETS, WIDTHS, bundle, clip, total

NAMES = tuple(WIDTHS)


def mapped() -> Bundle:
    """A model whose slopes and offsets differ by set of modalities and by emotion."""
    model = bundle()
    model.calibration = {
        subset_name(names): np.array([[0.2 * len(names)] * 3, [0.1, 0.2, 0.3]], np.float32)
        for names in all_subsets(NAMES)
    }
    return model


def drawn(clips: int, seed: int, r: float = 0.45) -> tuple[np.ndarray, np.ndarray]:
    """Scores that spread 1.25 times their ratings, as a correlation loss leaves them, and the ratings ``(N, 3)``."""
    rng = np.random.default_rng(seed)
    score = rng.normal(size=(clips, 3))
    rating = 0.2 + 0.15 * (r * score + np.sqrt(1 - r**2) * rng.normal(size=(clips, 3)))
    return (0.1 + 1.25 * 0.15 * score).astype(np.float32), rating.astype(np.float32)


def test_maps_are_least_squares_with_r_shrunken_to_the_mean_over_the_emotions() -> None:
    x, y = drawn(300, 0)
    y[::3, 1] = np.nan
    r = [np.corrcoef(x[~np.isnan(y[:, e]), e], y[~np.isnan(y[:, e]), e])[0, 1] for e in range(3)]
    maps, own = shrunken_line(x, y)
    assert own.all()
    for e in range(3):
        known = ~np.isnan(y[:, e])
        slope, _ = np.polyfit(x[known, e], y[known, e], 1)
        weight = known.sum() / (known.sum() + PRIOR_CLIPS)  # 300 clips: 3/4 its own r, 200: 2/3
        assert maps[0, e] == pytest.approx(slope * (weight * r[e] + (1 - weight) * np.mean(r)) / r[e], rel=1e-4)
        residual = y[known, e] - (maps[0, e] * x[known, e] + maps[1, e])
        assert abs(residual.mean()) < 1e-6  # no bias
    single, _ = shrunken_line(x[:, :1], y[:, :1])  # one emotion: plain least squares
    np.testing.assert_allclose(single[:, 0], np.polyfit(x[:, 0], y[:, 0], 1), rtol=1e-4)


def test_no_map_inverts_or_flattens_and_the_others_are_counted() -> None:
    """Joy is scored backwards; motion alone scores everything backwards; in the first data 19 clips have both."""
    x, y = drawn(200, 1, r=0.6)
    x[:, 0] = 0.6 - y[:, 0]
    present = np.ones((200, 2), bool)
    present[FEWEST_CLIPS - 1 :, 0] = False
    scores = {("text",): x, ("motion",): 1 - y, ("text", "motion"): x}
    few = fit(scores, y, present, ("text", "motion"))
    assert len(few.kept) == few.count == 9  # too few with text, and motion has no positive r
    assert all(maps.tolist() == [[1, 1, 1], [0, 0, 0]] for maps in few.maps.values())
    whole = fit(scores, y, np.ones((200, 2), bool), ("text", "motion"))
    assert whole.kept == (("text", 0), *(("motion", e) for e in range(3)), ("text+motion", 0))
    both = whole.maps["text+motion"]
    r = pearson(x, y)
    assert r[0] < -0.99 and (r[1:] > 0.5).all()
    assert both[0, 0] == pytest.approx(r.mean() * y[:, 0].std() / x[:, 0].std(), rel=1e-4) and (both[0] > 0).all()
    assert both[0, 1] > 3 * both[0, 0]  # those that are scored well are drawn to the mean of .04 by a third only
    assert whole.maps["motion"].tolist() == both.tolist()  # that of all modalities
    assert whole.notes(TARGETS) == [
        "5 of 9 maps of scores to ratings could not be fitted to the emotion itself (r not above 0, or fewer than 20 "
        "rated clips); such a map uses the mean r of all emotions, is the map for all modalities, or leaves the score "
        "as it is (first: text, Joy)"
    ]
    assert whole.record(TARGETS)["slopes"] == {
        n: pytest.approx(float(s), abs=1e-5) for n, s in zip(TARGETS, both[0], strict=True)
    }


def test_without_a_mean_r_above_0_no_map_is_of_an_emotions_own_r() -> None:
    """Two emotions are scored backwards and one well: the third keeps its score, and is counted like the others."""
    x, y = drawn(200, 1, r=0.6)
    x[:, :2] = 0.6 - y[:, :2]
    made = fit({("text",): x}, y, np.ones((200, 1), bool), ("text",))
    assert made.maps["text"].tolist() == [[1, 1, 1], [0, 0, 0]]
    assert made.kept == (("text", 0), ("text", 1), ("text", 2))


def test_every_score_has_the_map_of_the_modalities_it_is_from_and_r_stays() -> None:
    model, plain = mapped(), bundle()
    clips = [clip(), clip("text"), clip("audio", "motion"), clip("text", "audio", "vision")]
    raw, scores = ([list(s.scores.values()) for s in score_features(m, clips, raw=True)] for m in (plain, model))
    for n, slope in enumerate((0.8, 0.6, 0.4, 0.2)):  # of four, three, two and one modality
        np.testing.assert_allclose(scores[n], slope * np.array(raw[n]) + [0.1, 0.2, 0.3], atol=1e-6)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 500, 3)).astype(np.float32)
    full = model.calibrated(x[None], np.ones((500, 4), bool))[0]
    np.testing.assert_allclose(pearson(full, y), pearson(x, y), atol=1e-6)  # complete clips: the same r
    nothing = model.calibrated(x[None], np.zeros((500, 4), bool))[0]
    np.testing.assert_allclose(nothing, full, atol=1e-6)  # a constant has the map of all modalities


def test_contributions_and_windows_go_through_the_same_maps() -> None:
    model, made = mapped(), clip("vision")
    for raw in (False, True):
        why, (whole,) = explain(model, made, raw=raw), score_features(model, [made], raw)
        assert [total(why, name) for name in TARGETS] == pytest.approx([whole.scores[n] for n in TARGETS], abs=1e-5)
    spans = window_spans(Windows(2, 1), made.seconds)
    plain = [list(w.scores.values()) for w in score_windows(bundle(), made, spans, raw=True)]
    found = [list(w.scores.values()) for w in score_windows(model, made, spans, raw=True)]
    np.testing.assert_allclose(found, 0.6 * np.array(plain) + [0.1, 0.2, 0.3], atol=1e-6)


def test_maps_are_stored_with_the_model_and_an_older_folder_scores_as_it_did(tmp_path: Path) -> None:
    model, made = mapped(), [clip(), clip("audio")]
    save_bundle(model, tmp_path / "new")
    read = load_bundle(tmp_path / "new", "cpu")
    assert {n: v.tolist() for n, v in read.calibration.items()} == {n: v.tolist() for n, v in model.calibration.items()}
    assert score_features(read, made) == score_features(model, made)
    file = tmp_path / "new" / "model.safetensors"
    save_file({n: v for n, v in load_file(file).items() if not n.startswith("calibration.")}, file)
    _seal(tmp_path / "new")
    old = load_bundle(tmp_path / "new", "cpu")
    assert old.calibration == {} and score_features(old, made) == score_features(bundle(), made)
    assert _model_key(old) != _model_key(read)  # stored scores of the one are not taken for those of the other


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("calibration.text", [[0.5, -0.5, 0.0], [0, 0, 0]], "2 slopes are not positive"),
        ("calibration.text", [[0.5, np.nan, 0.5], [0, 0, 0]], "1 of 6 numbers are not finite"),
        ("calibration.text", [[0.5, 0.5], [0, 0]], "found F32"),
        ("calibration.text+audio+vision+motion", None, "found none"),
    ],
)
def test_spoilt_maps_are_refused_by_name(tmp_path: Path, name: str, values: list | None, said: str) -> None:
    save_bundle(mapped(), tmp_path / "m")
    file = tmp_path / "m" / "model.safetensors"
    tensors = {n: v for n, v in load_file(file).items() if n != name}
    save_file(tensors if values is None else {**tensors, name: np.array(values, np.float32)}, file)
    _seal(tmp_path / "m")
    with pytest.raises(ModelError, match=name.replace("+", r"\+") + ".*" + said):
        load_bundle(tmp_path / "m", "cpu")


def _seal(folder: Path) -> None:
    write_sums(folder, *(f.name for f in folder.iterdir() if f.name != "SHA256SUMS"))


def test_left_out_errors_are_those_of_a_line_fitted_without_the_clip() -> None:
    x, y = (values.astype(float) for values in drawn(40, 3))
    y[5, 0] = np.nan
    known = ~np.isnan(y)
    lines = np.array([np.polyfit(x[known[:, e], e], y[known[:, e], e], 1) for e in range(3)]).T
    found = left_out_errors(lines[0] * x + lines[1], y)
    assert np.isnan(found[5, 0]) and np.isnan(found).sum() == 1
    for n, e in ((0, 0), (17, 1), (39, 2)):
        others = known[:, e] & (np.arange(40) != n)
        slope, offset = np.polyfit(x[others, e], y[others, e], 1)
        assert found[n, e] == pytest.approx(abs(slope * x[n, e] + offset - y[n, e]), rel=1e-6)


@pytest.mark.parametrize("clips", [24, 58])
def test_intervals_hold_what_they_state_though_few_clips_fitted_the_maps_too(clips: int) -> None:
    """At least .9 and at most .9 + 1 / (n + 1) on new clips; without leaving out, 24 clips hold less."""
    held = []
    for seed in range(400):
        x, y = drawn(clips + 200, seed)
        maps, _ = shrunken_line(x[:clips], y[:clips])
        maps = np.where(np.isnan(maps), [[1.0], [0.0]], maps)
        mapped_scores = maps[0] * x + maps[1]
        errors = np.sort(left_out_errors(mapped_scores[:clips], y[:clips]), 0)
        half = errors[int(np.ceil((clips + 1) * 0.9)) - 1]
        held.append((np.abs(mapped_scores - y)[clips:] <= half).mean())
    assert 0.89 < np.mean(held) < 0.9 + 1 / (clips + 1) + 0.01


def test_a_trained_model_scores_less_spread_and_with_smaller_errors_on_new_clips() -> None:
    """The same network, with and without its maps, on clips that fitted nothing."""
    errors = []
    for seed in range(20):
        x, y = drawn(1058, seed, r=0.6)
        (slope, offset), _ = shrunken_line(x[:58], y[:58])
        better, raw = slope * x[58:] + offset, x[58:]
        assert (better.std(0) < y.std(0)).all() and (raw.std(0) > y.std(0)).all()
        np.testing.assert_allclose(pearson(better, y[58:]), pearson(raw, y[58:]), atol=1e-6)
        errors.append([np.sqrt(((s - y[58:]) ** 2).mean()) for s in (raw, better)])
    before, after = np.mean(errors, 0)
    assert after < 0.9 * before


def test_the_intervals_of_a_model_with_maps_are_around_its_calibrated_scores() -> None:
    """With slopes near 0, the errors are the distances of the ratings from the offset."""
    model = bundle()
    rng = np.random.default_rng(0)
    packed = {name: _packed(rng.normal(size=(60, width)).astype(np.float16)) for name, width in WIDTHS.items()}
    labels = rng.random((60, 3)).astype(np.float32)
    clips = model.clips(packed, labels)
    before = calibrate(model, clips)["text+audio+vision+motion"].widths[0]
    model.calibration = {
        subset_name(names): np.array([[0.01] * 3, [0.5] * 3], np.float32) for names in all_subsets(NAMES)
    }
    after = calibrate(model, clips)["text+audio+vision+motion"].widths[0]
    raw = subset_scores(model.module, clips, [NAMES])[NAMES].mean(0)
    expected = np.sort(left_out_errors(0.01 * raw + 0.5, labels), 0)[54]  # the 55th of 60
    np.testing.assert_allclose(after, expected, rtol=1e-3)
    assert not np.allclose(before, after)
    assert torch.is_tensor(clips.labels)


def _packed(values: np.ndarray):
    from mien.features.store import Packed

    return Packed(values, np.arange(len(values) + 1))
