"""Signals are jointly Gaussian with the latents, and hold exactly as much information as specified."""

import numpy as np
import pytest

from mien.synthetic.expected import ExpectedShare, label_moments, latent_correlation, signal_model
from mien.synthetic.quadrature import points
from mien.synthetic.signals import BLUNT, CEILINGS, SMILE, SignalModel, calibrate, label_axes


def two_modalities(overlap: float) -> SignalModel:
    return signal_model({"text": (0.4,) * 6, "vision": (0.05, 0.2, 0.1, 0.08, 0.2, 0.2)}, overlap, ("vision",))


@pytest.fixture(scope="module")
def model() -> SignalModel:
    return two_modalities(0.4)


def test_one_signal_of_one_latent_has_the_posterior_of_the_textbook():
    # s = a z + sqrt(1 - a²) e with a = .6: z given s is N(.6 s, 1 - .36)
    model = SignalModel(("text",), np.eye(2), np.array([[1.0, 0.0]]), np.ones(1), np.array([[[0.6]]]))
    weights, spread = model.posterior([0])
    np.testing.assert_allclose(weights, [[0.6], [0.0]], atol=1e-12)
    np.testing.assert_allclose(spread, [[0.64, 0], [0, 1]], atol=1e-12)


def test_two_signals_with_private_noise_add_their_precisions():
    # precisions of z: 1 prior, a²/(1 - a²) = .5625 from each of two; the posterior variance is 1 / (1 + 2 · .5625)
    model = SignalModel(("a", "b"), np.eye(2), np.array([[1.0, 0.0]]), np.ones(1), np.full((2, 1, 1), 0.6))
    assert model.posterior([0, 1])[1][0, 0] == pytest.approx(1 / 2.125)


def test_the_posterior_is_what_a_regression_on_many_draws_finds(model):
    rng = np.random.default_rng(0)
    latents = rng.multivariate_normal(np.zeros(7), latent_correlation(), 100_000)
    signals = model.draw(latents, rng).reshape(len(latents), -1)
    weights, spread = model.posterior([0, 1])
    fitted, *_ = np.linalg.lstsq(signals, latents, rcond=None)
    np.testing.assert_allclose(fitted.T, weights, atol=0.02)  # standard error about .003 to .006
    np.testing.assert_allclose(np.cov((latents - signals @ weights.T).T), spread, atol=0.02)


def test_signals_have_unit_variance(model):
    rng = np.random.default_rng(1)
    signals = model.draw(rng.multivariate_normal(np.zeros(7), latent_correlation(), 50_000), rng)
    np.testing.assert_allclose(signals.std(0), 1, atol=0.015)  # standard error 1 / sqrt(100,000) = .003


def test_another_modality_never_widens_what_is_left_open(model):
    _, alone = model.posterior([0])
    _, both = model.posterior([0, 1])
    assert np.linalg.eigvalsh(alone - both).min() > -1e-9
    assert np.trace(alone - both) > 0.01


def test_no_modality_leaves_the_latents_as_they_are(model):
    weights, spread = model.posterior([])
    assert weights.shape == (7, 0)
    np.testing.assert_array_equal(spread, latent_correlation())


def test_full_overlap_leaves_a_weaker_sharp_modality_nothing_to_add():
    model = signal_model({"text": (0.4,) * 6, "audio": (0.3,) * 6}, 1.0, ())
    np.testing.assert_allclose(model.posterior([0])[1], model.posterior([0, 1])[1], atol=1e-9)


def test_the_signal_of_a_blunt_modality_is_one_number(model):
    assert np.linalg.matrix_rank(model.mixing[1]) == 1
    assert (np.sign(model.mixing[1][0]) == SMILE).all()
    assert np.linalg.matrix_rank(model.mixing[0]) == 6


def test_an_axis_is_blind_to_the_other_labels_best_linear_predictors():
    link, correlation, nodes = ExpectedShare("valid"), latent_correlation(), points(16384, 7)
    axes = label_axes(link, correlation, nodes)
    latents = np.linalg.cholesky(correlation) @ nodes.T
    predictors = np.linalg.solve(correlation, latents @ link(latents.copy(), 0.0).T / nodes.shape[0]).T
    crossed = axes @ correlation @ predictors.T  # covariance of axis i with the predictor of label j
    off = crossed - np.diag(np.diag(crossed))
    assert np.abs(off).max() < 0.05 * np.diag(crossed).min()
    np.testing.assert_allclose(np.diag(axes @ correlation @ axes.T), 1)


def test_an_overlap_that_leaves_a_blunt_modality_no_noise_is_refused():
    with pytest.raises(ValueError, match=r"overlap = 0.9 leaves a blunt modality a negative variance"):
        signal_model(CEILINGS, 0.9, BLUNT)


def test_an_overlap_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match=r"overlap = 1.5, but it is a share in \[0, 1\]"):
        two_modalities(1.5)


def test_a_ceiling_above_what_the_raters_allow_is_refused():
    # even the expected share itself correlates only by .77 to .9 with what a handful of raters say
    with pytest.raises(ValueError, match="text: a wanted r is above"):
        signal_model({"text": (0.95,) * 6}, 0.5, ())


def test_calibration_keeps_its_hands_off_a_modality_without_signal():
    link, correlation = ExpectedShare("valid"), latent_correlation()
    axes = label_axes(link, correlation, points(16384, 7))
    model = calibrate(link, correlation, axes, label_moments("valid")[1], {"motion": (-0.01,) * 6}, 0.5)
    assert not model.mixing.any()
