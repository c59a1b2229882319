"""The words the rooms speak to each other in: plain frozen records, NumPy arrays and nothing heavier.

Read in the order in which a clip passes through them: ``Clip`` (what somebody has) → ``Media`` (what was seen and
heard in it) → ``ClipFeatures`` (what the frozen backbones made of that) → ``Prediction`` (how strongly it shows).

Shapes: ``N`` sound samples, ``T`` steps in time, ``F`` feature width, ``E`` emotions (targets).
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

EMOTIONS = ("Admiration", "Amusement", "Determination", "Empathic Pain", "Excitement", "Joy")
"""The six targets of the EMI challenge, in the order of its CSV files. A default: targets come from data."""

SAMPLE_RATE = 16_000
"""Samples per second of every sound in mien (mono, float32 in [-1, 1])."""

BLENDSHAPES = 52
"""Face blendshape coefficients of one frame, in [0, 1] (MediaPipe face landmarker order)."""

HEAD_POSE = ("pitch_degrees", "yaw_degrees", "roll_degrees", "x_cm", "y_cm", "z_cm")
"""The six head pose numbers that follow the blendshapes in a motion descriptor."""

MOTION_WIDTH = BLENDSHAPES + len(HEAD_POSE)


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip as its owner describes it. Nothing has been opened yet.

    Attributes:
        id: unique name within its manifest; always text, so that ``00042`` stays ``00042``.
        path: the video (or sound) file; it may turn out not to exist.
        start, end: the part of the file that counts, seconds; ``None`` is the file's own start or end.
        split: ``train``, ``valid``, ``test`` or the owner's own word; ``None`` when unknown.
        participant: who is in the clip; ``None`` when unknown.
        group: the group of people that the participant belongs to (an age band, a language …), for which results are
            also given by group; nothing else reads it. ``None`` when unknown.
        transcript: what is said, when known; it is used instead of speech recognition; ``""`` says: nothing.
        labels: one intensity per target of the manifest, ``nan`` where unrated; ``None`` for an unlabelled clip.
        sound: a sound file to hear instead of the video's own track.
        crops: a folder of face pictures to look at instead of faces found in the video.
        openface: an OpenFace 2 CSV to take motion from instead of the video.
    """

    id: str
    path: Path
    start: float | None = None
    end: float | None = None
    split: str | None = None
    participant: str | None = None
    group: str | None = None
    transcript: str | None = None
    labels: tuple[float, ...] | None = None
    sound: Path | None = None
    crops: Path | None = None
    openface: Path | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The clips of one data set, in its own order.

    Attributes:
        source: the file or folder it was read from.
        targets: names of the label columns; empty when nothing is labelled.
        clips: unique by ``id``.
        notes: what was converted, ignored or missing, one line each with a count and the first example.
    """

    source: Path
    targets: tuple[str, ...]
    clips: tuple[Clip, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Word:
    """A recognised word and when it was said (seconds from the start of the clip); ``probability`` in [0, 1]."""

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said.

    Attributes:
        text: empty when nothing was said; never invented on silence.
        words: with their times; empty when the transcript was given rather than recognised.
        source: ``"given"`` or the recogniser's weights name.
        language: two-letter code, or ``None`` when given.
        speech: (start, end) seconds in which voice activity was found; empty when given.
        average_logprob: mean log-probability of the tokens, weighted by segment length; ``nan`` when given or empty.
        no_speech_probability: the recogniser's own doubt, the highest over segments; ``nan`` when given or empty.
        dropped_segments: recognised segments left out because they looked invented (loops, doubted silence).
    """

    text: str
    source: str
    words: tuple[Word, ...] = ()
    language: str | None = None
    speech: tuple[tuple[float, float], ...] = ()
    average_logprob: float = float("nan")
    no_speech_probability: float = float("nan")
    dropped_segments: int = 0


@runtime_checkable
class Crops(Protocol):
    """Face pictures, in order of time, that may live on disk: sliced, never loaded whole.

    ``crops[i:j]`` is a ``(j - i, size, size, 3)`` uint8 RGB array.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, which: slice, /) -> npt.NDArray[np.uint8]: ...


@dataclass(frozen=True)
class FaceTrack:
    """The main person's face through the clip. Frames without a face are counted, not invented.

    Attributes:
        crops: ``(T, size, size, 3)`` square pictures, one per vision frame with a face.
        crop_seconds: ``(T,)`` their presentation times.
        vision_frames: how many frames were looked at for vision, with or without a face.
        motion: ``(U, 58)`` float32, one row per motion frame with a face: 52 blendshapes, then ``HEAD_POSE``
            (or ``(U, 23)`` OpenFace descriptors).
        motion_seconds: ``(U,)`` their presentation times.
        motion_frames: how many frames were looked at for motion.
        people: the most faces seen in one frame.
        boxes: ``(T, 4)`` float32 face boxes of the crops in the source picture: left, top, right, bottom, in pixels.
    """

    crops: Crops
    crop_seconds: npt.NDArray[np.float32]
    vision_frames: int
    motion: npt.NDArray[np.float32]
    motion_seconds: npt.NDArray[np.float32]
    motion_frames: int
    people: int
    boxes: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Media:
    """What was seen and heard in one clip: the one thing that a modality's ``prepare`` reads.

    A part that was not asked for, or is not in the clip, is ``None``; ``absent`` then says why.

    Attributes:
        clip: whose media this is.
        seconds: length of the clip by its presentation times.
        waveform: ``(N,)`` float32 mono at ``SAMPLE_RATE``.
        transcript: what is said.
        faces: who is seen.
        absent: by modality, why there is nothing for it.
        notes: what was odd about the file (damage, guessed times), one line each.
    """

    clip: Clip
    seconds: float
    waveform: npt.NDArray[np.float32] | None = None
    transcript: Transcript | None = None
    faces: FaceTrack | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def sound(self) -> npt.NDArray[np.float32] | None:
        """The earlier name of ``waveform``."""
        warnings.warn("Media.sound is now Media.waveform", FutureWarning, stacklevel=2)
        return self.waveform


@dataclass(frozen=True)
class Feature:
    """What one frozen backbone made of one clip: a sequence of vectors, or the reason why there is none.

    Attributes:
        modality: ``text``, ``tokens``, ``audio``, ``vision`` or ``motion``.
        key: content key of everything it depends on: the clip's bytes and range, the settings, the weights, the code.
        provenance: the weights and the version of the preparing code, in words.
        values: ``(T, F)`` float16; ``None`` when the modality is absent or the clip failed.
        seconds: ``(T,)`` float32 presentation time of each step.
        status: ``present``; ``absent`` (the clip has no such thing); ``failed`` (the clip could not be read).
        reason: why it is absent or failed, or what was odd about it (``face in 12 of 28 frames``); else empty.
        origin: the file that it was made from, as text (``features/source_files.py``); empty without one.
    """

    modality: str
    key: str
    provenance: str
    values: npt.NDArray[np.float16] | None = None
    seconds: npt.NDArray[np.float32] | None = None
    status: str = "present"
    reason: str = ""
    origin: str = ""


@dataclass(frozen=True)
class ClipFeatures:
    """Everything that extraction knows about one clip.

    Attributes:
        clip: its id.
        seconds: its length; ``nan`` when it could not be read.
        features: one per modality that was computed (not those that were reused).
        transcript: what is said, when speech was listened to.
        notes: what was odd about the file, one line each.
    """

    clip: str
    seconds: float
    features: tuple[Feature, ...]
    transcript: Transcript | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Window:
    """A stretch of a clip, scored as if it were a clip of its own.

    Attributes:
        start, end: seconds from the start of the clip.
        scores, intervals, present: as in ``Prediction``; nothing is present where a stretch has no features at all.
    """

    start: float
    end: float
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    present: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attention:
    """How much each step of one modality counts in the clip's embedding, the mean over the models.

    Attributes:
        seconds: ``(T,)`` presentation times of the steps.
        weights: ``(T,)``, not negative, with the sum 1.
    """

    seconds: tuple[float, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Attribution:
    """What moved the scores of a clip.

    Attributes:
        baseline: by target, the score of a clip without any modality.
        shapley: by modality that is present, by target: Shapley values over the subsets of what is present; together
            with ``baseline`` they add up to the score.
        leave_one_out: by modality that is present, by target: the score minus the score without that modality.
        attention: by modality whose steps are weighed.
    """

    baseline: Mapping[str, float]
    shapley: Mapping[str, Mapping[str, float]]
    leave_one_out: Mapping[str, Mapping[str, float]]
    attention: Mapping[str, Attention] = field(default_factory=dict)


@dataclass(frozen=True)
class Prediction:
    """Intensities for one clip.

    Attributes:
        clip: its id.
        scores: by target name; ``nan`` for every target when the clip could not be scored.
        intervals: by target name, (lower, upper) ends between which a rating lies with the model's stated
            probability; ``nan`` where the model has none.
        present: modalities that were heard or seen.
        absent: reason by modality that was not.
        error: why the clip could not be scored at all, or ``None``.
        path: its file.
        start: where it begins in its file, seconds.
        participant: who is in it, when known.
        seconds: its length; ``nan`` when it could not be read.
        transcript: what is said, when the model listens to words.
        windows: its stretches in order of time, when they were asked for.
        why: what moved the scores, when that was asked for.
    """

    clip: str
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    present: tuple[str, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    path: Path | None = None
    participant: str | None = None
    seconds: float = float("nan")
    transcript: Transcript | None = None
    windows: tuple[Window, ...] = ()
    why: Attribution | None = None
    start: float = 0.0
