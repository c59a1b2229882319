"""Draws an eye: the ball with iris, pupil and glint between two lids, with lashes and the fold above.

Everything is a formula of the coordinates on the face, so that edges stay sharp at any head pose.
"""

from collections.abc import Mapping

import numpy as np

from mien.synthetic.canvas import Floats, ramp
from mien.synthetic.identity import Identity
from mien.synthetic.patch import Patch

HALF_LENGTH = 0.255
WHITE = np.array([0.97, 0.94, 0.92], np.float32)


def draw_eye(patch: Patch, person: Identity, act: Mapping[str, float], side: float) -> None:
    """Draw the eye on one ``side`` of the face (-1 or 1), opened and turned by the actions."""
    x = patch.x * side - 0.5
    along = np.clip(x / HALF_LENGTH, -1, 1)
    y = patch.y + person.eye_tilt * along
    arch = np.sqrt(np.maximum(0.0, 1 - along * along))
    opening = (1 - act["blink"]) * (1 - 0.45 * act["squint"] - 0.15 * act["cheek"] + 0.55 * act["wide"])
    upper = -0.105 * person.eye_height * opening * arch + 0.05 * act["blink"] * arch
    lower = (0.062 * person.eye_height - 0.035 * act["cheek"] - 0.03 * act["squint"]) * arch + 0.004
    lower = np.maximum(lower, upper)
    between = np.clip((y - upper) * patch.soft, 0, 1) * np.clip((lower - y) * patch.soft, 0, 1)
    ball = _ball(patch, person, act, side, x, y, y - upper, along)
    patch.cover(ball * 255, between * (np.abs(x) < HALF_LENGTH))
    reach = ramp(np.abs(x), 0.29, 0.24)
    lashes = 0.82 * _line(y - upper + 0.008, 0.019) + 0.30 * _line(y - lower - 0.008, 0.014)
    fold = 0.30 * _line(y - upper + 0.075 - 0.02 * act["blink"], 0.016) * (1 - 0.5 * act["blink"])
    patch.darken(0.96 * np.minimum(0.9, (lashes + fold) * reach))


def _ball(
    patch: Patch, person: Identity, act: Mapping[str, float], side: float, x: Floats, y: Floats, under: Floats,
    along: Floats,
) -> Floats:  # fmt: skip
    """Colour of the eyeball; ``under`` is the distance below the upper lid, which shades it."""
    shade = 0.86 - 0.42 * np.exp(-np.maximum(0, under) / 0.035) - 0.22 * (along * along) ** 2
    ball = shade[..., None] * WHITE
    gaze_x, gaze_y = act["gaze_x"] * side * 0.08, act["gaze_y"] * 0.05 - 0.012
    distance = np.hypot(x - gaze_x, y - gaze_y)
    iris = patch.edge(0.098 - distance)[..., None]
    rings = (1.15 - 0.75 * np.clip((distance - 0.055) / 0.045, 0, 1)) * (0.55 + 0.45 * ramp(under, 0, 0.07))
    ball = ball * (1 - iris) + iris * rings[..., None] * np.array(person.iris, np.float32) * 1.5
    ball *= 1 - 0.92 * patch.edge(0.042 - distance)[..., None]
    glint = patch.edge(0.02 - np.hypot(x - gaze_x + 0.035 * side, y - gaze_y + 0.04))
    return ball + 0.75 * glint[..., None]


def _line(distance: Floats, width: float) -> Floats:
    return np.exp(-((distance / width) ** 2))
