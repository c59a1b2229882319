"""Paints everything around a face: hair, ears, neck, clothes and the background. Part of ``portrait.py``.

Every layer is ``(colour (SIDE, SIDE, 3), cover (SIDE, SIDE))``, painted over the ones before.
"""

import cv2
import numpy as np
import numpy.typing as npt

from mien.synthetic.canvas import PIXELS_PER_UNIT, SIDE, SPAN, TOP, Floats, bump, ramp
from mien.synthetic.identity import Identity

Layer = tuple[Floats, Floats]


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


def _strands(x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    """Fine and coarse streaks that run down from above the crown, about 0 with deviation near 1."""
    angle = np.clip(np.arctan2(x - 0.15, y + 2.6) / np.pi + 0.5, 0, 1)
    radius = np.hypot(x - 0.15, y + 2.6)
    streaks = np.zeros_like(x)
    for around, outwards, weight in ((110, 5, 0.5), (500, 8, 0.5)):
        noise = rng.standard_normal((outwards, around)).astype(np.float32)
        columns, rows = angle * (around - 1), radius / 4.5 * (outwards - 1)
        streaks += weight * cv2.remap(noise, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return streaks


def _hair_colour(person: Identity, x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    shine = bump(x, y, (np.sign(person.light[0]) * 0.5, -1.55), (0.7, 0.25))
    bright = 0.75 + 0.22 * _strands(x, y, rng) + 0.55 * shine - 0.3 * ramp(np.abs(x), 0.9, 1.5)
    return np.clip(bright, 0.15, 2.2)[..., None] * np.array(person.hair, np.float32)


def back_hair(person: Identity, x: Floats, y: Floats, rng: np.random.Generator) -> Layer:
    """Hair that hangs behind the neck, or the knot on the head."""
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


def front_hair(person: Identity, x: Floats, y: Floats, rng: np.random.Generator) -> Layer:
    """Hair over the skull, down to a ragged hairline, and beside the cheeks when it is long."""
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


def ears(person: Identity, x: Floats, y: Floats) -> Layer:
    """Two ears, mostly behind the head."""
    from_centre = np.hypot((np.abs(x) - 1.1 * person.width) / 0.17, (y - 0.2) / 0.36)
    hollow = np.hypot((np.abs(x) - 1.14 * person.width) / 0.09, (y - 0.17) / 0.22)
    bright = 0.78 - 0.28 * np.exp(-(hollow**2)) - 0.15 * ramp(from_centre, 0.8, 1.0)
    colour = bright[..., None] * np.array(person.skin, np.float32) * np.array([1.0, 0.93, 0.92], np.float32)
    return colour, np.clip((1 - from_centre) * 12, 0, 1).astype(np.float32)


def neck(person: Identity, x: Floats, y: Floats) -> Layer:
    """A neck in the shadow of the chin, wider towards the shoulders."""
    width = person.width * person.jaw * np.interp(y, [1.2, 1.8, 2.1, 2.45], [0.68, 0.64, 0.69, 1.0])
    across = np.clip(np.abs(x) / width, 0, 1)
    turned = 0.2 * np.sign(person.light[0]) * x / width
    bright = 0.42 + 0.42 * np.sqrt(1 - 0.9 * across**2) + turned - 0.34 * ramp(y, 2.15, 1.6)
    colour = bright[..., None] * np.array(person.skin, np.float32)
    return colour, (np.clip((width - np.abs(x)) * 40, 0, 1) * ramp(y, 1.0, 1.2)).astype(np.float32)


def clothes(person: Identity, x: Floats, y: Floats, rng: np.random.Generator) -> Layer:
    """A shirt with soft folds over the shoulders."""
    shoulder = np.interp(
        np.abs(x), [0.0, 0.3, 0.62, 0.8, 1.5, 2.2, 2.6, 2.9], [2.36, 2.3, 2.06, 2.1, 2.3, 2.55, 2.95, 3.8]
    )
    folds = cv2.resize(rng.standard_normal((10, 14)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    bright = 0.75 + 0.12 * folds - 0.25 * ramp(np.abs(x), 1.4, 2.8) + 0.12 * np.sign(person.light[0]) * np.tanh(x)
    colour = np.clip(bright, 0.1, 1.4)[..., None] * np.array(person.cloth, np.float32)
    return colour, np.clip((y - shoulder) * 40, 0, 1).astype(np.float32)


def background(person: Identity, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A blurred room: a wall with light falling off, and a few pieces of furniture."""
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
