"""Paints one synthetic person, once: skin, hair, clothes and background as images that ``drawing.py`` then moves.

The head is a height field seen from the front: an egg with a nose, brows, cheeks and a chin made of soft bumps. Its
slopes give the shading, its hollows the shadows, its heights the parallax of head turns. The trade-off: a painted
relief is not a photograph, but it costs a third of a second per person, needs no third-party assets, and both people
and face landmarkers recognise it as a face. Eyes and lips are left out here: they are drawn in every frame.

Face coordinates are in units of the distance between the pupils (about 63 mm): ``x`` to the right, ``y`` down,
``z`` towards the camera, with the origin between the eyes. Colours are float RGB in [0, 1] until the end.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mien.synthetic.body import back_hair, background, clothes, ears, front_hair, half_width, neck
from mien.synthetic.canvas import PIXELS_PER_UNIT, SIDE, Floats, blur, bump, pair, plane, ramp
from mien.synthetic.identity import Identity


@dataclass(frozen=True)
class Portrait:
    """A painted person.

    Attributes:
        image: ``(SIDE, SIDE, 4)`` uint8 RGBA, colours multiplied by alpha; without eyes and lips.
        depth: ``(SIDE, SIDE)`` height of the head towards the camera, 0 beside it.
        creases: by action name, ``(SIDE, SIDE)`` how much a full action darkens (or lightens) the skin.
        background: ``(320, 320, 3)`` uint8 RGB.
    """

    image: npt.NDArray[np.uint8]
    depth: Floats
    creases: dict[str, Floats]
    background: npt.NDArray[np.uint8]


def paint(person: Identity) -> Portrait:
    """Paint a person."""
    rng = np.random.default_rng(person.grain)
    x, y = plane()
    depth, inside = _relief(person, x, y)
    light = _shade(depth, person.light)
    layers = [back_hair(person, x, y, rng), clothes(person, x, y, rng), neck(person, x, y), ears(person, x, y)]
    hair = front_hair(person, x, y, rng)
    light *= 1 - 0.35 * np.clip(blur(np.roll(hair[1], 8, 0), 0.06), 0, 1)
    layers += [(_skin(person, x, y, rng) * light[..., None], inside), hair]
    image = np.zeros((SIDE, SIDE, 4), np.float32)
    for colour, alpha in layers:
        image *= 1 - alpha[..., None]
        image[..., :3] += colour * alpha[..., None]
        image[..., 3] += alpha
    return Portrait(
        (np.clip(image, 0, 1) * 255).astype(np.uint8), depth, _creases(person, x, y), background(person, rng)
    )


def _relief(person: Identity, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Height of the head, and which pixels are head."""
    width = half_width(person, y)
    inside = np.clip((width - np.abs(x)) * PIXELS_PER_UNIT * 0.5 + 0.5, 0, 1) * (width > 0)
    across = np.clip(np.abs(x) / np.maximum(width, 1e-3), 0, 1)
    along = np.interp(
        y,
        [-1.86, -1.75, -1.4, -0.9, -0.3, 0.3, 1.0, 1.45, 1.75, 1.86],
        [0.0, 0.45, 0.95, 1.25, 1.36, 1.36, 1.33, 1.27, 1.0, 0.7],
    ).astype(np.float32)
    z = blur(along, 0.12) * np.sqrt(1 - across**2.3)
    tip, wide = 0.6 * person.nose_length, person.nose_width
    bridge = np.interp(y, [-0.25, 0.0, tip - 0.12, tip, tip + 0.1, tip + 0.16], [0.0, 0.12, 0.36, 0.42, 0.26, 0.0])
    nose = blur(bridge.astype(np.float32), 0.03) * np.exp(-0.5 * (x / (0.10 * wide + 0.05 * ramp(y, 0.1, tip))) ** 2)
    z += nose + 0.17 * pair(x, y, (0.19 * wide, tip + 0.03), (0.075 * wide, 0.085))
    z -= 0.19 * pair(x, y, (0.46, -0.03), (0.24, 0.15)) - 0.11 * pair(x, y, (0.5, 0.0), (0.16, 0.11))
    z += 0.07 * pair(x, y, (0.45, -0.3), (0.3, 0.1)) + 0.08 * pair(x, y, (0.68, 0.42), (0.24, 0.22))
    z += 0.12 * pair(x, y, (0.0, 1.08), (0.34, 0.26)) - 0.07 * bump(x, y, (0.0, 1.36), (0.24, 0.07))
    z += 0.13 * bump(x, y, (0.0, 1.62 * person.chin), (0.24, 0.15)) - 0.03 * bump(x, y, (0.0, 0.86), (0.04, 0.09))
    z -= 0.05 * pair(x, y, (1.0, -0.45), (0.15, 0.25)) + 0.05 * pair(x, y, (0.62, 0.95), (0.16, 0.28))
    return (z * inside).astype(np.float32), inside


def _shade(z: Floats, light: tuple[float, float, float]) -> Floats:
    """Brightness of the relief under a soft lamp: slope towards it, hollows darker, a little gloss."""
    smooth = blur(z, 0.02)
    down, right = np.gradient(smooth, 1 / PIXELS_PER_UNIT)
    normal = np.stack([-right, -down, np.full_like(z, 1.0)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    lamp = np.array(light) / np.linalg.norm(light)
    lit = np.clip((normal @ lamp + 0.35) / 1.35, 0, 1)
    half = lamp + np.array([0, 0, 1])
    gloss = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1) ** 24
    hollow = np.clip(blur(z, 0.16) - smooth, -0.05, 0.15)
    return (0.34 + 0.68 * lit + 0.10 * gloss - 1.5 * hollow).astype(np.float32)


def _skin(person: Identity, x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    """Skin colour before shading: flush, stubble, brows, nostrils, lids and fine grain."""
    skin = np.empty((SIDE, SIDE, 3), np.float32)
    skin[:] = person.skin
    flush = 0.6 * pair(x, y, (0.66, 0.55), (0.25, 0.2)) + 0.6 * bump(x, y, (0, 0.6), (0.2, 0.15))
    skin *= 1 - flush[..., None] * np.array([0.0, 0.11, 0.10], np.float32)
    beard = ramp(y, 0.85, 1.2) * ramp(np.abs(x) + 0.25 * y, 0.2, 0.5) + bump(x, y, (0, 0.9), (0.35, 0.07))
    skin *= 1 - np.clip(beard, 0, 1)[..., None] * person.stubble * np.array([0.36, 0.32, 0.26], np.float32)
    skin *= 1 - 0.10 * pair(x, y, (0.5, 0.2), (0.22, 0.06))[..., None] * person.age
    skin *= 1 - 0.22 * pair(x, y, (0.5, -0.13), (0.22, 0.05))[..., None]
    nostril = pair(x, y, (0.105 * person.nose_width, 0.6 * person.nose_length + 0.1), (0.055, 0.026))
    skin *= 1 - 0.75 * nostril[..., None]
    coarse = cv2.resize(rng.standard_normal((SIDE // 8, SIDE // 8)).astype(np.float32), (SIDE, SIDE))
    fine = blur(rng.standard_normal((SIDE, SIDE)).astype(np.float32), 0.012)
    skin *= 1 + 0.012 * coarse[..., None] + 0.03 * fine[..., None]
    brow = _brow(person, x, y, rng)[..., None]
    return skin * (1 - brow) + np.array(person.hair, np.float32) * 0.85 * brow


def _brow(person: Identity, x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    along = (np.abs(x) - 0.19) / 0.68
    middle = person.brow_height - 0.27 - 0.10 * np.sin(np.clip(along, 0, 1) * 2.2)
    thick = person.brow_weight * np.interp(along, [-0.05, 0.1, 0.6, 1.0], [0.03, 0.058, 0.045, 0.012])
    hairs = rng.standard_normal((SIDE // 3, SIDE)).astype(np.float32)
    hairs = cv2.resize(cv2.GaussianBlur(hairs, (0, 0), 0.8), (SIDE, SIDE))
    cover = np.exp(-(((y - middle) / thick) ** 4)) * ramp(along, -0.06, 0.04) * ramp(along, 1.03, 0.9)
    return np.clip(cover * (0.72 + 0.45 * hairs), 0, 0.92).astype(np.float32)


def _creases(person: Identity, x: Floats, y: Floats) -> dict[str, Floats]:
    """Folds of the skin by action: dark lines with a light rim, deeper with age."""
    deep = 0.5 + 0.9 * person.age
    side = np.abs(x)
    fold = 0.3 + 0.24 * ramp(y, 0.62, 1.15) + 0.02
    nasolabial = (np.exp(-(((side - fold) / 0.035) ** 2)) - 0.5 * np.exp(-(((side - fold - 0.09) / 0.07) ** 2))) * (
        ramp(y, 0.58, 0.75) * ramp(y, 1.2, 0.98)
    )
    crow = np.cos((y - 0.04) * 44) * pair(x, y, (0.9, 0.04), (0.07, 0.1)) + pair(x, y, (0.5, 0.19), (0.17, 0.025))
    forehead = np.cos((y + 0.7) * 34) * bump(x, y, (0, -0.72), (0.5, 0.16))
    frown = np.exp(-(((side - 0.1) / 0.025) ** 2)) * bump(x, y, (0, -0.28), (1.0, 0.12))
    bridge = np.cos((y - 0.02) * 60) * bump(x, y, (0, 0.02), (0.1, 0.08))
    chin = bump(x, y, (0, 1.42), (0.2, 0.03)) - 0.5 * bump(x, y, (0, 1.56), (0.14, 0.07))
    folds = {
        "smile": 0.15 * nasolabial,
        "cheek": 0.05 * crow,
        "brow_inner": 0.05 * forehead,
        "brow_outer": 0.03 * forehead,
    }
    folds |= {"brow_lower": 0.16 * frown + 0.04 * bridge, "press": 0.12 * chin, "corner_down": 0.08 * chin}
    return {name: (deep * fold).astype(np.float32) for name, fold in folds.items()}
