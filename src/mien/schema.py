"""Data classes that the packages exchange: frozen records and NumPy arrays, nothing heavier.

In the order in which a clip passes through them: ``Clip`` (a row of a manifest) → ``Media`` (decoded frames, waveform
and transcript) → ``ClipFeatures`` (outputs of the frozen backbones) → ``Prediction`` (scores).

Shapes: ``N`` audio samples, ``T`` steps in time, ``F`` feature width, ``E`` emotions (targets).
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

RATING_SCALE = (0.0, 1.0)
"""Range of the labels of every manifest; ratings on other scales are divided by ``label_scale`` when they are read."""

SAMPLE_RATE = 16_000
"""Samples per second of every waveform in mien (mono, float32 in [-1, 1])."""

DOUBTFUL_PROBABILITY = 0.5
"""Recognised words of lower probability are doubtful; in noisy English, 1 in 20."""

DOUBTFUL_MEAN_PROBABILITY = 0.55
"""A transcript with a lower mean is doubtful: English in noise had .66 and more, languages that the recogniser does not
know .48 and less (``docs/log.md``)."""

FEWEST_DOUBTFUL_WORDS = 4
"""The mean probability of fewer words says little about the language."""

BLENDSHAPES = 52
"""Face blendshape coefficients of one frame, in [0, 1] (MediaPipe face landmarker order)."""

HEAD_POSE = ("pitch_degrees", "yaw_degrees", "roll_degrees", "x_cm", "y_cm", "z_cm")
"""The six head pose values that follow the blendshapes in a motion descriptor."""

MOTION_WIDTH = BLENDSHAPES + len(HEAD_POSE)


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip as the manifest describes it; its files have not been opened yet.

    Attributes:
        id: unique name within its manifest; always text, so that ``00042`` stays ``00042``.
        path: the video or audio file; it may not exist. ``None`` for a clip without one: its words, or provided faces.
        start, end: the part of the file that is used, seconds; ``None`` is the file's own start or end.
        split: ``train``, ``valid``, ``test`` or any other name; ``None`` when unknown.
        participant: the person in the clip; ``None`` when unknown.
        group: the subgroup of the participant (an age band, a language …), by which results are also reported; it has
            no other use. ``None`` when unknown.
        transcript: the words said, when known; used instead of speech recognition; ``""`` means that nothing is said.
        labels: one intensity per target of the manifest, ``nan`` where unrated; ``None`` for an unlabelled clip.
        sound: an audio file to use instead of the video's own track.
        crops: a folder of face crops to use instead of faces detected in the video.
        openface: an OpenFace 2 CSV to take motion from instead of the video.
        address: where its file is in object storage (``s3://…``); it is fetched when the clip is worked on, and
            ``path`` is then the copy, else ``None``.
    """

    id: str
    path: Path | None = None
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
    address: str | None = None

    @property
    def has_file(self) -> bool:
        """Whether it has a video or audio file, here or in object storage."""
        return self.path is not None or self.address is not None

    @property
    def file_name(self) -> str:
        """The name of its file for messages; its id when it has no file.

        >>> Clip("00042", Path("raw/00042.mp4")).file_name, Clip("tweet 7", transcript="so proud").file_name
        ('00042.mp4', 'tweet 7')
        """
        if self.path is None:
            return self.id if self.address is None else self.address.rpartition("/")[2]
        return self.path.name


@dataclass(frozen=True, slots=True)
class Manifest:
    """The clips of one data set, in its order.

    Attributes:
        source: the file or folder that it was read from.
        targets: names of the label columns; empty when nothing is labelled.
        clips: unique by ``id``.
        notes: conversions, ignored and missing entries, one line each with a count and the first example.
        label_scale: that the ratings were divided by.
        fetch_from: addresses that the user named; clips in object storage are fetched from these and from no others.
    """

    source: Path
    targets: tuple[str, ...]
    clips: tuple[Clip, ...]
    notes: tuple[str, ...] = ()
    label_scale: float = 1.0
    fetch_from: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Word:
    """A recognised word with its times (seconds from the start of the clip); ``probability`` in [0, 1]."""

    text: str
    start: float
    end: float
    probability: float

    @property
    def doubtful(self) -> bool:
        """Whether its probability is below ``DOUBTFUL_PROBABILITY``."""
        return self.probability < DOUBTFUL_PROBABILITY


@dataclass(frozen=True, slots=True)
class Transcript:
    """A transcript, recognised or given.

    Attributes:
        text: empty when nothing is said.
        words: with their times; empty when the transcript was given.
        source: ``"given"`` or the name of the recogniser's weights.
        language: two-letter code, or ``None`` when given.
        speech: (start, end) seconds of voice activity; empty when given.
        average_logprob: mean log-probability of the tokens, weighted by segment length; ``nan`` when given or empty.
        no_speech_probability: the recogniser's, maximum over segments; ``nan`` when given or empty.
        dropped_segments: number of recognised segments left out as hallucinations (loops, likely silence).
        detected_language: the language that a multilingual recogniser detected where it differs from ``language``, the
            expected one; else ``None``.
    """

    text: str
    source: str
    words: tuple[Word, ...] = ()
    language: str | None = None
    speech: tuple[tuple[float, float], ...] = ()
    average_logprob: float = float("nan")
    no_speech_probability: float = float("nan")
    dropped_segments: int = 0
    detected_language: str | None = None

    @property
    def mean_probability(self) -> float:
        """Mean probability of the words; ``nan`` without words."""
        return sum(word.probability for word in self.words) / len(self.words) if self.words else float("nan")

    @property
    def doubtful(self) -> bool:
        """Whether the words as a whole are doubtful, as those of another language are; never for a word or two."""
        return len(self.words) >= FEWEST_DOUBTFUL_WORDS and self.mean_probability < DOUBTFUL_MEAN_PROBABILITY


@runtime_checkable
class Crops(Protocol):
    """Face crops in order of time, possibly on disk: sliced, never loaded as a whole.

    ``crops[i:j]`` is a ``(j - i, size, size, 3)`` uint8 RGB array.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, which: slice, /) -> npt.NDArray[np.uint8]: ...


@dataclass(frozen=True)
class FaceTrack:
    """The main person's face through the clip. Frames without a face are counted, not filled in.

    Attributes:
        crops: ``(T, size, size, 3)`` square crops, one per vision frame with a face.
        crop_seconds: ``(T,)`` their presentation times.
        vision_frames: number of frames sampled for vision, with or without a face.
        motion: ``(U, 58)`` float32, one row per motion frame with a face: 52 blendshapes, then ``HEAD_POSE``
            (or ``(U, 23)`` OpenFace descriptors).
        motion_seconds: ``(U,)`` their presentation times.
        motion_frames: number of frames sampled for motion, with or without a face.
        people: the largest number of faces in one frame.
        boxes: ``(T, 4)`` float32 face boxes of the crops in the source frame: left, top, right, bottom, in pixels.
        several_seconds: for how long more than one face was in view.
        upside_down: whether faces were found only in frames turned by 180 degrees.
        speaks: whether this person was chosen because they speak, and not the one with the most face.
    """

    crops: Crops
    crop_seconds: npt.NDArray[np.float32]
    vision_frames: int
    motion: npt.NDArray[np.float32]
    motion_seconds: npt.NDArray[np.float32]
    motion_frames: int
    people: int
    boxes: npt.NDArray[np.float32]
    several_seconds: float = 0.0
    upside_down: bool = False
    speaks: bool = False


@dataclass(frozen=True, slots=True)
class Faces:
    """The number of faces in a clip.

    Attributes:
        most: the largest number in one frame; 0 if none was found.
        several_seconds: for how long more than one was in view.
    """

    most: int
    several_seconds: float


@dataclass(frozen=True)
class Media:
    """The decoded content of one clip, which is the input of a modality's ``prepare``.

    A part that was not requested, or is not in the clip, is ``None``; ``absent`` then has the reason.

    Attributes:
        clip: the clip.
        seconds: length of the clip by its presentation times.
        waveform: ``(N,)`` float32 mono at ``SAMPLE_RATE``.
        transcript: the words said.
        faces: the main person's face.
        absent: by modality, why it is missing.
        notes: warnings about the file (damage, estimated times), one line each.
        face_count: the number of faces in view; ``None`` if the video was not searched for faces.
    """

    clip: Clip
    seconds: float
    waveform: npt.NDArray[np.float32] | None = None
    transcript: Transcript | None = None
    faces: FaceTrack | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    face_count: Faces | None = None

    @property
    def sound(self) -> npt.NDArray[np.float32] | None:
        """The earlier name of ``waveform``."""
        warnings.warn("Media.sound is now Media.waveform", FutureWarning, stacklevel=2)
        return self.waveform


@dataclass(frozen=True)
class Feature:
    """The output of one frozen backbone for one clip: a sequence of vectors, or the reason why there is none.

    Attributes:
        modality: ``text``, ``tokens``, ``audio``, ``vision`` or ``motion``; with the layers of a backbone
            ``text_layers``, ``audio_layers`` or ``vision_layers``.
        key: hash of everything it depends on: the clip's bytes and range, the settings, the weights, the code.
        provenance: the weights and the version of the preparing code, as text.
        values: ``(T, F)`` float16; ``None`` when the modality is absent or the clip failed.
        seconds: ``(T,)`` float32 presentation time of each step.
        status: ``present``; ``absent`` (the clip lacks this modality); ``failed`` (the clip could not be read).
        reason: why it is absent or failed, or a remark (``face in 12 of 28 frames``); else empty.
        origin: its source file, as text (``features/source_files.py``); empty without one.
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
    """The features of one clip, and what extraction found out about it.

    Attributes:
        clip: its id.
        seconds: its length; ``nan`` when it could not be read.
        features: those that were computed (not those that were reused).
        transcript: the words said, when speech was recognised or given.
        notes: warnings about the file, one line each.
    """

    clip: str
    seconds: float
    features: tuple[Feature, ...]
    transcript: Transcript | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Window:
    """A part of a clip, scored as if it were a clip of its own.

    Attributes:
        start, end: seconds from the start of the clip.
        scores, intervals, present, clipped: as in ``Prediction``; ``present`` is empty where a window has no features
            at all.
    """

    start: float
    end: float
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    present: tuple[str, ...] = ()
    clipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attention:
    """Attention weights of the steps of one modality in the clip's embedding, averaged over the models.

    Attributes:
        seconds: ``(T,)`` presentation times of the steps.
        weights: ``(T,)``, not negative; they add up to 1.
    """

    seconds: tuple[float, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Attribution:
    """Contributions of modalities to the scores of a clip.

    Attributes:
        baseline: by target, the score of a clip without any modality.
        shapley: by available modality, by target: Shapley values over the subsets of the available modalities; with
            ``baseline`` they add up to the score.
        leave_one_out: by available modality, by target: the score minus the score without that modality.
        attention: by modality with an attention encoder.
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
        scores: by target; ``nan`` for every target when the clip could not be scored.
        intervals: by target, (lower, upper) bounds of the prediction interval with the model's stated coverage;
            ``nan`` where the model has none.
        present: available modalities.
        absent: by missing modality, the reason.
        error: why the clip could not be scored at all, or ``None``.
        path: its file.
        start: its start in its file, seconds.
        participant: the person in it, when known.
        seconds: its length; ``nan`` when it could not be read.
        transcript: the words said, when the model uses text.
        windows: its windows in order of time, when they were requested.
        why: contributions of the modalities, when requested.
        notes: remarks on the file (damage, guessed times, several audio tracks), one line each.
        clipped: targets with a score outside the rating scale, which was clipped to its nearest end.
        faces: the number of faces in view, when the video was searched for faces.
        address: its file in object storage.
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
    notes: tuple[str, ...] = ()
    clipped: tuple[str, ...] = ()
    faces: Faces | None = None
    address: str | None = None
