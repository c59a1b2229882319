"""Paints one invented person, once: skin, hair, clothes and room as pictures that the drawing then moves.

The head is a height field seen from the front: an egg with a nose, brows, cheeks and a chin made of soft bumps. Its
slopes give the shading, its hollows the shadows, its heights the parallax of head turns. The trade-off: a painted
relief is not a photograph, but it costs a third of a second per person, needs no assets of anybody, and both people and
face landmarkers take it for a face. Eyes and lips are left out here: they are drawn afresh in every frame.

Places on the face are in units of the distance between the pupils (about 63 mm): ``x`` to the right, ``y`` down,
``z`` towards us, with the origin between the eyes. Colours are float RGB in [0, 1] until the end.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Colour = tuple[float, float, float]

PIXELS_PER_UNIT = 80
LEFT, TOP, SPAN = -3.2, -2.9, 6.6
"""The square of the face plane that the portrait covers."""

SIDE = int(SPAN * PIXELS_PER_UNIT)

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
    """What stays the same about a person from clip to clip. Lengths are in pupil distances, shares in [0, 1]."""

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
    """Invent a person."""
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
        brow_height=rng.normal(0.0 if male else -0.03, 0.02),
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


@dataclass(frozen=True)
class Portrait:
    """A painted person.

    Attributes:
        picture: ``(SIDE, SIDE, 4)`` uint8 RGBA, colours multiplied by alpha; without eyes and lips.
        depth: ``(SIDE, SIDE)`` height of the head towards us, 0 beside it.
        creases: by action name, ``(SIDE, SIDE)`` how much a fully shown action darkens (or lightens) the skin.
        room: ``(320, 320, 3)`` uint8 RGB background.
    """

    picture: npt.NDArray[np.uint8]
    depth: Floats
    creases: dict[str, Floats]
    room: npt.NDArray[np.uint8]


def paint(person: Identity) -> Portrait:
    """Paint a person."""
    rng = np.random.default_rng(person.grain)
    x, y = _plane()
    depth, inside = _relief(person, x, y)
    light = _shade(depth, person.light)
    layers = [_back_hair(person, x, y, rng), _clothes(person, x, y, rng), _neck(person, x, y), _ears(person, x, y)]
    hair = _front_hair(person, x, y, rng)
    light *= 1 - 0.35 * np.clip(_blur(np.roll(hair[1], 8, 0), 0.06), 0, 1)
    layers += [(_skin(person, x, y, rng) * light[..., None], inside), hair]
    picture = np.zeros((SIDE, SIDE, 4), np.float32)
    for colour, alpha in layers:
        picture *= 1 - alpha[..., None]
        picture[..., :3] += colour * alpha[..., None]
        picture[..., 3] += alpha
    return Portrait((np.clip(picture, 0, 1) * 255).astype(np.uint8), depth, _creases(person, x, y), _room(person, rng))


def _plane() -> tuple[Floats, Floats]:
    steps = ((np.arange(SIDE) + 0.5) / PIXELS_PER_UNIT).astype(np.float32)
    x, y = np.meshgrid(LEFT + steps, TOP + steps)
    return x, y


def bump(x: Floats, y: Floats, at: tuple[float, float], size: tuple[float, float]) -> Floats:
    """A soft round hill of height 1 at ``at`` with standard deviations ``size``."""
    return np.exp(-0.5 * (((x - at[0]) / size[0]) ** 2 + ((y - at[1]) / size[1]) ** 2))


def _pair(x: Floats, y: Floats, at: tuple[float, float], size: tuple[float, float]) -> Floats:
    return bump(np.abs(x), y, at, size)


def ramp(values: Floats, low: float, high: float) -> Floats:
    """0 below ``low``, 1 above ``high``, smooth between; the other way round when ``low`` is above ``high``."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def _blur(values: Floats, size: float) -> Floats:
    return cv2.GaussianBlur(values, (0, 0), size * PIXELS_PER_UNIT)


def half_width(person: Identity, y: Floats) -> Floats:
    """Half the width of the bare head at height ``y``: an ellipse above the temples, cheeks and jaw below."""
    chin = 1.8 * person.chin
    heights = [-0.6, -0.2, 0.2, 0.6, 1.0, 1.3, 1.52, 0.94 * chin, 0.975 * chin, 0.993 * chin, chin]
    widths = np.array([1.15, 1.135, 1.095, 1.03, 0.92, 0.78, 0.62, 0.41, 0.28, 0.15, 0.0])
    widths *= np.where(np.array(heights) > 0.5, person.jaw, 1.0)
    rows = np.linspace(TOP, TOP + SPAN, 4 * SIDE)
    smooth = np.interp(rows, heights, widths)
    smooth[30:-30] = np.convolve(smooth, np.hanning(61) / np.hanning(61).sum(), "valid")
    smooth *= rows < chin
    skull = widths[0] * np.sqrt(np.clip(1 - ((rows + 0.6) / 1.26) ** 2, 0, 1))
    return (person.width * np.interp(y, rows, np.where(rows < -0.6, skull, smooth))).astype(np.float32)


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
    z = _blur(along, 0.12) * np.sqrt(1 - across**2.3)
    tip, wide = 0.6 * person.nose_length, person.nose_width
    bridge = np.interp(y, [-0.25, 0.0, tip - 0.12, tip, tip + 0.1, tip + 0.16], [0.0, 0.12, 0.36, 0.42, 0.26, 0.0])
    nose = _blur(bridge.astype(np.float32), 0.03) * np.exp(-0.5 * (x / (0.10 * wide + 0.05 * ramp(y, 0.1, tip))) ** 2)
    z += nose + 0.17 * _pair(x, y, (0.19 * wide, tip + 0.03), (0.075 * wide, 0.085))
    z -= 0.19 * _pair(x, y, (0.46, -0.03), (0.24, 0.15)) - 0.11 * _pair(x, y, (0.5, 0.0), (0.16, 0.11))
    z += 0.07 * _pair(x, y, (0.45, -0.3), (0.3, 0.1)) + 0.08 * _pair(x, y, (0.68, 0.42), (0.24, 0.22))
    z += 0.12 * _pair(x, y, (0.0, 1.08), (0.34, 0.26)) - 0.07 * bump(x, y, (0.0, 1.36), (0.24, 0.07))
    z += 0.13 * bump(x, y, (0.0, 1.62 * person.chin), (0.24, 0.15)) - 0.03 * bump(x, y, (0.0, 0.86), (0.04, 0.09))
    z -= 0.05 * _pair(x, y, (1.0, -0.45), (0.15, 0.25)) + 0.05 * _pair(x, y, (0.62, 0.95), (0.16, 0.28))
    return (z * inside).astype(np.float32), inside


def _shade(z: Floats, light: tuple[float, float, float]) -> Floats:
    """Brightness of the relief under a soft lamp: slope towards it, hollows darker, a little gloss."""
    smooth = _blur(z, 0.02)
    down, right = np.gradient(smooth, 1 / PIXELS_PER_UNIT)
    normal = np.stack([-right, -down, np.full_like(z, 1.0)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    lamp = np.array(light) / np.linalg.norm(light)
    lit = np.clip((normal @ lamp + 0.35) / 1.35, 0, 1)
    half = lamp + (0, 0, 1)
    gloss = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1) ** 24
    hollow = np.clip(_blur(z, 0.16) - smooth, -0.05, 0.15)
    return (0.34 + 0.68 * lit + 0.10 * gloss - 1.5 * hollow).astype(np.float32)


def _skin(person: Identity, x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    """Skin colour before shading: flush, stubble, brows, nostrils, lids and fine grain."""
    skin = np.empty((SIDE, SIDE, 3), np.float32)
    skin[:] = person.skin
    flush = 0.6 * _pair(x, y, (0.66, 0.55), (0.25, 0.2)) + 0.6 * bump(x, y, (0, 0.6), (0.2, 0.15))
    skin *= 1 - flush[..., None] * np.array([0.0, 0.11, 0.10], np.float32)
    beard = ramp(y, 0.85, 1.2) * ramp(np.abs(x) + 0.25 * y, 0.2, 0.5) + bump(x, y, (0, 0.9), (0.35, 0.07))
    skin *= 1 - np.clip(beard, 0, 1)[..., None] * person.stubble * np.array([0.36, 0.32, 0.26], np.float32)
    skin *= 1 - 0.10 * _pair(x, y, (0.5, 0.2), (0.22, 0.06))[..., None] * person.age
    skin *= 1 - 0.22 * _pair(x, y, (0.5, -0.13), (0.22, 0.05))[..., None]
    nostril = _pair(x, y, (0.105 * person.nose_width, 0.6 * person.nose_length + 0.1), (0.055, 0.026))
    skin *= 1 - 0.75 * nostril[..., None]
    coarse = cv2.resize(rng.standard_normal((SIDE // 8, SIDE // 8)).astype(np.float32), (SIDE, SIDE))
    fine = _blur(rng.standard_normal((SIDE, SIDE)).astype(np.float32), 0.012)
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


def _strands(x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    """Fine and coarse streaks that run from the crown outwards, about 0 with deviation near 1."""
    angle = (np.arctan2(x - 0.15, -(y + 1.2)) / np.pi + 1) * 0.5
    radius = np.hypot(x - 0.15, y + 1.2)
    streaks = np.zeros_like(x)
    for around, outwards, weight in ((90, 4, 0.6), (420, 6, 0.6)):
        noise = rng.standard_normal((outwards, around)).astype(np.float32)
        columns, rows = angle * (around - 1), radius / 3.0 * (outwards - 1)
        streaks += weight * cv2.remap(noise, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return streaks


def _hair_colour(person: Identity, x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    shine = bump(x, y, (np.sign(person.light[0]) * 0.5, -1.55), (0.7, 0.25))
    bright = 0.75 + 0.22 * _strands(x, y, rng) + 0.55 * shine - 0.3 * ramp(np.abs(x), 0.9, 1.5)
    return np.clip(bright, 0.15, 2.2)[..., None] * np.array(person.hair, np.float32)


def _back_hair(person: Identity, x: Floats, y: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    colour = _hair_colour(person, x, y, rng) * 0.6
    if person.cut == "bun":
        alpha = np.clip((0.5 - np.hypot(x / 1.1, y + 2.15)) * PIXELS_PER_UNIT, 0, 1)
        return colour, alpha.astype(np.float32)
    if person.cut in ("short", "receding"):
        return colour, np.zeros_like(x)
    reach = 2.5 if person.cut == "long" else 1.3
    width = np.interp(y, [-1.9, -1.2, 0.0, 1.2, 2.6], [0.6, 1.25, 1.36, 1.42, 1.2]) * person.width
    edge = width + 0.05 * np.sin(y * 9) * ramp(y, 0, 2)
    ragged = reach + 0.12 * _strands(x, y, rng) + 0.25 * ramp(np.abs(x), 0.8, 1.5)
    alpha = np.clip((edge - np.abs(x)) * 30, 0, 1) * np.clip((ragged - y) * 12, 0, 1) * ramp(y, -1.8, -1.6)
    return colour, alpha.astype(np.float32)


def _front_hair(person: Identity, x: Floats, y: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    thick = {"receding": 0.03, "bun": 0.10}.get(person.cut, 0.17)
    outer = half_width(person, (y + 0.25) / (1 + thick) - 0.25) * (1 + 0.8 * thick)
    ragged = 0.05 * _strands(x, y, rng)
    across = np.abs(x) / (1.12 * person.width)
    crown = {"receding": -1.45, "fringe": -0.72}.get(person.cut, -1.12)
    sides = {"long": 2.2, "fringe": 1.1, "bun": -0.1, "short": 0.1}.get(person.cut, -0.2)
    round_by = 0.1 if person.cut == "fringe" else 0.5
    line = crown + round_by * across**2 + (sides - crown) * ramp(across, 0.76, 1.02)
    alpha = np.clip((outer + 0.3 * ragged * (outer > 0.2) - np.abs(x)) * 35, 0, 1) * np.clip(
        (line + ragged - y) * 14, 0, 1
    )
    if person.cut in ("long", "fringe"):
        width = np.interp(y, [-1.0, 0.0, 1.2, 2.6], [1.2, 1.3, 1.34, 1.1]) * person.width
        curtain = np.clip((width - np.abs(x)) * 30, 0, 1) * np.clip((np.abs(x) - width + 0.3 + ragged) * 16, 0, 1)
        alpha = np.maximum(alpha, curtain * ramp(y, sides + 0.1, sides - 0.2) * ramp(y, -1.2, -0.6))
    return _hair_colour(person, x, y, rng), alpha.astype(np.float32)


def _ears(person: Identity, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    from_centre = np.hypot((np.abs(x) - 1.1 * person.width) / 0.17, (y - 0.2) / 0.36)
    hollow = np.hypot((np.abs(x) - 1.14 * person.width) / 0.09, (y - 0.17) / 0.22)
    bright = 0.78 - 0.28 * np.exp(-(hollow**2)) - 0.15 * ramp(from_centre, 0.8, 1.0)
    colour = bright[..., None] * np.array(person.skin, np.float32) * np.array([1.0, 0.93, 0.92], np.float32)
    return colour, np.clip((1 - from_centre) * 12, 0, 1).astype(np.float32)


def _neck(person: Identity, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    width = person.width * person.jaw * np.interp(y, [1.2, 1.8, 2.1, 2.45], [0.68, 0.64, 0.69, 1.0])
    across = np.clip(np.abs(x) / width, 0, 1)
    turned = 0.2 * np.sign(person.light[0]) * x / width
    bright = 0.42 + 0.42 * np.sqrt(1 - 0.9 * across**2) + turned - 0.34 * ramp(y, 2.15, 1.6)
    colour = bright[..., None] * np.array(person.skin, np.float32)
    return colour, (np.clip((width - np.abs(x)) * 40, 0, 1) * ramp(y, 1.0, 1.2)).astype(np.float32)


def _clothes(person: Identity, x: Floats, y: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    shoulder = np.interp(
        np.abs(x), [0.0, 0.3, 0.62, 0.8, 1.5, 2.2, 2.6, 2.9], [2.36, 2.3, 2.06, 2.1, 2.3, 2.55, 2.95, 3.8]
    )
    folds = cv2.resize(rng.standard_normal((10, 14)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    bright = 0.75 + 0.12 * folds - 0.25 * ramp(np.abs(x), 1.4, 2.8) + 0.12 * np.sign(person.light[0]) * np.tanh(x)
    colour = np.clip(bright, 0.1, 1.4)[..., None] * np.array(person.cloth, np.float32)
    return colour, np.clip((y - shoulder) * 40, 0, 1).astype(np.float32)


def _room(person: Identity, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """An unsharp room: a wall with light falling off, and a few pieces of furniture."""
    wall = np.empty((80, 80, 3), np.float32)
    wall[:] = person.wall
    for _ in range(rng.integers(2, 6)):
        left, top = rng.integers(-10, 75), rng.integers(0, 70)
        tint = np.array(person.wall) * rng.uniform(0.5, 1.15) * (0.9 + 0.2 * rng.random(3))
        wall[top : top + rng.integers(8, 60), max(0, left) : max(0, left + rng.integers(5, 30))] = tint
    columns = np.linspace(-1, 1, 80, dtype=np.float32)[None, :, None]
    wall *= 0.92 + 0.14 * columns * np.sign(person.light[0])
    soft = cv2.resize(cv2.GaussianBlur(wall, (0, 0), 1.6), (320, 320), interpolation=cv2.INTER_CUBIC)
    return (np.clip(soft, 0, 1) * 255).astype(np.uint8)


def _creases(person: Identity, x: Floats, y: Floats) -> dict[str, Floats]:
    """Folds of the skin by action: dark lines with a light rim, deeper with age."""
    deep = 0.5 + 0.9 * person.age
    side = np.abs(x)
    fold = 0.3 + 0.24 * ramp(y, 0.62, 1.15) + 0.02
    nasolabial = (np.exp(-(((side - fold) / 0.035) ** 2)) - 0.5 * np.exp(-(((side - fold - 0.09) / 0.07) ** 2))) * (
        ramp(y, 0.58, 0.75) * ramp(y, 1.2, 0.98)
    )
    crow = np.cos((y - 0.04) * 44) * _pair(x, y, (0.9, 0.04), (0.07, 0.1)) + _pair(x, y, (0.5, 0.19), (0.17, 0.025))
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
