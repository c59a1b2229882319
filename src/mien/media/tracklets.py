"""Pieces of face tracks, and which of them belong to one person.

A person who disappears for a while, or jumps at a cut, becomes a second tracklet, which is joined to the first only if
the two never appear together and are of similar size.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mien.media.crops import Box
from mien.media.face_detection import Face
from mien.media.speaker import Mouth

SIMILAR_SIZE = 2.0
"""Tracklets with mean face sizes that differ by a larger factor are not joined."""


@dataclass(eq=False)
class FaceTracklet:
    """A face tracked from frame to frame; crops are indices into the shared spool.

    Attributes:
        face: the face when it was last found.
        presence: the face's side, summed over the frames in which it was found; ``found`` is their number.
        seen: the times of these frames, and ``openings`` of the mouth in them.
    """

    first: float
    last: float
    face: Face
    smoothed_box: Box
    presence: float = 0.0
    found: int = 0
    crops: list[int] = field(default_factory=list)
    crop_seconds: list[float] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    motion: list[npt.NDArray[np.float32]] = field(default_factory=list)
    motion_seconds: list[float] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)
    openings: list[float] = field(default_factory=list)

    @property
    def mean_side(self) -> float:
        """The mean side of the face, pixels."""
        return self.presence / self.found

    def forget(self, before: float) -> list[int]:
        """Free crops and motion of earlier frames; returns the crops' indices."""
        lists = (self.crop_seconds, self.motion_seconds, self.seen)
        cropped, moved, seen = (bisect_left(seconds, before) for seconds in lists)
        freed = self.crops[:cropped]
        del self.crops[:cropped], self.crop_seconds[:cropped], self.boxes[:cropped]
        del self.motion[:moved], self.motion_seconds[:moved]
        del self.seen[:seen], self.openings[:seen]
        return freed


def main_person(tracklets: Sequence[FaceTracklet]) -> list[FaceTracklet]:
    """The main person's tracklets, in order of time."""
    chosen: list[FaceTracklet] = []
    for person in sorted(tracklets, key=lambda person: -person.presence):
        apart = all(person.last < other.first or other.last < person.first for other in chosen)
        if apart and (not chosen or _similar(person, chosen[0])):
            chosen.append(person)
    return sorted(chosen, key=lambda person: person.first)


def people_of(tracklets: Sequence[FaceTracklet], most: int) -> list[list[FaceTracklet]]:
    """The tracklets of each person, in order of time; of ``most`` people at most, the one with the most face first."""
    people, left = [], list(tracklets)
    while left and len(people) < most:
        people.append(main_person(left))
        left = [tracklet for tracklet in left if tracklet not in people[-1]]
    return people


def mouth_of(person: Sequence[FaceTracklet]) -> Mouth:
    """The mouth of a person through all their tracklets."""
    seconds = [at for part in person for at in part.seen]
    openings = [opening for part in person for opening in part.openings]
    return Mouth(np.array(seconds), np.array(openings), max(part.mean_side for part in person))


def _similar(one: FaceTracklet, other: FaceTracklet) -> bool:
    means = (one.mean_side, other.mean_side)
    return max(means) <= SIMILAR_SIZE * min(means)
