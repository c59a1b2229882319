"""What a modality can know of a clip's emotions: the jointly Gaussian model under the feature mode.

    z  (L)      the clip's latent causes, N(0, C); the last one is the all-or-nothing switch of ``labels.py``
    w  (E)      its place on every label's own axis, w = D z, unit variance (``label_axes``)
    v  (E)      what is expressed:   v_i = k_i w_i + sqrt(1 - k_i²) h_i      noise h shared by all modalities
    s  (M, E)   a modality's signal: s_mi = a_mi v_i + sqrt(1 - a_mi²) e_mi  private noise e

h and e are independent standard normal. Every choice of modalities is then linear and Gaussian in z, so that z given
those signals is N(mean, spread) in closed form, with a spread that is the same for every clip, and a label's
expectation is the integral of the labels' link over that Gaussian (``quadrature.py``).

``calibrate`` chooses ``rho_mi = k_i a_mi``, the correlation of a signal with its axis, so that the best possible
Pearson r of each modality alone is a given table; ``overlap`` then says how much of the noise the modalities share:
0, each errs on its own and fusion gains most; 1, the best modality knows all that any other could add.

The trade-off: everything a modality tells is told by E numbers, one per emotion, with no interaction between
modalities beyond shared noise. That is what makes the ceiling exact.

Shapes: ``N`` clips, ``M`` modalities, ``E`` emotions, ``L`` latents (E + 1), ``Q`` integration points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.data.synth.quadrature import Array, Link, expectation, points, root

CEILINGS = {
    "text": (0.48, 0.39, 0.38, 0.43, 0.36, 0.33),
    "audio": (0.41, 0.35, 0.32, 0.35, 0.35, 0.33),
    "vision": (0.05, 0.21, 0.14, 0.08, 0.20, 0.24),
    "motion": (-0.01, 0.21, 0.10, 0.05, 0.20, 0.24),
}
"""Pearson r per emotion of the paper's encoders alone (Admiration, Amusement, Determination, Empathic Pain, Excitement,
Joy). Source: "Two-Stage Multimodal Framework for Emotion Mimicry Intensity Prediction" (2026), single-modality table.
"""


@dataclass(frozen=True, eq=False)
class SignalModel:
    """The joint distribution of latents and signals.

    Attributes:
        modalities: names, in the order of the rows of ``gain``.
        correlation: ``(L, L)`` C, the correlation of the latents.
        axes: ``(E, L)`` D, of which ``axes @ latents`` has unit variance.
        expressed: ``(E,)`` k, in (0, 1].
        gain: ``(M, E)`` a, in [0, 1].
    """

    modalities: tuple[str, ...]
    correlation: Array
    axes: Array
    expressed: Array
    gain: Array

    def draw(self, latents: Array, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Signals ``(N, M, E)`` of clips with the given latents ``(N, L)``."""
        positions = latents @ self.axes.T
        shared = rng.standard_normal(positions.shape)
        private = rng.standard_normal((len(latents), *self.gain.shape))
        expressed = self.expressed * positions + np.sqrt(1 - self.expressed**2) * shared
        signals: npt.NDArray[np.float64] = self.gain * expressed[:, None] + np.sqrt(1 - self.gain**2) * private
        return signals

    def posterior(self, which: Sequence[int]) -> tuple[Array, Array]:
        """What the signals of the modalities ``which`` (rows of ``gain``) tell of the latents.

        Returns:
            weights: ``(L, len(which) · E)``; the posterior mean is ``weights @ signals``, signals modality by modality.
            spread: ``(L, L)`` the posterior covariance, the same for every clip; C when ``which`` is empty.
        """
        gain = self.gain[list(which)]  # (S, E)
        seen = self.axes * self.expressed[:, None]  # (E, L): the part of v that comes from z
        expressed = seen @ self.correlation @ seen.T
        np.fill_diagonal(expressed, 1.0)  # cov(v, v)
        signals = np.einsum("mi,nj,ij->minj", gain, gain, expressed).reshape(gain.size, gain.size)
        signals += np.diag(1 - gain.ravel() ** 2)  # cov(s, s), (S·E, S·E)
        with_latents = np.einsum("mi,il->lmi", gain, seen @ self.correlation).reshape(len(self.correlation), -1)
        weights = np.linalg.solve(signals, with_latents.T).T
        spread = self.correlation - weights @ with_latents.T
        return weights, (spread + spread.T) / 2


def label_axes(link: Link, correlation: Array, nodes: Array) -> Array:
    """``(E, L)`` axes: axis i moves label i and, on the whole, no other label.

    The best linear predictors of the labels have the coefficients B = E[label zᵀ] C⁻¹. Axis i is taken from their dual
    basis, (B C Bᵀ)⁻¹ B: it is uncorrelated with the best linear predictor of every other label, so that a modality
    that is blind to one emotion is not told of it through the others.
    """
    latents = nodes @ root(correlation).T
    predictors = np.linalg.solve(correlation, latents.T @ link(latents, 0.0)).T / len(nodes)
    dual = np.linalg.solve(predictors @ correlation @ predictors.T, predictors)
    return dual / np.sqrt(np.einsum("ij,jk,ik->i", dual, correlation, dual))[:, None]


def calibrate(
    link: Link,
    correlation: Array,
    axes: Array,
    label_sd: Array,
    ceilings: Mapping[str, Sequence[float]],
    overlap: float,
    outer: int = 2048,
    inner: int = 512,
    rounds: int = 10,
) -> SignalModel:
    """The model whose best single-modality Pearson r is ``ceilings``; a negative or zero entry means no signal.

    The best predictor is E[label | signal], and its Pearson r with the label is sd(E[label | signal]) / sd(label), so
    each correlation rho is scaled by wanted / reached until they agree.

    Args:
        link: see ``Link``.
        correlation: ``(L, L)`` of the latents.
        axes: ``(E, L)`` from ``label_axes``.
        label_sd: ``(E,)`` standard deviation of the labels, rater sampling included.
        ceilings: r per emotion, by modality.
        overlap: in [0, 1], the share of what the best modality does not know that no modality can know.
        outer, inner, rounds: integration points over clips and over each clip's posterior, and fixed-point steps.

    Raises:
        ValueError: ``overlap`` lies outside [0, 1], or a wanted r cannot be reached even without noise.
    """
    if not 0 <= overlap <= 1:
        raise ValueError(f"overlap = {overlap}, but it is a share in [0, 1]")
    clips, nodes = points(outer, len(correlation)), points(inner, len(correlation) - 1)
    found: list[Array] = []
    for row in ceilings.values():
        wanted = np.clip(np.array(row, float), 0, None) * label_sd
        rho = np.where(wanted > 0, 0.5, 0.0)
        for _ in range(rounds):
            alone = SignalModel(("alone",), correlation, axes, np.ones_like(rho), rho[None])
            reached = explained_sd(link, alone, [0], clips, nodes)
            rho = np.where(wanted > 0, np.clip(rho * wanted / reached, 0, 0.999), 0.0)
        if (rho >= 0.999).any():
            raise ValueError(f"r = {row[int(rho.argmax())]} is above what a signal without noise would reach")
        found.append(rho)
    best = np.max(found, axis=0)
    expressed = np.sqrt(best**2 + (1 - overlap) * (1 - best**2))
    return SignalModel(tuple(ceilings), correlation, axes, expressed, np.stack(found) / expressed)


def explained_sd(link: Link, model: SignalModel, which: Sequence[int], clips: Array, nodes: Array) -> Array:
    """``(E,)`` standard deviation over all clips of E[label | signals of ``which``]."""
    _, spread = model.posterior(which)
    return expectation(link, clips @ root(model.correlation - spread).T, spread, nodes).std(0)
