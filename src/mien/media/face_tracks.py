"""Frames → one person's face: square crops for vision, movement for motion, through the whole clip.

Who the main person is can only be said at the end, so everybody seen is followed and everybody's crops are kept (on
disk), and then the person with the most face – size summed over frames – is chosen. People are told apart by place
alone, not by identity: a face continues the person whose face was nearest a moment ago. A person who vanishes for a
while, or jumps at a cut, becomes a second record that is joined to the first only if the two were never seen together
and are of similar size. So somebody standing beside the main person is never taken for them, but two people shown in
turns by cuts may be.

Shapes: ``T`` vision frames with a face, ``U`` motion frames with a face, ``S`` side of a crop.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mien.config import FaceSettings
from mien.media.crops import Box, Chosen, CropSpool, cut, resize
from mien.media.decode import Frame
from mien.media.face_detection import Face, FaceFinder
from mien.schema import MOTION_WIDTH, FaceTrack

PATIENCE_SECONDS = 1.0
"""A person unseen for longer is no longer looked for where they were."""

NEWCOMER_SECONDS = 0.25
"""How often others are looked for while everybody who is followed stays where they were."""

FULL_RANGE_SECONDS = 0.25
"""Least time between two looks with the full-range detector while it finds nobody."""

STEADY_SECONDS = 0.15
"""Time constant with which the crop follows the face: it neither trembles nor breathes with the jaw."""

SIMILAR_SIZE = 2.0
"""Records whose mean face sizes differ by a larger factor are not joined."""


@dataclass(eq=False)
class FaceTracklet:
    """Somebody followed from frame to frame; indices point into the spool that everybody shares."""

    first: float
    last: float
    box: Box
    steady: Box
    sides: list[float] = field(default_factory=list)
    crops: list[int] = field(default_factory=list)
    crop_seconds: list[float] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    motion: list[npt.NDArray[np.float32]] = field(default_factory=list)
    motion_seconds: list[float] = field(default_factory=list)

    @property
    def presence(self) -> float:
        """How much face there was: its side summed over the frames in which it was seen."""
        return sum(self.sides)


def track_faces(frames: Iterable[Frame], finder: FaceFinder, settings: FaceSettings) -> FaceTrack:
    """The main person's face through a clip, in one pass and with bounded memory.

    Args:
        frames: in order of time.
        finder: the detectors.
        settings: crop size, margin, and whether to use the full-range detector.

    Returns:
        The track; ``boxes`` are the steadied boxes, without margin, that the crops were cut around. With nobody in
        the clip it has no crops and no rows, and ``people`` is 0.
    """
    spool = CropSpool(settings.crop_size)
    everybody: list[FaceTracklet] = []
    looked = {"vision": 0, "motion": 0}
    people, next_newcomers, next_full_range = 0, -math.inf, -math.inf
    for frame in frames:
        for name in looked:
            looked[name] += name in frame.wanted
        recent = [person for person in everybody if frame.seconds - person.last <= PATIENCE_SECONDS]
        thorough = settings.full_range and frame.seconds >= next_full_range
        newcomers = frame.seconds >= next_newcomers
        if newcomers:
            next_newcomers = frame.seconds + NEWCOMER_SECONDS
        near = [person.box for person in recent]
        faces = finder.find(frame.rgb, near, newcomers=newcomers, thorough=thorough)
        if thorough and not faces:
            next_full_range = frame.seconds + FULL_RANGE_SECONDS
        people = max(people, len(faces))
        for person, face in _recognise(recent, faces):
            if person is None:
                person = FaceTracklet(frame.seconds, frame.seconds, face.box, face.box)
                everybody.append(person)
            _record(person, face, frame, spool, settings)
    main = _main(everybody)
    return FaceTrack(
        crops=Chosen(spool, [index for person in main for index in person.crops]),
        crop_seconds=np.array([at for person in main for at in person.crop_seconds], np.float32),
        vision_frames=looked["vision"],
        motion=np.array([row for person in main for row in person.motion], np.float32).reshape(-1, MOTION_WIDTH),
        motion_seconds=np.array([at for person in main for at in person.motion_seconds], np.float32),
        motion_frames=looked["motion"],
        people=people,
        boxes=np.array([box for person in main for box in person.boxes], np.float32).reshape(-1, 4),
    )


def _record(person: FaceTracklet, face: Face, frame: Frame, spool: CropSpool, settings: FaceSettings) -> None:
    weight = -math.expm1((person.last - frame.seconds) / STEADY_SECONDS) if person.sides else 1.0
    person.steady = _between(person.steady, face.box, weight)
    person.box, person.last = face.box, frame.seconds
    person.sides.append(_side(face.box))
    if "vision" in frame.wanted:
        square, _ = cut(frame.rgb, person.steady, settings.margin)
        person.crops.append(spool.append(resize(square, settings.crop_size)))
        person.crop_seconds.append(frame.seconds)
        person.boxes.append(person.steady)
    if "motion" in frame.wanted:
        person.motion.append(np.concatenate([face.blendshapes, face.pose]))
        person.motion_seconds.append(frame.seconds)


def _recognise(people: Sequence[FaceTracklet], faces: Sequence[Face]) -> list[tuple[FaceTracklet | None, Face]]:
    """Each face with the person it continues, nearest pairs first; ``None`` where it is a newcomer.

    A face may have moved by its own side since it was last seen, not more.
    """
    pairs = sorted(
        (distance, who, which)
        for who, person in enumerate(people)
        for which, face in enumerate(faces)
        if (distance := _distance(person.box, face.box)) <= 1
    )
    who_is: dict[int, int] = {}
    for _, who, which in pairs:
        if which not in who_is and who not in who_is.values():
            who_is[which] = who
    return [(people[who_is[which]] if which in who_is else None, face) for which, face in enumerate(faces)]


def _main(everybody: Sequence[FaceTracklet]) -> list[FaceTracklet]:
    """The most present person's records, in order of time."""
    chosen: list[FaceTracklet] = []
    for person in sorted(everybody, key=lambda person: -person.presence):
        apart = all(person.last < other.first or other.last < person.first for other in chosen)
        if apart and (not chosen or _similar(person, chosen[0])):
            chosen.append(person)
    return sorted(chosen, key=lambda person: person.first)


def _similar(one: FaceTracklet, other: FaceTracklet) -> bool:
    means = [person.presence / len(person.sides) for person in (one, other)]
    return max(means) <= SIMILAR_SIZE * min(means)


def _side(box: Box) -> float:
    return max(box[2] - box[0], box[3] - box[1])


def _distance(one: Box, other: Box) -> float:
    """Between the boxes' centres, in sides of the larger box."""
    across = (one[0] + one[2] - other[0] - other[2]) / 2
    down = (one[1] + one[3] - other[1] - other[3]) / 2
    return math.hypot(across, down) / max(_side(one), _side(other))


def _between(old: Box, new: Box, weight: float) -> Box:
    left, top, right, bottom = (a + weight * (b - a) for a, b in zip(old, new, strict=True))
    return left, top, right, bottom
