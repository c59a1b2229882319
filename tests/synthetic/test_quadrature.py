"""Averages over a Gaussian agree with the few that are known in closed form."""

import numpy as np
import pytest
from scipy.stats import norm

from mien.synthetic.quadrature import expectation, normal_cdf, points, root


def test_points_have_the_moments_of_the_standard_normal_exactly():
    z = points(256, 6)
    assert z.shape == (256, 6)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(z.T @ z / 256, np.eye(6), atol=1e-12)


def test_points_fill_every_octant_alike():
    # 4,096 points in 3 dimensions, 512 expected in each octant; random points would scatter by 21
    counts = np.bincount((points(4096, 3) > 0) @ [1, 2, 4])
    assert np.abs(counts - 512).max() <= 10


def test_the_normal_distribution_function_is_right_to_seven_digits():
    x = np.linspace(-6, 6, 1001)
    assert np.abs(normal_cdf(x) - norm.cdf(x)).max() < 1.5e-7


def test_the_root_of_a_singular_matrix_exists():
    covariance = np.array([[1.0, 1.0], [1.0, 1.0]])
    np.testing.assert_allclose(root(covariance) @ root(covariance), covariance, atol=1e-12)


@pytest.mark.parametrize("slope", [0.5, 2.0])
def test_the_average_of_a_probit_is_the_one_in_closed_form(slope):
    # u ~ N(m, v): E[cdf(b u)] = cdf(b m / sqrt(1 + b² v)), here for each of three correlated latents
    spread = np.array([[0.9, 0.3, 0.1], [0.3, 0.6, 0.2], [0.1, 0.2, 0.5]])
    means = np.random.default_rng(0).standard_normal((50, 3))

    def probit(latents, loose):
        # of the last latent only the mean is given: the link's own business
        return np.stack([*normal_cdf(slope * latents[:-1]), normal_cdf(latents[-1] / loose)])

    got = expectation(probit, means, spread, points(1024, 2))
    variances = np.diag(spread)
    np.testing.assert_allclose(
        got[:, :2], norm.cdf(slope * means / np.sqrt(1 + slope**2 * variances))[:, :2], atol=2e-3
    )
    np.testing.assert_allclose(got[:, 2], norm.cdf(means[:, 2] / np.sqrt(variances[2])), atol=2e-3)  # P(u > 0)


def test_the_number_of_threads_does_not_change_the_answer():
    means = np.random.default_rng(1).standard_normal((100, 2))
    one, three = (
        expectation(lambda latents, loose: latents**2 + loose, means, np.eye(2), points(512, 1), workers)
        for workers in (1, 3)
    )
    assert one.tobytes() == three.tobytes()
