"""Draws the frames of a video: a painted person with facial actions and head movement.

Per frame: the actions displace the skin (soft fields, small), the head turns its relief (parallax by depth), and one
``cv2.remap`` samples every pixel from the portrait. Eyes and mouth are then drawn as formulas of the face coordinates
of each pixel, so that their edges stay sharp wherever the head points. The trade-off: turns beyond about 20 degrees
would need a second side of the head; the actor does not turn further.

Shapes: ``T`` frames, ``A`` actions in the order of ``ACTIONS``; frames are ``(320, 320, 3)`` uint8 RGB.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from mien.synthetic.canvas import LEFT, PIXELS_PER_UNIT, SPAN, TOP, Floats, blur, bump, ramp
from mien.synthetic.eyes import draw_eye
from mien.synthetic.identity import Identity
from mien.synthetic.mouth import draw_mouth
from mien.synthetic.patch import Patch
from mien.synthetic.portrait import paint

Image = npt.NDArray[np.uint8]
Box = tuple[slice, slice]

SIZE = 320
ACTIONS = (
    *("smile", "cheek", "brow_inner", "brow_outer", "brow_lower", "squint", "wide", "jaw", "press", "corner_down"),
    *("pucker", "nose", "blink", "gaze_x", "gaze_y", "yaw", "pitch", "roll", "shift_x", "shift_y", "lean"),
)
"""Facial actions from 0 (rest) to 1 (full), gaze from -1 to 1, head turns in degrees, head shifts in pupil distances,
lean towards the camera as a share of the size."""

COARSE = 64
"""Side of the grid on which movement is worked out before it is resized to the frame."""

UNITS_PER_PIXEL = 1 / 55.0
EYES_AT = 0.46
"""Height of the eyes in the frame, as a share from the top."""

NECK_AT = 1.2
"""Height of the joint around which the head turns."""

GRAINS = 8
"""Number of frames of camera noise; they are made once and used in turn."""


class Head:
    """One person in front of one camera; ``draw`` makes one frame."""

    def __init__(self, person: Identity):
        portrait = paint(person)
        self.person, self.image, self.background = person, portrait.image, portrait.background
        self.depth = _coarse(blur(portrait.depth, 0.05))
        self.creases = {ACTIONS.index(name): _boxed(fold * -255) for name, fold in portrait.creases.items()}
        self.pulls = pulls()
        self.follows = ramp(_coarse_plane()[1], 2.5, 1.4)
        self.step = UNITS_PER_PIXEL / person.scale
        middles = np.linspace(0, SIZE - 1, COARSE) + 0.5
        x, y = np.meshgrid((middles - SIZE / 2) * self.step - person.left, (middles - SIZE * EYES_AT) * self.step)
        self.camera = np.stack([x, y], -1).astype(np.float32)
        rng = np.random.default_rng(person.grain)
        grey, coloured = (rng.normal(0, size, (GRAINS, SIZE, SIZE, parts)) for size, parts in ((2.2, 1), (1.2, 3)))
        self.grains = (grey + coloured).astype(np.int16)

    def draw(self, actions: Floats, number: int = 0) -> Image:
        """One frame of ``(A,)`` actions; ``number`` selects the camera noise."""
        act = dict(zip(ACTIONS, actions.tolist(), strict=True))
        places = self._unturn(act)
        face = np.asarray(cv2.resize(places, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR), np.float32)
        image = self._skin(actions, places)
        for side in (-1.0, 1.0):
            box, patch = self._patch(image, face, places, (0.5 * side, 0.0), (0.36, 0.28))
            draw_eye(patch, self.person, act, side)
            image[box] = np.clip(patch.pixels, 0, 255)
        box, patch = self._patch(image, face, places, (0.0, 1.22), (0.66, 0.5))
        draw_mouth(patch, self.person, act)
        image[box] = np.clip(patch.pixels, 0, 255)
        return np.asarray(cv2.add(image, self.grains[number % GRAINS], dtype=cv2.CV_8U), np.uint8)

    def _unturn(self, act: Mapping[str, float]) -> npt.NDArray[np.float32]:
        """Face coordinates ``(COARSE, COARSE, 2)`` seen by the camera: the head's turn undone by fixed-point steps."""
        guess = self.camera
        for _ in range(4):
            follows, z = _look_up(self.follows, guess), _look_up(self.depth, guess)
            moved = _turn(guess[..., 0], guess[..., 1] - NECK_AT, z, act) * follows[..., None]
            guess = (guess + 0.9 * (self.camera - guess - moved)).astype(np.float32)
        return guess

    def _skin(self, actions: Floats, places: Floats) -> Image:
        """The portrait with its creases, displaced by the actions and turned, over the background."""
        pull = (actions @ self.pulls.reshape(len(ACTIONS), -1)).reshape(COARSE, COARSE, 2).astype(np.float32)
        source = places
        for _ in range(2):
            source = places - _look_up(pull, source)
        source = ((source - (LEFT, TOP)) * PIXELS_PER_UNIT - 0.5).astype(np.float32)
        wanted = cv2.resize(source, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        x, y = cv2.split(wanted)
        seen = cv2.remap(self._creased(actions), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        behind = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(seen, 3)), cv2.COLOR_GRAY2RGB)
        over = cv2.add(cv2.multiply(self.background, behind, scale=1 / 255), cv2.cvtColor(seen, cv2.COLOR_RGBA2RGB))
        return np.asarray(over, np.uint8)

    def _creased(self, actions: Floats) -> npt.NDArray[np.uint8]:
        """The portrait with the folds that the actions make."""
        shown = [which for which in self.creases if actions[which] > 0.03]
        portrait = self.image.copy() if shown else self.image
        for which in shown:
            box, fold = self.creases[which]
            shade = (fold * actions[which]).astype(np.float32)
            shades = cv2.merge([shade, shade, shade, np.zeros_like(shade)])
            portrait[box] = cv2.add(portrait[box], shades, dtype=cv2.CV_8U)
        return portrait

    def _patch(
        self, image: Image, face: Floats, places: Floats, at: tuple[float, float], reach: tuple[float, float]
    ) -> tuple[Box, Patch]:
        """The part of the frame around the pixel that shows ``at``, up to ``reach`` in face units."""
        away = places - np.array(at, np.float32)
        row, column = np.unravel_index(np.einsum("ijk,ijk->ij", away, away).argmin(), (COARSE, COARSE))
        y, x = (round(float(place) * (SIZE - 1) / (COARSE - 1)) for place in (row, column))
        wide, high = (int(far / self.step) + 5 for far in reach)
        box = slice(max(0, y - high), y + high), slice(max(0, x - wide), x + wide)
        return box, Patch(image[box].astype(np.float32), face[box][..., 0], face[box][..., 1], 0.9 / self.step)


def _turn(x: Floats, y: Floats, z: Floats, act: Mapping[str, float]) -> Floats:
    """Displacement of the points ``x, y, z`` (from the neck) by a turned, shifted and leaning head: ``(…, 2)``."""
    yaw, pitch, roll = (np.deg2rad(act[name]) for name in ("yaw", "pitch", "roll"))
    across, front = x * np.cos(yaw) + z * np.sin(yaw), z * np.cos(yaw) - x * np.sin(yaw)
    down = y * np.cos(pitch) + front * np.sin(pitch)
    closer = 1 + act["lean"]
    turned_x = closer * (across * np.cos(roll) - down * np.sin(roll)) + act["shift_x"]
    turned_y = closer * (across * np.sin(roll) + down * np.cos(roll)) + act["shift_y"]
    return np.stack([turned_x - x, turned_y - y], -1)


def draw_frames(person: Identity, actions: Floats) -> Iterator[Image]:
    """Draw the frames of ``(T, A)`` actions, one at a time."""
    head = head_of(person)
    for number, row in enumerate(actions.astype(np.float32)):
        yield head.draw(row, number)


def face_box(person: Identity) -> Box:
    """Rows and columns of a square around a resting face, with a margin for its movements."""
    step = UNITS_PER_PIXEL / person.scale
    x, y, half = SIZE / 2 + person.left / step, SIZE * EYES_AT + 0.6 / step, 1.6 / step
    top, bottom, left, right = (round(edge) for edge in (y - half, y + half, x - half, x + half))
    return slice(max(0, top), bottom), slice(max(0, left), right)


@lru_cache(maxsize=2)
def head_of(person: Identity) -> Head:
    """The painted head of a person; the last two are cached, since a participant's clips are rendered in a row."""
    return Head(person)


def _coarse(field: Floats) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.resize(field, (COARSE, COARSE), interpolation=cv2.INTER_AREA), np.float32)


def _coarse_plane() -> tuple[Floats, Floats]:
    steps = np.linspace(0, SPAN, COARSE, dtype=np.float32)
    x, y = np.meshgrid(LEFT + steps, TOP + steps)
    return x, y


def _look_up(field: Floats, places: Floats) -> Floats:
    """Values of a coarse field at points on the face."""
    looked = ((places - (LEFT, TOP)) * ((COARSE - 1) / SPAN)).astype(np.float32)
    x, y = cv2.split(looked)
    found = cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.float32)


def _boxed(field: Floats) -> tuple[Box, Floats]:
    """The part of a field that is not nearly zero, and where it is."""
    rows, columns = np.nonzero(np.abs(field) > 1)
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    return box, np.ascontiguousarray(field[box], np.float32)


PULLS = (
    ("brow_inner", (0.22, -0.36), (0.24, 0.22), 0.00, -0.21),
    ("brow_outer", (0.72, -0.38), (0.26, 0.22), 0.00, -0.20),
    ("brow_lower", (0.25, -0.34), (0.26, 0.18), -0.08, 0.17),
    ("brow_lower", (0.70, -0.38), (0.25, 0.17), 0.00, 0.08),
    ("cheek", (0.64, 0.42), (0.25, 0.22), 0.02, -0.10),
    ("smile", (0.55, 0.95), (0.25, 0.25), 0.08, -0.11),
    ("corner_down", (0.45, 1.20), (0.22, 0.20), 0.02, 0.12),
    ("nose", (0.20, 0.50), (0.16, 0.20), 0.02, -0.07),
    ("press", (0.00, 1.55), (0.30, 0.15), 0.00, -0.06),
    ("pucker", (0.45, 1.08), (0.20, 0.25), -0.08, 0.00),
)
"""Action, where on either side of the face, how wide, and the displacement outwards and down by a full action."""


def pulls() -> npt.NDArray[np.float32]:
    """Displacement of the skin by a full action: ``(A, COARSE, COARSE, 2)`` in face units, right and down."""
    x, y = _coarse_plane()
    fields = np.zeros((len(ACTIONS), COARSE, COARSE, 2), np.float32)
    for action, at, size, outwards, down in PULLS:
        hill = bump(np.abs(x), y, at, size)
        fields[ACTIONS.index(action)] += np.stack([np.sign(x) * hill * outwards, hill * down], -1)
    chin = ramp(y, 1.1, 1.5) * ramp(y, 2.3, 1.8) * ramp(np.abs(x), 1.2, 0.75)
    fields[ACTIONS.index("jaw")][..., 1] += 0.30 * chin
    return fields
