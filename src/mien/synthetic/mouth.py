"""Draws a mouth: two lips, and between them teeth, tongue and the dark.

Everything is a formula of the coordinates on the face. Four curves run from corner to corner: the outer and inner edges
of both lips; actions move these curves.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mien.synthetic.canvas import Floats, bump, ramp
from mien.synthetic.identity import Identity
from mien.synthetic.patch import Patch

AT = 1.07
"""Height of the closed mouth below the eyes."""


@dataclass(frozen=True)
class Curves:
    """Edges of the lips above and below each place: ``along`` is -1 and 1 at the corners, ``within`` is 0 there."""

    along: Floats
    within: Floats
    bow: Floats
    gap: Floats
    upper_out: Floats
    upper_in: Floats
    lower_in: Floats
    lower_out: Floats


def draw_mouth(patch: Patch, person: Identity, act: Mapping[str, float]) -> None:
    """Draw the mouth with the given actions."""
    curves = _curves(patch.x, person, act)
    _lips(patch, person, curves)
    _inside(patch, curves)
    y, along = patch.y, np.abs(curves.along)
    closed = np.exp(-(((y - curves.bow) / 0.016) ** 2)) * ramp(curves.gap, 0.05, 0.0) * ramp(along, 1.06, 0.95)
    corner = np.exp(-0.5 * (((along - 1) / 0.07) ** 2 + ((y - curves.bow) / 0.028) ** 2))
    patch.darken(0.6 * closed + 0.4 * corner)
    below = bump(patch.x, patch.x, (0.0, 0.0), (0.34, 0.34)) * np.exp(-(((y - curves.lower_out - 0.05) / 0.04) ** 2))
    patch.darken(0.16 * below)


def _curves(x: Floats, person: Identity, act: Mapping[str, float]) -> Curves:
    smile, down, jaw = act["smile"], act["corner_down"], act["jaw"]
    width = 0.40 * person.mouth_width * (1 + 0.30 * smile - 0.30 * act["pucker"] - 0.10 * jaw + 0.04 * down)
    along = x / width
    square = along * along
    within = np.clip(1 - square, 0, 1)
    root = np.sqrt(within)
    bow = AT - (0.17 * smile - 0.17 * down) * np.minimum(square, 1.2) + 0.045 * smile
    thick = person.lip_height * (1 - 0.62 * act["press"] - 0.22 * smile + 0.35 * act["pucker"])
    gap = 0.21 * jaw * (root + within) + 0.055 * smile * within * (1 - act["press"])
    upper_in, lower_in = bow - 0.22 * gap - 0.02 * smile * within, bow + 0.78 * gap
    peaks = np.exp(-((along / 0.16) ** 2)) - 0.9 * np.exp(-(((np.abs(along) - 0.28) / 0.2) ** 2))
    upper_out = upper_in - (0.0525 * (root + within) - 0.022 * peaks * within) * thick
    lower_out = lower_in + 0.135 * thick * (0.75 * root + 0.25 * within)
    return Curves(along, within, bow, gap, upper_out, upper_in, lower_in, lower_out)


def _lips(patch: Patch, person: Identity, curves: Curves) -> None:
    """The lips in their own colour, lit from above, as bright as the skin around them."""
    y = patch.y
    cover = patch.edge(y - curves.upper_out) * patch.edge(curves.lower_out - y) * np.clip(curves.within * 9, 0, 1)
    high = np.clip((y - curves.upper_out) / np.maximum(curves.upper_in - curves.upper_out, 1e-3), 0, 1)
    low = np.clip((y - curves.lower_in) / np.maximum(curves.lower_out - curves.lower_in, 1e-3), 0, 1)
    upper = y < (curves.upper_in + curves.lower_in) / 2
    bright = np.where(upper, 0.84 - 0.28 * high, 0.90 + 0.28 * np.sin(np.pi * low) - 0.28 * low)
    around = patch.pixels.mean(-1) / (255 * float(np.mean(person.skin)))
    bright = bright * np.clip(0.55 + 0.45 * around, 0.4, 1.3)
    patch.cover(bright[..., None] * np.array(person.lips, np.float32) * 255, 0.9 * cover)


def _inside(patch: Patch, curves: Curves) -> None:
    """The inside of an open mouth: dark, the tongue below, the teeth above."""
    x, y, along = patch.x, patch.y, np.abs(curves.along)
    depth = curves.lower_in - curves.upper_in
    tongue = np.clip((y - curves.lower_in + 0.35 * depth) * patch.soft * 0.4, 0, 1) * ramp(along, 0.75, 0.4)
    mouth = np.array([58, 20, 22], np.float32) + tongue[..., None] * np.array([95, 45, 45], np.float32)
    row = np.clip((curves.upper_in + 0.035 + 0.09 * np.sqrt(curves.within) - y) * patch.soft * 0.6 + 0.5, 0, 1)
    teeth = row * (along < 0.8) * ramp(depth, 0.02, 0.06)
    enamel = 205 - 90 * along - 25 * np.exp(-4 * np.sin(x * 38) ** 2)
    mouth += (enamel[..., None] * np.array([1, 0.97, 0.91], np.float32) - mouth) * teeth[..., None]
    mouth *= (0.45 + 0.55 * ramp(y - curves.upper_in, 0, 0.05))[..., None]
    patch.cover(mouth, patch.edge(y - curves.upper_in) * patch.edge(curves.lower_in - y) * (curves.within > 0))
