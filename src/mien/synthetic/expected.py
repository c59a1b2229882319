"""The best possible prediction, E[label | signals], for the labels of ``labels.py``.

Raters choose independently, so the expected label is the expected intensity: the intensity averaged over the posterior
of the latents given the signals.

Shapes: ``N`` clips, ``M`` modalities, ``E`` emotions, ``L`` latents (E + 1).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mien.synthetic.labels import ABOUT, COUPLING, GAINS, RATERS, THRESHOLDS
from mien.synthetic.quadrature import Array, expectation, normal_cdf, points, root
from mien.synthetic.signals import SignalModel, calibrate, label_axes

Half = Literal["train", "valid"]

POINTS = 1024
"""Integration points; the error they leave is about 1 % of the standard deviation of an expected label."""


@dataclass(frozen=True)
class ExpectedShare:
    """The link of one half of the corpus: ``labels.intensity`` with a last latent that is only partly known."""

    half: Half

    def __call__(self, latents: Array, loose: float) -> Array:
        """``(L, ...)`` latents, the last up to a normal error of standard deviation ``loose``, to ``(E, ...)``."""
        column = (-1, *(1,) * (latents.ndim - 1))
        strength = latents[:-1] - np.array(THRESHOLDS[self.half], latents.dtype).reshape(column)
        np.sqrt(np.maximum(strength, 0, out=strength), out=strength)
        strength *= np.array(GAINS, latents.dtype).reshape(column)
        distance = ABOUT[self.half] - latents[-1]
        about = normal_cdf(distance / loose) if loose > 1e-4 else distance > 0
        strength *= about / (1 + strength.sum(0))
        return strength


def latent_correlation() -> Array:
    """``(L, L)``: the six strengths are correlated, the switch is independent."""
    correlation = np.eye(len(COUPLING) + 1)
    correlation[:-1, :-1] = COUPLING
    return correlation


def label_moments(half: Half) -> tuple[Array, Array]:
    """``(E,)`` mean and standard deviation of the labels of one half, including the sampling of raters.

    With R raters a share has the variance var(p) + E[p (1 - p)] E[1 / R], p being the intensity.
    """
    p = ExpectedShare(half)(root(latent_correlation()) @ points(65536, len(COUPLING) + 1).T, 0.0)  # (E, Q)
    one_rater = np.mean([1 / raters for raters in range(RATERS[0], RATERS[1] + 1)])
    return p.mean(1), np.sqrt(p.var(1) + (p * (1 - p)).mean(1) * one_rater)


def signal_model(ceilings: Mapping[str, Sequence[float]], overlap: float, blunt: Collection[str]) -> SignalModel:
    """The signals whose best single-modality r on the validation half is ``ceilings``; see ``signals.calibrate``.

    Raises:
        ValueError: ``overlap`` lies outside [0, 1], or a requested r cannot be reached.
    """
    link, correlation = ExpectedShare("valid"), latent_correlation()
    axes = label_axes(link, correlation, points(65536, len(correlation)))
    return calibrate(link, correlation, axes, label_moments("valid")[1], ceilings, overlap, blunt)


def expected_labels(
    model: SignalModel, half: Half, signals: Array, present: npt.NDArray[np.bool_], which: Sequence[int]
) -> Array:
    """``(N, E)`` E[label | available modalities of ``which``]; the mean label where none is available.

    Args:
        model: the joint distribution of the signals.
        half: the half to which all clips belong.
        signals: ``(N, M, E)``.
        present: ``(N, M)`` whether a clip has the modality.
        which: rows of ``model.mixing``.
    """
    link, nodes = ExpectedShare(half), points(POINTS, len(model.correlation) - 1)
    has = present & np.isin(np.arange(present.shape[1]), list(which))  # (N, M)
    expected = np.empty((len(signals), len(model.axes)))
    for subset in np.unique(has, axis=0):
        rows = np.flatnonzero((has == subset).all(1))
        weights, spread = model.posterior(np.flatnonzero(subset).tolist())
        means = signals[rows][:, subset].reshape(len(rows), weights.shape[1]) @ weights.T  # (n, L)
        unique = means if subset.any() else means[:1]  # without any signal, all clips get the same prediction
        expected[rows] = expectation(link, unique, spread, nodes)
    return expected


def best_guesses(model: SignalModel, signals: Array) -> npt.NDArray[np.float32]:
    """``(N, M, E)`` the best prediction from each modality alone, scaled to mean 0 and variance 1 over all clips."""
    link, nodes = ExpectedShare("valid"), points(POINTS, len(model.correlation) - 1)
    population = points(4096, len(model.correlation))
    guesses = np.empty(signals.shape, np.float32)
    for row in range(len(model.modalities)):
        weights, spread = model.posterior([row])
        all_clips = expectation(link, population @ root(model.correlation - spread).T, spread, nodes)
        answers = expectation(link, signals[:, row] @ weights.T, spread, nodes)
        guesses[:, row] = (answers - all_clips.mean(0)) / np.maximum(all_clips.std(0), 1e-6)
    return guesses
