from dataclasses import dataclass
import numpy as np
from mien.data.synth.labels import ABOUT, COUPLING, GAINS, RATERS, THRESHOLDS
from mien.data.synth.signals import Array, normal_cdf, points, root

@dataclass(frozen=True)
class ShareLink:
    half: str

    def __call__(self, latents: Array, loose: float) -> Array:
        strength = np.sqrt(np.maximum(0.0, latents[..., :6] - np.array(THRESHOLDS[self.half]))) * np.array(GAINS)
        distance = ABOUT[self.half] - latents[..., 6:]
        about = normal_cdf(distance / loose) if loose > 0 else (distance > 0)
        return strength * (about / (1 + strength.sum(-1, keepdims=True)))


def default_model(overlap: float = 0.25, plan=None):
    from mien.data.synth import signals as S

    C = np.eye(7)
    C[:6, :6] = np.array(COUPLING)
    link = ShareLink("valid")
    f = link(points(65536, 7) @ root(C).T, 0.0)
    inv = np.mean([1 / r for r in range(RATERS[0], RATERS[1] + 1)])
    sd = np.sqrt((f**2).mean(0) * (1 - inv) + f.mean(0) * inv - f.mean(0) ** 2)
    axes = S.label_axes(link, C, points(65536, 7))
    return S.calibrate(link, C, axes, sd, S.CEILINGS, overlap)


def answers(labels, drawn, model, which, nodes=1024):
    """(N, E) E[label | signals of `which` that are present]."""
    from mien.data.synth import signals as S

    out = np.zeros_like(labels.shares)
    q = points(nodes, 6)
    for half in np.unique(labels.split):
        for pattern in np.unique(drawn.present[:, which], axis=0):
            rows = np.flatnonzero((labels.split == half) & (drawn.present[:, which] == pattern).all(1))
            have = [w for w, p in zip(which, pattern) if p]
            weights, spread = model.posterior(have)
            means = drawn.signals[rows][:, have].reshape(len(rows), 6 * len(have)) @ weights.T
            if len(rows):
                out[rows] = S.expectation(ShareLink("train" if half == "train" else "valid"), means, spread, q)
    return out
