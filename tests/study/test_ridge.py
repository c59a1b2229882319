"""The ridge baseline leaves out unrated clips, emotion by emotion, and nothing else."""

import numpy as np

from mien.study.ridge import ridge_scores


def data(clips: int = 80) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], np.ndarray]:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(clips + 40, 6)).astype(np.float32)
    labels = (features @ rng.normal(size=(6, 3)) + 0.1 * rng.normal(size=(clips + 40, 3))).astype(np.float32)
    return {"text": (features[:clips], features[clips:])}, labels[:clips]


def test_emotions_without_gaps_are_scored_as_if_there_were_none_elsewhere() -> None:
    parts, labels = data()
    whole = ridge_scores(parts, labels)
    gaps = labels.copy()
    gaps[::2, 1] = np.nan
    found = ridge_scores(parts, gaps)
    np.testing.assert_allclose(found[:, [0, 2]], whole[:, [0, 2]], atol=1e-4)
    assert np.corrcoef(found[:, 1], whole[:, 1])[0, 1] > 0.99  # 40 clips of a nearly exact linear rule


def test_an_emotion_with_one_rating_has_no_scores_and_the_others_do() -> None:
    parts, labels = data()
    labels[1:, 0] = np.nan
    found = ridge_scores(parts, labels)
    assert np.isnan(found[:, 0]).all() and np.isfinite(found[:, 1:]).all()


def test_a_single_emotion_is_scored_like_one_of_several() -> None:
    parts, labels = data()
    alone = ridge_scores(parts, labels[:, :1])
    assert alone.shape == (40, 1)
    np.testing.assert_allclose(alone, ridge_scores(parts, labels)[:, :1], atol=1e-5)
