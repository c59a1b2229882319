"""Decodes one clip once and runs face tracking and speech recognition on it.

    decoder.DecoderClient ──frames──▶ face_tracks.track_faces ──▶ FaceTrack  (crops for vision, descriptors for motion)
                          └─audio───▶ speech.Transcriber ──▶ Transcript

Only what is requested is done: without ``vision`` and ``motion`` no video is decoded.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from mien.config import Settings
from mien.errors import DataError, MediaError
from mien.media.crops import Image, open_cv
from mien.media.decoder import DecoderClient
from mien.media.face_detection import FaceFinder
from mien.media.face_tracks import SEVERAL_SECONDS, track_faces
from mien.media.loaded import Loaded
from mien.media.provided import provided_crops, read_openface, settled
from mien.media.speech import Transcriber
from mien.schema import MOTION_WIDTH, SAMPLE_RATE, Clip, Faces, FaceTrack, Media, Transcript
from mien.wording import plural

EMPTY_TRACK = FaceTrack(
    crops=np.empty((0, 1, 1, 3), np.uint8),
    crop_seconds=np.empty(0, np.float32),
    vision_frames=0,
    motion=np.empty((0, MOTION_WIDTH), np.float32),
    motion_seconds=np.empty(0, np.float32),
    motion_frames=0,
    people=0,
    boxes=np.empty((0, 4), np.float32),
)
"""A track without a face."""


class MediaEngines:
    """The decoder, the face finder and the speech recogniser, each loaded at first use, or ahead of it.

    Attributes:
        loaded: what is loaded; models that need other packages than these do may be added.
        stage: what is being done with the clip at hand, for whoever shows progress from another thread: ``decoding``
            (with face tracking), ``speech``, then the name of a modality whose backbone runs, ``scores``.
    """

    stage: str = ""

    def __init__(self, weights: Mapping[str, Path], settings: Settings, threads: int = 1) -> None:
        """Take the weights by role (``landmarker``, ``full_range``, ``vad``, ``asr``); nothing is loaded yet."""
        self._weights = weights
        self._settings = settings
        self._threads = threads
        self.decoder = DecoderClient(settings.media, settings.compute)
        self.loaded = Loaded()

    @cached_property
    def finder(self) -> FaceFinder:
        """Detects faces and estimates their motion."""
        full_range = self._weights["full_range"] if self._settings.faces.full_range else None
        return FaceFinder(self._weights["landmarker"], full_range, self._threads)

    @cached_property
    def read_image(self) -> Callable[[Path], Image]:
        """Reads an image file; also sets the number of threads of OpenCV, which crops and scales it."""
        open_cv().setNumThreads(self._threads)
        return self.decoder.read_image

    @property
    def transcriber(self) -> Transcriber:
        """Finds and transcribes speech."""
        return self.loaded.get("transcriber", self._open_transcriber)

    def begin_transcriber(self) -> None:
        """Load it in the background."""
        self.loaded.begin("transcriber", self._open_transcriber)

    def _open_transcriber(self) -> Transcriber:
        return Transcriber(self._weights["vad"], self._weights.get("asr"), self._settings.speech, threads=self._threads)

    def close(self) -> None:
        """End the decoder process, and load nothing more."""
        self.loaded.cancel()
        self.decoder.kill()


def load_media(clip: Clip, wanted: Set[str], engines: MediaEngines, settings: Settings) -> Media:
    """Decode a clip, track its face and transcribe its speech, as far as requested.

    Args:
        clip: the clip; its own transcript, audio, crops or OpenFace table are used as the settings require.
        wanted: the inputs to prepare: ``text``, ``audio``, ``vision``, ``motion``.
        engines: decoder, face finder and recogniser.
        settings: rates, sources (``auto`` is resolved for this clip), limits.

    Raises:
        MediaError: the file cannot be read, and no provided data replace it.
    """
    settings = settled(settings, clip)
    provided = Transcript(clip.transcript, "given") if clip.transcript is not None else None
    want_audio = "audio" in wanted or ("text" in wanted and provided is None)
    missing: dict[str, str] = {}
    from_video = want_audio and settings.speech.source == "video" and clip.path is not None
    engines.stage = "decoding"
    decoded = _decode(clip, from_video, _rates(clip, wanted, settings), engines, settings)
    missing |= dict.fromkeys(wanted, decoded.failure)
    waveform, notes = decoded.waveform, list(decoded.notes)
    if want_audio and settings.speech.source == "provided":
        waveform, missing["audio"] = _provided_audio(clip, engines.decoder, notes)
        missing["text"] = missing["audio"]
    elif want_audio and clip.path is None:
        missing["audio"], missing["text"] = "no audio: the clip has no file", "no transcript, and no audio file"
    elif want_audio and waveform is None and not decoded.failure:
        missing["audio"] = missing["text"] = decoded.no_audio_reason
    seconds = len(waveform) / SAMPLE_RATE if waveform is not None and np.isnan(decoded.seconds) else decoded.seconds
    track = decoded.track
    if track is None and not decoded.failure:
        missing["vision"] = missing["motion"] = (
            "no video in the file" if clip.path else "no video: the clip has no file"
        )
    notes += face_notes(track)
    face_count = None if track is None else Faces(track.people, track.several_seconds)
    if "vision" in wanted and settings.faces.source == "provided":
        track, missing["vision"] = _with_crops(clip, settings, engines, seconds, track, notes)
    if "motion" in wanted and clip.openface is not None:
        track, missing["motion"] = _with_openface(clip, clip.openface, track, notes)
    transcript = provided
    if "text" in wanted and provided is not None:
        missing["text"] = "the provided transcript is empty"
    elif "text" in wanted and waveform is not None:
        engines.stage = "speech"
        transcript = engines.transcriber.transcribe(waveform)
        missing["text"] = _no_words_reason(transcript, seconds)
        notes += _language_notes(transcript, settings.speech.language)
    has_words = "text" in wanted and transcript is not None and transcript.text.strip()
    if decoded.failure and waveform is None and track is None and not has_words:
        raise MediaError(decoded.failure)
    reasons = {name: reason for name, reason in missing.items() if reason}
    return Media(clip, seconds, waveform, transcript, track, reasons, tuple(dict.fromkeys(notes)), face_count)


@dataclass(frozen=True)
class _Decoded:
    """The result of decoding a file; ``failure`` is the reason why it could not be read."""

    seconds: float = float("nan")
    waveform: np.ndarray | None = None
    track: FaceTrack | None = None
    notes: tuple[str, ...] = ()
    no_audio_reason: str = ""
    failure: str = ""


def _decode(
    clip: Clip, want_audio: bool, rates: Mapping[str, float], engines: MediaEngines, settings: Settings
) -> _Decoded:
    """Decode the file once: face track and waveform, as far as requested."""
    if clip.path is None or (not rates and not want_audio):
        return _Decoded()
    try:
        with engines.decoder.open(clip.path, rates=rates, audio=want_audio, start=clip.start, end=clip.end) as reader:
            has_video = rates and reader.has_video
            hear = reader.audio if want_audio else partial(_audio_of, clip, engines.decoder)
            track = track_faces(reader.frames(), engines.finder, settings.faces, hear) if has_video else None
            waveform = reader.audio() if want_audio else None
            return _Decoded(reader.seconds, waveform, track, tuple(reader.notes), reader.no_audio_reason)
    except MediaError as error:
        return _Decoded(failure=str(error))


def _audio_of(clip: Clip, decoder: DecoderClient) -> np.ndarray | None:
    """The waveform of the clip's own file, if it has one that can be read."""
    assert clip.path is not None
    try:
        with decoder.open(clip.path, rates={}, start=clip.start, end=clip.end) as reader:
            return reader.audio()
    except MediaError:
        return None


def _rates(clip: Clip, wanted: Set[str], settings: Settings) -> dict[str, float]:
    """The rates of the frames that are needed from the video; empty if no faces are."""
    crops = "vision" in wanted and settings.faces.source == "video"
    movement = "motion" in wanted and clip.openface is None
    return settings.media.face_rates if clip.path is not None and (crops or movement) else {}


def _provided_audio(clip: Clip, decoder: DecoderClient, notes: list[str]) -> tuple[np.ndarray | None, str]:
    """The waveform of the provided audio file, or the reason why there is none."""
    if clip.sound is None:
        return None, "no audio file is provided"
    try:
        with decoder.open(clip.sound, rates={}, start=clip.start, end=clip.end) as reader:
            waveform = reader.audio()
    except MediaError as error:
        return None, str(error)
    if waveform is None:
        return None, f"{clip.sound.name}: {reader.no_audio_reason}"
    notes += [f"{clip.sound.name}: {note}" for note in reader.notes]
    return waveform, ""


def _with_crops(
    clip: Clip, settings: Settings, engines: MediaEngines, seconds: float, track: FaceTrack | None, notes: list[str]
) -> tuple[FaceTrack | None, str]:
    """The track with the provided face images as its crops, or the reason why there are none."""
    if clip.crops is None:
        return track, "no face images are provided"
    limit = None if np.isnan(seconds) else max(1, round(seconds * settings.media.vision_fps))
    try:
        found = provided_crops(clip.crops, settings.faces, engines.read_image, seconds, limit)
    except MediaError as error:
        return track, str(error)
    notes += found.notes
    if clip.start is not None or clip.end is not None:
        some = f"{len(found.crops)} of {plural(found.images, 'image')}, from the whole folder,"
        notes.append(f"{clip.crops.name}: face images have no times; {some} are taken for this part")
    count = len(found.crops)
    boxes = np.empty((0, 4), np.float32)
    track = track or EMPTY_TRACK
    return replace(track, crops=found.crops, crop_seconds=found.seconds, vision_frames=count, boxes=boxes), ""


def _with_openface(clip: Clip, table: Path, track: FaceTrack | None, notes: list[str]) -> tuple[FaceTrack | None, str]:
    """The track with the descriptors of an OpenFace table as its motion, or the reason why there are none."""
    start, end = clip.start or 0.0, math.inf if clip.end is None else clip.end
    try:
        found = read_openface(table, start, end)
    except DataError as error:
        return track, str(error)
    if not found.frames and (start or clip.end is not None):
        return track, f"{table.name}: no row in the part from {start:g} s" + f" to {end:g} s" * (end < math.inf)
    notes += found.notes
    track = track or EMPTY_TRACK
    return replace(track, motion=found.motion, motion_seconds=found.seconds, motion_frames=found.frames), ""


def face_notes(track: FaceTrack | None) -> Iterator[str]:
    """Notes on faces that are not those of one upright person."""
    if track is not None and track.upside_down:
        yield "upside down: faces are found only when the video is turned by 180 degrees; turn it"
    if track is not None and track.several_seconds >= SEVERAL_SECONDS:
        chosen = "who speaks" if track.speaks else "with the most face"
        yield (
            f"several people: up to {track.people} faces in one frame, more than one for "
            f"{track.several_seconds:.1f} s; the person {chosen} is scored"
        )


def _language_notes(transcript: Transcript, expected: str) -> Iterator[str]:
    """Notes on words that may be of another language than the recogniser expects."""
    if transcript.detected_language is not None:
        yield (
            f"another language: {transcript.source} detected {transcript.detected_language}, but "
            f"{expected} is expected; set speech.language"
        )
    elif transcript.doubtful:
        yield (
            f"doubtful words: mean word probability {transcript.mean_probability:.2f}; the speech may be of another "
            f"language than {transcript.language}, or too noisy"
        )


def _no_words_reason(transcript: Transcript, seconds: float) -> str:
    if not transcript.speech:
        return f"no speech in {seconds:.1f} s of audio"
    return "speech was found, but no words were recognised"
