"""The appearance of a synthetic person, constant from clip to clip.

Everything is drawn at random from plain ranges, with two kinds of build; no real person is depicted. Lengths are in
units of the distance between the pupils, colours are RGB in [0, 1].
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Colour = tuple[float, float, float]

SKINS: tuple[Colour, ...] = (
    (0.95, 0.78, 0.69),
    (0.91, 0.71, 0.59),
    (0.85, 0.64, 0.50),
    (0.75, 0.53, 0.39),
    (0.60, 0.40, 0.28),
    (0.47, 0.31, 0.22),
)
HAIRS: tuple[Colour, ...] = (
    (0.10, 0.08, 0.07),
    (0.20, 0.13, 0.09),
    (0.33, 0.21, 0.13),
    (0.50, 0.35, 0.20),
    (0.72, 0.57, 0.36),
    (0.48, 0.22, 0.12),
    (0.62, 0.61, 0.60),
)
IRISES: tuple[Colour, ...] = ((0.25, 0.15, 0.09), (0.36, 0.24, 0.13), (0.30, 0.38, 0.28), (0.35, 0.47, 0.58))
CUTS = ("short", "fringe", "long", "bun", "receding")


@dataclass(frozen=True)
class Identity:
    """The appearance of one person. Lengths are in pupil distances, shares in [0, 1]."""

    male: bool
    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    cloth: Colour
    wall: Colour
    cut: str
    width: float
    jaw: float
    chin: float
    nose_width: float
    nose_length: float
    eye_height: float
    eye_tilt: float
    brow_height: float
    brow_weight: float
    mouth_width: float
    lip_height: float
    stubble: float
    age: float
    light: tuple[float, float, float]
    scale: float
    left: float
    grain: int


def draw_identity(rng: np.random.Generator) -> Identity:
    """Draw a random person."""
    male = bool(rng.random() < 0.5)
    tone = int(rng.integers(len(SKINS)))
    skin = np.array(SKINS[tone]) * rng.uniform(0.95, 1.04)
    dark = rng.random() < 0.35 + 0.12 * tone
    side = rng.choice([-1.0, 1.0])
    redness = np.array([0.78, 0.40, 0.40]) if not male and rng.random() < 0.4 else np.array([0.80, 0.52, 0.50])
    cut = ("short", "short", "receding", "fringe") if male else ("long", "fringe", "bun", "long")
    return Identity(
        male=male,
        skin=_colour(skin),
        hair=HAIRS[int(rng.integers(3 if dark else len(HAIRS)))],
        iris=IRISES[int(rng.integers(2 if dark else len(IRISES)))],
        lips=_colour(0.45 * skin + 0.55 * redness * (0.55 + 0.45 * skin.mean())),
        cloth=_colour(rng.uniform(0.12, 0.75) * rng.dirichlet((3, 3, 3)) * 1.8),
        wall=_colour(rng.uniform(0.45, 0.85) * (0.85 + 0.3 * rng.dirichlet((2, 2, 2)))),
        cut=str(rng.choice(cut)),
        width=rng.normal(1.02 if male else 0.98, 0.03),
        jaw=rng.normal(1.04 if male else 0.95, 0.04),
        chin=rng.normal(1.03 if male else 0.98, 0.03),
        nose_width=rng.normal(1.05 if male else 0.95, 0.08),
        nose_length=rng.normal(1.0, 0.05),
        eye_height=rng.normal(0.98 if male else 1.08, 0.07),
        eye_tilt=rng.normal(0.015, 0.012),
        brow_height=rng.normal(0.03 if male else 0.0, 0.02),
        brow_weight=rng.normal(1.15 if male else 0.8, 0.12),
        mouth_width=rng.normal(1.0, 0.05),
        lip_height=rng.normal(0.95 if male else 1.15, 0.1),
        stubble=float(male) * max(0.0, rng.normal(0.25, 0.25)),
        age=rng.uniform(0.1, 0.9),
        light=(side * rng.uniform(0.2, 0.6), -rng.uniform(0.25, 0.55), rng.uniform(0.75, 1.0)),
        scale=rng.uniform(1.05, 1.28),
        left=rng.uniform(-0.25, 0.25),
        grain=int(rng.integers(2**31)),
    )


def _colour(value: npt.NDArray[np.float64]) -> Colour:
    red, green, blue = np.clip(value, 0.03, 1.0).tolist()
    return red, green, blue
