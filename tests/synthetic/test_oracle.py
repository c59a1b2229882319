"""The ceiling is one: nothing beats it, and what should reach it does."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge

from mien.metrics import paired_test, pearson
from mien.schema import EMOTIONS
from mien.synthetic.expected import ExpectedShare, best_guesses, expected_labels, label_moments, latent_correlation
from mien.synthetic.features import FeaturePlan, draw_clips
from mien.synthetic.labels import draw_labels, intensity, rate
from mien.synthetic.oracle import best_predictions, check_ceilings, modality_subsets, population_ceilings, write_oracle
from mien.synthetic.signals import CEILINGS

PLAN = FeaturePlan()
ALL = (0, 1, 2, 3)
MANY, LEARNT = 36_000, 24_000


@pytest.fixture(scope="module")
def corpus():
    labels = draw_labels(3000)
    return labels, draw_clips(labels, PLAN)


@pytest.fixture(scope="module")
def many(corpus):
    """Independent clips like the validation half, drawn with nothing but the functions that make labels."""
    rng = np.random.default_rng(5)
    latents = rng.multivariate_normal(np.zeros(7), latent_correlation(), MANY)
    shares = rate(intensity(latents, "valid"), rng.integers(5, 13, MANY), rng)
    return shares, corpus[1].model.draw(latents, rng)


@pytest.fixture(scope="module")
def answers(corpus, many):
    """E[label | signals] of the clips that are not learnt from: all modalities, and text alone."""
    signals = many[1][LEARNT:]
    present = np.ones(signals.shape[:2], bool)
    return {which: expected_labels(corpus[1].model, "valid", signals, present, which) for which in (ALL, (0,))}


@pytest.mark.parametrize("half", ["train", "valid"])
def test_with_nothing_left_open_the_link_is_the_intensity_of_the_labels(half):
    latents = np.random.default_rng(0).multivariate_normal(np.zeros(7), latent_correlation(), 1000)
    np.testing.assert_allclose(ExpectedShare(half)(latents.T, 0.0).T, intensity(latents, half), atol=1e-12)


def test_the_moments_of_the_labels_are_those_of_labels_drawn(many):
    mean, deviation = label_moments("valid")
    np.testing.assert_allclose(many[0].mean(0), mean, atol=4 * deviation.max() / MANY**0.5)
    kurtosis = (((many[0] - mean) / deviation) ** 4).mean(0)  # 100 for Empathic Pain, which is rare
    assert (np.abs(many[0].std(0) / deviation - 1) < 4 * np.sqrt(kurtosis / 4 / MANY)).all()


def test_every_single_modality_reaches_the_papers_table_and_no_more(corpus, many):
    model, (shares, signals) = corpus[1].model, many
    present = np.ones(signals.shape[:2], bool)
    for place, (name, row) in enumerate(CEILINGS.items()):
        r = pearson(expected_labels(model, "valid", signals, present, (place,)), shares)
        wanted = np.clip(row, 0, None) / PLAN.presence(name) ** 0.5  # here no clip misses anything
        error = np.where(np.array(row) > 0, 0.021, 0.05)  # 4 standard errors of r over 36,000 clips
        assert (np.abs(r - wanted) < error).all(), (name, r, wanted)


@pytest.mark.parametrize("which", [ALL, (0,)])
def test_no_regression_on_the_signals_beats_the_oracle(which, many, answers):
    shares, signals = many
    x = signals[:, list(which)].reshape(MANY, -1)
    emotions = (0,) if which == ALL else (3, 5)  # Admiration; Empathic Pain and Joy
    for regression in (Ridge(10.0), HistGradientBoostingRegressor(max_iter=60, max_depth=3, random_state=0)):
        learnt = np.stack(
            [regression.fit(x[:LEARNT], shares[:LEARNT, e]).predict(x[LEARNT:]) for e in emotions], axis=1
        )
        against = paired_test(answers[which][:, emotions], learnt, shares[LEARNT:, emotions], resamples=500)
        assert against.difference.low < 0, f"{regression} is better than the best by {against.difference}"


def test_a_regression_on_the_guesses_themselves_attains_the_ceiling_of_one_modality(corpus, many, answers):
    # what a modality shows is its own best guess, so that a straight line reads the best answer off it
    shares, signals = many
    guesses = best_guesses(corpus[1].model, signals)[:, 0]
    learnt = Ridge(1.0).fit(guesses[:LEARNT], shares[:LEARNT]).predict(guesses[LEARNT:])
    reached = pearson(learnt, shares[LEARNT:]) / pearson(answers[0,], shares[LEARNT:])
    np.testing.assert_allclose(reached, 1, atol=0.015)


def test_a_regression_on_all_guesses_comes_close_to_the_fused_ceiling(corpus, many, answers):
    shares, signals = many
    guesses = best_guesses(corpus[1].model, signals).reshape(MANY, -1)
    learnt = Ridge(1.0).fit(guesses[:LEARNT], shares[:LEARNT]).predict(guesses[LEARNT:])
    reached = pearson(learnt, shares[LEARNT:]).mean() / pearson(answers[ALL], shares[LEARNT:]).mean()
    assert 0.95 < reached < 1


def test_the_answers_are_honest_where_they_are_high_and_where_they_are_low(many, answers):
    # among clips with an answer near a, labels average a: E[label | answer] = answer
    shares = many[0][LEARNT:]
    for emotion in range(6):
        for bin_ in np.array_split(np.argsort(answers[ALL][:, emotion]), 5):
            error = shares[bin_, emotion].std() / len(bin_) ** 0.5
            assert abs(shares[bin_, emotion].mean() - answers[ALL][bin_, emotion].mean()) < 4 * error + 5e-4


def test_a_missing_modality_is_answered_for_by_the_others(corpus):
    labels, drawn = corpus
    silent = np.flatnonzero(~drawn.present[:, 1] & drawn.present[:, 2])
    faceless = np.flatnonzero(drawn.present[:, 0] & ~drawn.present[:, 2])
    assert silent.size
    assert faceless.size
    fused = best_predictions(labels, drawn, ALL)
    np.testing.assert_array_equal(fused[silent], best_predictions(labels, drawn, (2, 3))[silent])
    np.testing.assert_array_equal(fused[faceless], best_predictions(labels, drawn, (0, 1))[faceless])


def test_with_no_modality_at_all_the_answer_is_the_mean_label(corpus):
    labels, drawn = corpus
    rows = np.flatnonzero(~drawn.present[:, 0] & (labels.split == "valid"))
    np.testing.assert_allclose(
        best_predictions(labels, drawn, (0,))[rows], [label_moments("valid")[0]] * len(rows), atol=3e-3
    )


def test_more_modalities_have_a_higher_ceiling_and_fusion_is_near_the_papers_level(corpus):
    ceilings = population_ceilings(PLAN, corpus[1].model)
    means = {name: row.mean() for name, row in ceilings.items()}
    assert len(means) == 15
    for name, which in modality_subsets(tuple(CEILINGS)):
        for other, more in modality_subsets(tuple(CEILINGS)):
            if set(which) < set(more):
                assert means[name] < means[other] + 0.001, (name, other)
    assert 0.44 <= means["text+audio+vision+motion"] <= 0.46  # the paper: .4386
    assert means["text+audio+vision+motion"] - means["text"] > 0.03


def test_the_oracle_is_written_beside_the_corpus(corpus, tmp_path):
    labels, drawn = corpus
    write_oracle(labels, PLAN, drawn, tmp_path)
    assert [row for row in check_ceilings(tmp_path) if not row.holds] == []
    table = pq.read_table(tmp_path / "oracle.parquet")
    assert table.column_names == ["clip", "split", "modalities", *EMOTIONS]
    assert table.num_rows == 15 * 3000
    text = [row for row in table.to_pylist() if row["modalities"] == "text" and row["split"] == "valid"]
    assert [row["clip"] for row in text] == [labels.ids[row] for row in labels.rows("valid")]
    r = pearson([[row["Joy"]] for row in text], labels.shares[labels.rows("valid")][:, 5:])[0]
    joy = json.loads((tmp_path / "ceiling.json").read_text())["valid"]["text"]["Joy"]
    assert joy["r"] == pytest.approx(r)
    assert joy["low"] < joy["r"] < joy["high"]
