"""Tracks one person's face through a clip: square crops for vision, descriptors for motion.

The main person is known only at the end. So all people are tracked and all crops are kept (on disk), and the person
with the most face, face size summed over frames, is chosen, unless another one clearly is who speaks
(``speaker.py``). Tracking uses position, not identity: a face continues the tracklet with the nearest recent face,
and tracklets are joined to people by time and size (``tracklets.py``). So a bystander is never confused with the main
person, but two people shown alternately by cuts may be.

Shapes: ``T`` vision frames with a face, ``U`` motion frames with a face, ``S`` side of a crop.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mien.config import FaceSettings
from mien.media.crops import Box, CropSelection, CropSpool, RecentCrops, cut, resize
from mien.media.face_detection import MAX_FACES, Face, FaceFinder
from mien.media.frames import Frame
from mien.media.speaker import mouth_opening, speaker_of
from mien.media.tracklets import FaceTracklet, main_person, mouth_of, people_of
from mien.schema import MOTION_WIDTH, FaceTrack

PATIENCE_SECONDS = 1.0
"""A tracklet without a face for longer is not continued."""

DETECTION_SECONDS = 0.25
"""Interval at which the detector looks for new faces while all tracked faces are found again."""

FULL_RANGE_SECONDS = 0.25
"""Shortest interval between two runs of the full-range detector while it finds no face."""

SMOOTHING_SECONDS = 0.15
"""Time constant of the crop's position, so that it neither jitters nor changes size with the jaw."""

UPSIDE_DOWN_FRAMES = 3
"""Frames of a clip without a face, a second apart, that are also searched upside down."""

LONGEST_STEP_SECONDS = 1.0
"""Several faces in a frame count until the next frame, but no longer than this."""

SEVERAL_SECONDS = 0.5
"""Several people are noted, and it is looked who of them speaks, when they are in view for this long: a single frame
may be a false detection."""

Hear = Callable[[], npt.NDArray[np.float32] | None]
"""Gives the audio of a clip, ``(N,)`` at 16 kHz, or ``None`` if it has none."""


def track_faces(
    frames: Iterable[Frame], finder: FaceFinder, settings: FaceSettings, hear: Hear = lambda: None
) -> FaceTrack:
    """The main person's face through a clip, in one pass and with bounded memory.

    Args:
        frames: in order of time.
        finder: the detectors.
        settings: crop size, margin, and whether to use the full-range detector.
        hear: gives the clip's audio; called after the frames, if several people are in view.

    Returns:
        The track; ``boxes`` are the smoothed boxes, without margin, around which the crops were cut. Without a face in
        the clip it has no crops and no rows, and ``people`` is 0.
    """
    tracker = FaceTracker(finder, settings, CropSpool(settings.crop_size))
    for frame in frames:
        tracker.add(frame)
    waveform = hear() if tracker.several_seconds >= SEVERAL_SECONDS else None
    return replace(tracker.track(waveform), upside_down=tracker.is_upside_down())


class FaceTracker:
    """Tracks faces frame by frame; ``track`` is the main person's face so far.

    Args:
        finder, settings: as for ``track_faces``.
        spool: where crops are kept.
    """

    def __init__(self, finder: FaceFinder, settings: FaceSettings, spool: CropSpool | RecentCrops) -> None:
        self._finder = finder
        self._settings = settings
        self._spool = spool
        self._tracklets: list[FaceTracklet] = []
        self._faceless: list[Frame] = []
        self._counts = _FaceCounts()
        self._frames = {"vision": 0, "motion": 0}
        self._next_detection = self._next_full_range = -math.inf

    def add(self, frame: Frame) -> None:
        """Find the faces in the next frame, and continue or begin their tracklets."""
        for name in self._frames:
            self._frames[name] += name in frame.wanted
        recent = [person for person in self._tracklets if frame.seconds - person.last <= PATIENCE_SECONDS]
        use_full_range = self._settings.full_range and frame.seconds >= self._next_full_range
        detect_new = frame.seconds >= self._next_detection
        if detect_new:
            self._next_detection = frame.seconds + DETECTION_SECONDS
        previous = [person.face for person in recent]
        faces = self._finder.find(frame.rgb, previous, detect_new=detect_new, use_full_range=use_full_range)
        if use_full_range and not faces:
            self._next_full_range = frame.seconds + FULL_RANGE_SECONDS
        self._counts.add(frame.seconds, len(faces))
        if not self._counts.most and len(self._faceless) < min(UPSIDE_DOWN_FRAMES, frame.seconds + 1):
            self._faceless.append(frame)
        for person, face in _match(recent, faces):
            if person is None:
                person = FaceTracklet(frame.seconds, frame.seconds, face, face.box)
                self._tracklets.append(person)
            _record(person, face, frame, self._spool, self._settings)

    def main_person(self) -> list[FaceTracklet]:
        """The tracklets of the person with the most face so far, in order of time."""
        return main_person(self._tracklets)

    @property
    def several_seconds(self) -> float:
        """For how long more than one face was in view."""
        return self._counts.several_seconds

    def track(self, waveform: npt.NDArray[np.float32] | None = None) -> FaceTrack:
        """The main person's face so far, without what was forgotten; whether it is upside down is not determined.

        Without the audio, the main person is the one with the most face.
        """
        people = people_of(self._tracklets, most=1 if waveform is None else MAX_FACES)
        speaker = None if waveform is None else speaker_of([mouth_of(person) for person in people], waveform)
        main = people[speaker or 0] if people else []
        return FaceTrack(
            crops=CropSelection(self._spool, [index for person in main for index in person.crops]),
            crop_seconds=np.array([at for person in main for at in person.crop_seconds], np.float32),
            vision_frames=self._frames["vision"],
            motion=np.array([row for person in main for row in person.motion], np.float32).reshape(-1, MOTION_WIDTH),
            motion_seconds=np.array([at for person in main for at in person.motion_seconds], np.float32),
            motion_frames=self._frames["motion"],
            people=self._counts.most,
            boxes=np.array([box for person in main for box in person.boxes], np.float32).reshape(-1, 4),
            several_seconds=self.several_seconds,
            speaks=speaker is not None,
        )

    def forget(self, before: float) -> list[int]:
        """Free the crops and motion of frames before a time, of all people; returns the crops' indices."""
        return [index for person in self._tracklets for index in person.forget(before)]

    def is_upside_down(self) -> bool:
        """Whether faces were found only in frames turned by 180 degrees."""
        return not self._counts.most and any(self._finder.find(_turned(frame)) for frame in self._faceless)


def _turned(frame: Frame) -> npt.NDArray[np.uint8]:
    """The frame turned by 180 degrees."""
    return np.ascontiguousarray(frame.rgb[::-1, ::-1])


@dataclass
class _FaceCounts:
    """The number of faces from frame to frame."""

    most: int = 0
    several_seconds: float = 0.0
    _last: float = math.nan
    _step: float = 0.0
    _several: bool = False

    def add(self, seconds: float, faces: int) -> None:
        """Count the faces of the next frame; the last frame counts as long as the one before."""
        if not math.isnan(self._last):
            step = min(seconds - self._last, LONGEST_STEP_SECONDS)
            if self._several:
                self.several_seconds += step - self._step
            self._step = step
        self._last, self._several = seconds, faces > 1
        if self._several:
            self.several_seconds += self._step
        self.most = max(self.most, faces)


def _record(
    person: FaceTracklet, face: Face, frame: Frame, spool: CropSpool | RecentCrops, settings: FaceSettings
) -> None:
    weight = -math.expm1((person.last - frame.seconds) / SMOOTHING_SECONDS) if person.found else 1.0
    person.smoothed_box = _between(person.smoothed_box, face.box, weight)
    person.face, person.last = face, frame.seconds
    person.presence += _side(face.box)
    person.found += 1
    person.seen.append(frame.seconds)
    person.openings.append(mouth_opening(face.landmarks))
    if "vision" in frame.wanted:
        square, _ = cut(frame.rgb, person.smoothed_box, settings.margin)
        person.crops.append(spool.append(resize(square, settings.crop_size)))
        person.crop_seconds.append(frame.seconds)
        person.boxes.append(person.smoothed_box)
    if "motion" in frame.wanted:
        person.motion.append(np.concatenate([face.blendshapes, face.pose]))
        person.motion_seconds.append(frame.seconds)


def _match(people: Sequence[FaceTracklet], faces: Sequence[Face]) -> list[tuple[FaceTracklet | None, Face]]:
    """Each face with the tracklet it continues, nearest pairs first; ``None`` for a new face.

    A face can have moved by at most its own side since it was last found.
    """
    pairs = sorted(
        (distance, who, which)
        for who, person in enumerate(people)
        for which, face in enumerate(faces)
        if (distance := _distance(person.face.box, face.box)) <= 1
    )
    matched: dict[int, int] = {}
    for _, who, which in pairs:
        if which not in matched and who not in matched.values():
            matched[which] = who
    return [(people[matched[which]] if which in matched else None, face) for which, face in enumerate(faces)]


def _side(box: Box) -> float:
    return max(box[2] - box[0], box[3] - box[1])


def _distance(one: Box, other: Box) -> float:
    """Distance of the boxes' centres, in sides of the larger box."""
    across = (one[0] + one[2] - other[0] - other[2]) / 2
    down = (one[1] + one[3] - other[1] - other[3]) / 2
    return math.hypot(across, down) / max(_side(one), _side(other))


def _between(old: Box, new: Box, weight: float) -> Box:
    left, top, right, bottom = (a + weight * (b - a) for a, b in zip(old, new, strict=True))
    return left, top, right, bottom
