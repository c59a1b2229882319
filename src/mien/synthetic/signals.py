"""The information of each modality about a clip's emotions: the jointly Gaussian model of the feature mode.

    z  (L)      the clip's latent causes, N(0, C); the last one is the all-or-nothing switch of ``labels.py``
    w  (E)      its position on every label's own axis, w = D z, unit variance (``label_axes``)
    v  (E)      expression:          v_i = k_i w_i + sqrt(1 - k_i²) h_i     noise h shared by all modalities
    s  (M, E)   a modality's signal: s_m = A_m v + private noise e, unit variance

h and e are independent and normal. A sharp modality has a number for every emotion (A_m is diagonal); a blunt one has
a single number, up with some emotions and down with others (only the first row of A_m is not zero): a face that
smiles or frowns.
Every subset of modalities is linear and Gaussian in z, so that z given those signals is N(mean, spread) in closed
form, with a spread that is the same for every clip, and a label's expectation is the integral of the labels' link
over that Gaussian (``quadrature.py``).

``calibrate`` scales A so that the best possible Pearson r of each modality alone is a given table; ``overlap`` is
the share of noise common to the modalities: 0, errors are independent and fusion gains most; 1, the best sharp modality
holds all that any other could add.

The trade-off: a modality holds at most E numbers, with no interaction between modalities beyond shared noise. That
makes the ceiling exact. Blunt modalities exist because weak and sharp ones could not be learnt: with r about .14, six
coefficients fitted to 8,072 clips already lose 5 % of it.

Shapes: ``N`` clips, ``M`` modalities, ``E`` emotions, ``L`` latents (E + 1), ``S`` modalities selected.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.synthetic.quadrature import Array, Link, expectation, points, root

CEILINGS = {
    "text": (0.48, 0.39, 0.38, 0.43, 0.36, 0.33),
    "audio": (0.41, 0.35, 0.32, 0.35, 0.35, 0.33),
    "vision": (0.05, 0.21, 0.14, 0.08, 0.20, 0.24),
    "motion": (-0.01, 0.21, 0.10, 0.05, 0.20, 0.24),
}
"""Pearson r per emotion of the paper's encoders alone (Admiration, Amusement, Determination, Empathic Pain, Excitement,
Joy). Source: "Two-Stage Multimodal Framework for Emotion Mimicry Intensity Prediction" (2026), single-modality table.
"""


OUTER, INNER, ROUNDS, DAMPING, MAX_EXPLAINED = 8192, 256, 6, 0.75, 0.999
"""Of the calibration: points that represent all clips, points for each one's posterior, steps of the fixed point, their
damping (the prediction of a skewed label grows faster than the signal), and the highest correlation of a signal with
the expression."""

ROUNDING = 1e-9

BLUNT = ("vision", "motion")
"""Modalities with a single number as their signal, between a smile and a frown."""

SMILE = (1, 1, -1, -1, 1, 1)
"""The sign of each emotion in that number: Determination and Empathic Pain are frowns."""


@dataclass(frozen=True, eq=False)
class SignalModel:
    """The joint distribution of latents and signals.

    Attributes:
        modalities: names, in the order of the rows of ``mixing``.
        correlation: ``(L, L)`` C, the correlation of the latents.
        axes: ``(E, L)`` D; ``axes @ latents`` has unit variance.
        expressed: ``(E,)`` k, in (0, 1].
        mixing: ``(M, E, E)`` A: expression → signals.
    """

    modalities: tuple[str, ...]
    correlation: Array
    axes: Array
    expressed: Array
    mixing: Array

    @property
    def expression(self) -> Array:
        """``(E, E)`` covariance of the expression v."""
        seen = self.axes * self.expressed[:, None]
        covariance = seen @ self.correlation @ seen.T
        np.fill_diagonal(covariance, 1.0)
        return covariance

    @property
    def private(self) -> Array:
        """``(M, E)`` variance of each signal's own noise."""
        return 1 - np.einsum("mij,jk,mik->mi", self.mixing, self.expression, self.mixing)

    def draw(self, latents: Array, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Signals ``(N, M, E)`` of clips with the given latents ``(N, L)``."""
        positions = latents @ self.axes.T
        shared = rng.standard_normal(positions.shape) * np.sqrt(1 - self.expressed**2)
        signals = np.einsum("mij,nj->nmi", self.mixing, self.expressed * positions + shared)
        return signals + np.sqrt(self.private.clip(min=0)) * rng.standard_normal(signals.shape)

    def posterior(self, which: Sequence[int]) -> tuple[Array, Array]:
        """The posterior of the latents given the signals of the modalities ``which`` (rows of ``mixing``).

        Returns:
            weights: ``(L, S · E)``; the posterior mean is ``weights @ signals``, signals modality by modality.
            spread: ``(L, L)`` the posterior covariance, the same for every clip; C when ``which`` is empty.
        """
        mixing = self.mixing[list(which)].reshape(-1, len(self.axes))  # (S·E, E)
        signals = mixing @ self.expression @ mixing.T + np.diag(self.private[list(which)].ravel())
        with_latents = mixing @ (self.axes * self.expressed[:, None]) @ self.correlation  # cov(s, z), (S·E, L)
        weights = np.linalg.solve(signals, with_latents).T
        spread = self.correlation - weights @ with_latents
        return weights, (spread + spread.T) / 2


def label_axes(link: Link, correlation: Array, nodes: Array) -> Array:
    """``(E, L)`` axes: axis i moves label i and, on the whole, no other label.

    The best linear predictors of the labels have the coefficients B = E[label zᵀ] C⁻¹. Axis i is taken from their dual
    basis, (B C Bᵀ)⁻¹ B: it is uncorrelated with the best linear predictor of every other label, so that a modality
    that is blind to one emotion has no information about it through the others.
    """
    latents = root(correlation) @ nodes.T  # (L, Q)
    predictors = np.linalg.solve(correlation, latents @ link(latents, 0.0).T).T / len(nodes)
    dual = np.linalg.solve(predictors @ correlation @ predictors.T, predictors)
    return dual / np.sqrt(np.einsum("ij,jk,ik->i", dual, correlation, dual))[:, None]


def calibrate(
    link: Link,
    correlation: Array,
    axes: Array,
    label_sd: Array,
    ceilings: Mapping[str, Sequence[float]],
    overlap: float,
    blunt: Collection[str] = BLUNT,
) -> SignalModel:
    """The model with ``ceilings`` as the best single-modality Pearson r; a negative or zero entry means no signal.

    Args:
        link: see ``quadrature.Link``.
        correlation: ``(L, L)`` of the latents.
        axes: ``(E, L)`` from ``label_axes``.
        label_sd: ``(E,)`` standard deviation of the labels, including rater sampling.
        ceilings: r per emotion, by modality.
        overlap: in [0, 1], the share of the best sharp modality's noise that is common to all modalities.
        blunt: modalities with a single number as their signal.

    Raises:
        ValueError: ``overlap`` lies outside [0, 1] or is more than a blunt modality's signal has noise for, or a
            requested r cannot be reached even without noise.
    """
    if not 0 <= overlap <= 1:
        raise ValueError(f"overlap = {overlap}, but it is a share in [0, 1]")
    mixing = []
    for name, row in ceilings.items():
        wanted = np.clip(np.array(row, float), 0, None) * label_sd
        mixing.append(_reach(link, correlation, axes, wanted, name, name in blunt))
    sharp = [np.diag(one) for name, one in zip(ceilings, mixing, strict=True) if name not in blunt]
    best = np.max([np.zeros(len(axes)), *sharp], axis=0)
    expressed = np.sqrt(best**2 + (1 - overlap) * (1 - best**2))
    model = SignalModel(tuple(ceilings), correlation, axes, expressed, np.stack(mixing) / expressed)
    if (model.private < -ROUNDING).any():
        raise ValueError(
            f"overlap = {overlap} leaves a blunt modality a negative variance of its own; choose a lower one"
        )
    return model


def _reach(link: Link, correlation: Array, axes: Array, wanted: Array, name: str, blunt: bool) -> Array:
    """``(E, E)`` mixing of a modality at which E[label | signal] has the standard deviations ``wanted``.

    The best predictor is E[label | signal], and its Pearson r with the label is sd(E[label | signal]) / sd(label); so
    each emotion's share in the signal is scaled by wanted / reached until they agree.
    """
    clips, nodes = points(OUTER, len(correlation)), points(INNER, len(correlation) - 1)
    places = np.arange(len(axes))
    share = np.where(wanted > 0, 0.3, 0.0) * (SMILE if blunt else 1)
    mixing, reached = np.zeros((len(axes), len(axes))), wanted
    for _ in range(ROUNDS):
        mixing[0 if blunt else places, places] = share
        alone = SignalModel((name,), correlation, axes, np.ones(len(axes)), mixing[None])
        explained = np.sqrt(1 - alone.private[0])  # (E,) correlation of signal and expression
        mixing *= np.minimum(1, MAX_EXPLAINED / np.maximum(explained, MAX_EXPLAINED))[:, None]
        reached = explained_sd(link, alone, [0], clips, nodes)
        share = mixing.sum(0) * (wanted / np.maximum(reached, 1e-9)) ** DAMPING
    if np.abs(reached - wanted).max(where=wanted > 0, initial=0) > 0.02 * wanted.max():
        raise ValueError(f"{name}: a wanted r is above what a signal without noise would reach")
    return mixing


def explained_sd(link: Link, model: SignalModel, which: Sequence[int], clips: Array, nodes: Array) -> Array:
    """``(E,)`` standard deviation over all clips of E[label | signals of ``which``].

    Args:
        link: see ``quadrature.Link``.
        model: the joint distribution of the signals.
        which: rows of ``model.mixing``.
        clips: ``(N, L)`` points that represent all clips.
        nodes: ``(Q, L - 1)`` points for each clip's posterior.
    """
    _, spread = model.posterior(which)
    return expectation(link, clips @ root(model.correlation - spread).T, spread, nodes).std(0)
