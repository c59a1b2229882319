"""Draws the frames of a film: a painted person whose face moves by actions and whose head turns.

Per frame: the actions pull the skin about (soft fields, small), the head turns its relief (parallax by depth), and one
``cv2.remap`` looks every pixel up in the portrait. Eyes and mouth are then drawn as formulas of the face coordinates of
each pixel, so that their edges stay sharp wherever the head points. The trade-off: turns beyond about 20 degrees would
need a second side of the head; the actor does not turn further.

Shapes: ``T`` frames, ``A`` actions in the order of ``ACTIONS``; pictures are ``(320, 320, 3)`` uint8 RGB.
"""

from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from mien.data.synth.portrait import LEFT, PIXELS_PER_UNIT, SIDE, SPAN, TOP, Identity, bump, paint, ramp

Floats = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]
Patch = tuple[tuple[slice, slice], Floats, Floats]

SIZE = 320
ACTIONS = (
    *("smile", "cheek", "brow_inner", "brow_outer", "brow_lower", "squint", "wide", "jaw", "press", "corner_down"),
    *("pucker", "nose", "blink", "gaze_x", "gaze_y", "yaw", "pitch", "roll", "shift_x", "shift_y", "lean"),
)
"""Facial actions from 0 (rest) to 1 (full), gaze from -1 to 1, head turns in degrees, head shifts in pupil distances, lean towards
the camera as a share of the size."""

COARSE = 64
"""Side of the grid on which movement is worked out before it is stretched to the picture."""

UNITS_PER_PIXEL = 1 / 55.0
EYES_AT = 0.46
"""Height of the eyes in the picture, as a share from the top."""


class Head:
    """One person in front of one camera.

    ``draw(actions)`` makes one frame; ``noise`` frames of camera grain are made once and cycled.
    """

    def __init__(self, person: Identity):
        portrait = paint(person)
        self.person, self.picture, self.room = person, portrait.picture, portrait.room
        self.depth = _coarse(cv2.GaussianBlur(portrait.depth, (0, 0), 0.05 * PIXELS_PER_UNIT))
        self.creases = {ACTIONS.index(name): _boxed(fold * -255) for name, fold in portrait.creases.items()}
        self.pulls = _pulls()
        self.follows = ramp(_coarse_plane()[1], 2.5, 1.4)
        step = UNITS_PER_PIXEL / person.scale
        places = (np.arange(SIZE) + 0.5).astype(np.float32)
        rows = (np.linspace(0, SIZE - 1, COARSE) + 0.5).astype(np.float32)
        x, y = np.meshgrid((rows - SIZE / 2) * step - person.left, (rows - SIZE * EYES_AT) * step)
        self.camera = np.stack([x, y], -1).astype(np.float32)
        self.step, self.columns, self.rows = step, places, places
        rng = np.random.default_rng(person.grain)
        self.noise = rng.normal(0, 2.2, (8, SIZE, SIZE, 1)).astype(np.int16) + rng.normal(
            0, 1.2, (8, SIZE, SIZE, 3)
        ).astype(np.int16)

    def draw(self, actions: Floats, number: int = 0) -> Picture:
        """One frame of ``(A,)`` actions; ``number`` chooses the camera grain."""
        act = dict(zip(ACTIONS, actions.tolist(), strict=True))
        places = self._unturn(act)
        face = cv2.resize(places, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        picture = self._skin(actions, places)
        self._eye(picture, face, places, act, -1.0)
        self._eye(picture, face, places, act, 1.0)
        self._mouth(picture, face, places, act)
        grain = self.noise[number % len(self.noise)]
        return cv2.add(picture, grain, dtype=cv2.CV_8U)

    def _unturn(self, act: dict[str, float]) -> Floats:
        """Face coordinates ``(COARSE, COARSE, 2)`` seen by the camera: the head's turn undone by fixed-point steps."""
        yaw, pitch, roll = (np.deg2rad(act[name]) for name in ("yaw", "pitch", "roll"))
        goal, guess = self.camera, self.camera
        for _ in range(4):
            looked = (guess - (LEFT, TOP)) * ((COARSE - 1) / SPAN)
            follows, z = (
                cv2.remap(field, looked.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                for field in (self.follows, self.depth)
            )
            x, y = guess[..., 0], guess[..., 1] - 1.2
            turned = x * np.cos(yaw) + z * np.sin(yaw)
            z = z * np.cos(yaw) - x * np.sin(yaw)
            lifted = y * np.cos(pitch) + z * np.sin(pitch)
            closer = 1 + act["lean"]
            right = closer * (turned * np.cos(roll) - lifted * np.sin(roll)) + act["shift_x"]
            down = closer * (turned * np.sin(roll) + lifted * np.cos(roll)) + act["shift_y"]
            moved = np.stack([right - x, down - y], -1) * follows[..., None]
            guess = (guess + 0.9 * (goal - guess - moved)).astype(np.float32)
        return guess

    def _skin(self, actions: Floats, places: Floats) -> Picture:
        """The portrait with its creases, pulled by the actions and turned, over the room."""
        portrait = self.picture
        if any(actions[which] > 0.03 for which in self.creases):
            portrait = portrait.copy()
            for which, (box, fold) in self.creases.items():
                if actions[which] > 0.03:
                    shade = fold * actions[which]
                    shades = cv2.merge([shade, shade, shade, np.zeros_like(shade)])
                    portrait[box] = cv2.add(portrait[box], shades, dtype=cv2.CV_8U)
        pull = (actions @ self.pulls.reshape(len(ACTIONS), -1)).reshape(COARSE, COARSE, 2).astype(np.float32)
        source = places
        for _ in range(2):
            looked = ((source - (LEFT, TOP)) * ((COARSE - 1) / SPAN)).astype(np.float32)
            source = places - cv2.remap(pull, looked, None, cv2.INTER_LINEAR)
        source = ((source - (LEFT, TOP)) * PIXELS_PER_UNIT - 0.5).astype(np.float32)
        wanted = cv2.resize(source, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        seen = cv2.remap(portrait, wanted, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        behind = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(seen, 3)), cv2.COLOR_GRAY2RGB)
        return cv2.add(cv2.multiply(self.room, behind, scale=1 / 255), cv2.cvtColor(seen, cv2.COLOR_RGBA2RGB))

    def _patch(self, face: Floats, places: Floats, centre: tuple[float, float], reach: tuple[float, float]) -> Patch:
        """The pixels around the place that shows ``centre``, as far as ``reach`` in face units, with their ``x, y``."""
        away = places - np.array(centre, np.float32)
        row, column = np.unravel_index(np.einsum("ijk,ijk->ij", away, away).argmin(), (COARSE, COARSE))
        y, x = (round(float(place) * (SIZE - 1) / (COARSE - 1)) for place in (row, column))
        wide, high = (int(far / self.step) + 5 for far in reach)
        where = slice(max(0, y - high), y + high), slice(max(0, x - wide), x + wide)
        return where, face[where][..., 0], face[where][..., 1]

    def _eye(self, picture: Picture, face: Floats, places: Floats, act: dict[str, float], side: float) -> None:
        """Draw one eye: ball, iris, pupil and glint between two lids, with lashes and the fold above."""
        person = self.person
        where, x, y = self._patch(face, places, (0.5 * side, 0.0), (0.36, 0.28))
        x, soft = x * side - 0.5, 0.9 / self.step
        along = np.clip(x / 0.255, -1, 1)
        y = y + person.eye_tilt * along
        arch = np.sqrt(np.maximum(0.0, 1 - along * along))
        opening = (1 - act["blink"]) * (1 - 0.45 * act["squint"] - 0.15 * act["cheek"] + 0.4 * act["wide"])
        upper = -0.105 * person.eye_height * opening * arch + 0.05 * act["blink"] * arch
        lower = (0.062 * person.eye_height - 0.035 * act["cheek"] - 0.03 * act["squint"]) * arch + 0.004
        lower = np.maximum(lower, upper)
        white = np.clip((y - upper) * soft, 0, 1) * np.clip((lower - y) * soft, 0, 1) * (np.abs(x) < 0.255)
        ball = np.empty((*x.shape, 3), np.float32)
        shade = 0.86 - 0.42 * np.exp(-np.maximum(0, y - upper) / 0.035) - 0.22 * (along * along) ** 2
        ball[:] = shade[..., None] * np.array([0.97, 0.94, 0.92], np.float32)
        gaze = np.array([act["gaze_x"] * side * 0.08, act["gaze_y"] * 0.05 - 0.012])
        distance = np.hypot(x - gaze[0], y - gaze[1])
        iris = np.clip((0.098 - distance) * soft + 0.5, 0, 1)[..., None]
        rings = (1.15 - 0.75 * np.clip((distance - 0.055) / 0.045, 0, 1)) * (0.55 + 0.45 * ramp(y - upper, 0, 0.07))
        ball = ball * (1 - iris) + iris * rings[..., None] * np.array(person.iris, np.float32) * 1.5
        ball *= 1 - 0.92 * np.clip((0.042 - distance) * soft + 0.5, 0, 1)[..., None]
        glint = np.clip((0.02 - np.hypot(x - gaze[0] + 0.035 * side, y - gaze[1] + 0.04)) * soft + 0.5, 0, 1)
        ball += 0.75 * glint[..., None]
        region = picture[where].astype(np.float32)
        region += (ball * 255 - region) * white[..., None]
        reach = (np.abs(x) < 0.27) * ramp(np.abs(x), 0.29, 0.24)
        lash = 0.82 * np.exp(-(((y - upper + 0.008) / 0.019) ** 2)) * reach
        lash += 0.30 * np.exp(-(((y - lower - 0.008) / 0.014) ** 2)) * reach
        fold = (
            0.30
            * np.exp(-(((y - upper + 0.075 - 0.02 * act["blink"]) / 0.016) ** 2))
            * reach
            * (1 - 0.5 * act["blink"])
        )
        region *= 1 - np.clip(lash + fold, 0, 0.9)[..., None] * np.array([0.92, 0.97, 1.0], np.float32)
        picture[where] = np.clip(region, 0, 255)

    def _mouth(self, picture: Picture, face: Floats, places: Floats, act: dict[str, float]) -> None:
        """Draw the lips, and between them teeth, tongue and the dark of the mouth."""
        person = self.person
        where, x, y = self._patch(face, places, (0.0, 1.22), (0.66, 0.5))
        soft = 0.9 / self.step
        smile, down, jaw = act["smile"], act["corner_down"], act["jaw"]
        width = 0.40 * person.mouth_width * (1 + 0.30 * smile - 0.30 * act["pucker"] - 0.10 * jaw + 0.04 * down)
        along = x / width
        within = np.clip(1 - along * along, 0, 1)
        root = np.sqrt(within)
        bow = 1.07 - (0.17 * smile - 0.12 * down) * np.clip(along**2, 0, 1.2) + 0.045 * smile
        thick = person.lip_height * (1 - 0.62 * act["press"] - 0.22 * smile + 0.35 * act["pucker"])
        gap = 0.42 * jaw * 0.5 * (root + within) + 0.055 * smile * within * (1 - act["press"])
        upper_in = bow - 0.22 * gap - 0.02 * smile * within
        lower_in = bow + 0.78 * gap
        cupid = 0.022 * (np.exp(-((along / 0.16) ** 2)) - 0.9 * np.exp(-(((np.abs(along) - 0.28) / 0.2) ** 2)))
        upper_out = upper_in - (0.105 * 0.5 * (root + within) - cupid * within) * thick
        lower_out = lower_in + 0.135 * thick * (0.75 * root + 0.25 * within)
        inside = np.clip((y - upper_in) * soft + 0.5, 0, 1) * np.clip((lower_in - y) * soft + 0.5, 0, 1) * (within > 0)
        lips = np.clip((y - upper_out) * soft + 0.5, 0, 1) * np.clip((lower_out - y) * soft + 0.5, 0, 1)
        lips *= np.clip(within * 9, 0, 1)
        high = np.clip((y - upper_out) / np.maximum(upper_in - upper_out, 1e-3), 0, 1)
        low = np.clip((y - lower_in) / np.maximum(lower_out - lower_in, 1e-3), 0, 1)
        above = y < (upper_in + lower_in) / 2
        bright = np.where(above, 0.84 - 0.28 * high, 0.90 + 0.28 * np.sin(np.pi * low) - 0.28 * low)
        region = picture[where].astype(np.float32)
        grey = region.mean(-1, keepdims=True) / (255 * np.mean(person.skin))
        colour = np.array(person.lips, np.float32) * bright[..., None] * np.clip(0.55 + 0.45 * grey, 0.4, 1.3) * 255
        region += (colour - region) * (0.9 * lips)[..., None]
        depth = lower_in - upper_in
        teeth = np.clip((upper_in + 0.035 + 0.09 * root - y) * soft * 0.6 + 0.5, 0, 1) * (np.abs(along) < 0.8)
        tongue = (
            ramp(y, 0, 1) * np.clip((y - (lower_in - 0.35 * depth)) * soft * 0.4, 0, 1) * ramp(np.abs(along), 0.75, 0.4)
        )
        mouth = np.empty((*x.shape, 3), np.float32)
        mouth[:] = (58, 20, 22)
        mouth += tongue[..., None] * np.array([95, 45, 45], np.float32)
        enamel = (205 - 90 * np.abs(along) - 25 * np.exp(-4 * np.sin(x * 38) ** 2))[..., None] * np.array(
            [1, 0.97, 0.91], np.float32
        )
        mouth += (enamel - mouth) * (teeth * ramp(depth, 0.02, 0.06))[..., None]
        mouth *= (0.45 + 0.55 * ramp(y - upper_in, 0, 0.05))[..., None]
        region += (mouth - region) * inside[..., None]
        line = np.exp(-(((y - bow) / 0.016) ** 2)) * ramp(gap, 0.05, 0.0) * ramp(np.abs(along), 1.06, 0.95)
        corner = bump(np.abs(along), (y - bow) / width, (1.0, 0.0), (0.07, 0.07))
        region *= 1 - np.clip(0.6 * line + 0.4 * corner, 0, 1)[..., None]
        under = bump(x, y, (0.0, 0.0), (0.24, 1.0)) * np.exp(-(((y - lower_out - 0.05) / 0.04) ** 2))
        region *= 1 - 0.16 * under[..., None]
        picture[where] = np.clip(region, 0, 255)


def draw_frames(person: Identity, actions: Floats) -> Iterator[Picture]:
    """Draw a film of ``(T, A)`` actions, one picture at a time."""
    head = head_of(person)
    for number, row in enumerate(actions.astype(np.float32)):
        yield head.draw(row, number)


def face_box(person: Identity) -> tuple[slice, slice]:
    """Rows and columns of a square around a resting face, with a margin for its movements."""
    step = UNITS_PER_PIXEL / person.scale
    x, y, half = SIZE / 2 + person.left / step, SIZE * EYES_AT + 0.6 / step, 1.6 / step
    top, bottom, left, right = (round(edge) for edge in (y - half, y + half, x - half, x + half))
    return slice(max(0, top), bottom), slice(max(0, left), right)


@lru_cache(maxsize=4)
def head_of(person: Identity) -> Head:
    """The painted head of a person; the last few are kept, since a participant is filmed many times."""
    return Head(person)


def _coarse(field: Floats) -> Floats:
    return cv2.resize(field, (COARSE, COARSE), interpolation=cv2.INTER_AREA)


def _coarse_plane() -> tuple[Floats, Floats]:
    steps = np.linspace(0, SPAN, COARSE, dtype=np.float32)
    x, y = np.meshgrid(LEFT + steps, TOP + steps)
    return x, y


def _boxed(field: Floats) -> tuple[tuple[slice, slice], Floats]:
    """The part of a field that is not nearly zero, and where it is."""
    rows, columns = np.nonzero(np.abs(field) > 1)
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    return box, np.ascontiguousarray(field[box])


def _pulls() -> Floats:
    """Where a full action moves the skin: ``(A, COARSE, COARSE, 2)`` in face units, right and down."""
    x, y = _coarse_plane()
    side, sign = np.abs(x), np.sign(x)
    fields = np.zeros((len(ACTIONS), COARSE, COARSE, 2), np.float32)

    def pull(action: str, at: tuple[float, float], size: tuple[float, float], out: float, down: float) -> None:
        hill = bump(side, y, at, size)
        fields[ACTIONS.index(action)] += np.stack([sign * hill * out, hill * down], -1)

    pull("brow_inner", (0.22, -0.36), (0.24, 0.2), 0.0, -0.16)
    pull("brow_outer", (0.72, -0.38), (0.26, 0.2), 0.0, -0.15)
    pull("brow_lower", (0.25, -0.34), (0.26, 0.17), -0.07, 0.13)
    pull("brow_lower", (0.7, -0.38), (0.25, 0.17), 0.0, 0.05)
    pull("cheek", (0.64, 0.42), (0.25, 0.22), 0.02, -0.10)
    pull("smile", (0.55, 0.95), (0.25, 0.25), 0.08, -0.11)
    pull("corner_down", (0.45, 1.2), (0.22, 0.18), 0.03, 0.08)
    pull("nose", (0.2, 0.5), (0.16, 0.2), 0.02, -0.07)
    pull("press", (0.0, 1.55), (0.3, 0.15), 0.0, -0.06)
    pull("pucker", (0.45, 1.08), (0.2, 0.25), -0.08, 0.0)
    drop = ramp(y, 1.1, 1.5) * ramp(y, 2.3, 1.8) * ramp(side, 1.2, 0.75)
    fields[ACTIONS.index("jaw")][..., 1] += 0.30 * drop
    return fields
