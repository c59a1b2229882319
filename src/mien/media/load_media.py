"""One clip → what was seen and heard in it: the file is decoded once, whoever wants to look or listen.

    decoder.Decoder ──frames──▶ face.follow ──▶ FaceTrack      (crops for vision, descriptors for motion)
                    └─sound───▶ speech.Listener ──▶ Transcript

Only what is asked for is done: without ``vision`` and ``motion`` no picture is decoded.
"""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from mien.config import Settings
from mien.errors import DataError, MediaError
from mien.media.crops import Image, open_cv
from mien.media.decoder import DecoderClient
from mien.media.face_detection import FaceFinder
from mien.media.face_tracks import track_faces
from mien.media.provided import provided_crops, read_openface, settled
from mien.media.speech import Transcriber
from mien.schema import MOTION_WIDTH, SAMPLE_RATE, Clip, FaceTrack, Media, Transcript

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
"""A track on which nobody was seen."""


class MediaEngines:
    """The decoder, the face finder and the speech recogniser, each loaded when it is first needed."""

    def __init__(self, weights: Mapping[str, Path], settings: Settings, threads: int = 1) -> None:
        """Name the weights by role (``landmarker``, ``full_range``, ``vad``, ``asr``); nothing is loaded yet."""
        self._weights = weights
        self._settings = settings
        self._threads = threads
        self.decoder = DecoderClient(settings.media, settings.compute)

    @cached_property
    def finder(self) -> FaceFinder:
        """Finds faces and measures their movement."""
        full_range = self._weights["full_range"] if self._settings.faces.full_range else None
        return FaceFinder(self._weights["landmarker"], full_range, self._threads)

    @cached_property
    def still(self) -> Callable[[Path], Image]:
        """Reads a picture; OpenCV, which cuts and scales it, keeps to its threads."""
        open_cv().setNumThreads(self._threads)
        return self.decoder.still

    @cached_property
    def listener(self) -> Transcriber:
        """Finds speech and writes it down."""
        return Transcriber(self._weights["vad"], self._weights.get("asr"), self._settings.speech, threads=self._threads)

    def close(self) -> None:
        """Close the face finder, if there is one, and end the process that decodes."""
        if "finder" in vars(self):
            self.finder.close()
        self.decoder.kill()


def load_media(clip: Clip, wanted: Set[str], senses: MediaEngines, settings: Settings) -> Media:
    """What was seen and heard in a clip.

    Args:
        clip: the clip; its own transcript, sound, crops or OpenFace table are used where the settings say so.
        wanted: senses that something is needed for: ``text``, ``audio``, ``vision``, ``motion``.
        senses: face finder and recogniser.
        settings: rates, sources (``auto`` is settled for this clip), limits.

    Raises:
        MediaError: the file cannot be read, and there is nothing beside it for what is wanted.
    """
    settings = settled(settings, clip)
    given = Transcript(clip.transcript, "given") if clip.transcript is not None else None
    listen = "audio" in wanted or ("text" in wanted and given is None)
    absent: dict[str, str] = {}
    film = _watch(clip, listen and settings.speech.source == "video", _rates(clip, wanted, settings), senses, settings)
    absent |= dict.fromkeys(wanted, film.failure)
    sound, notes = film.sound, list(film.notes)
    if listen and settings.speech.source == "provided":
        sound, absent["audio"] = _provided_sound(clip, senses.decoder)
        absent["text"] = absent["audio"]
    elif listen and sound is None and not film.failure:
        absent["audio"] = absent["text"] = film.mute
    seconds = len(sound) / SAMPLE_RATE if sound is not None and np.isnan(film.seconds) else film.seconds
    track = film.track
    if track is None and not film.failure:
        absent["vision"] = absent["motion"] = "no picture in the file"
    if "vision" in wanted and settings.faces.source == "provided":
        track, absent["vision"] = _with_crops(clip, settings, senses, seconds, track, notes)
    if "motion" in wanted and clip.openface is not None:
        track, absent["motion"] = _with_openface(clip.openface, track, notes)
    said = given
    if "text" in wanted and given is not None:
        absent["text"] = "the transcript given is empty"
    elif "text" in wanted and sound is not None:
        said = senses.listener.transcribe(sound)
        absent["text"] = _why_silent(said, seconds)
    heard = "text" in wanted and said is not None and said.text.strip()
    if film.failure and sound is None and track is None and not heard:
        raise MediaError(film.failure)
    return Media(clip, seconds, sound, said, track, {name: why for name, why in absent.items() if why}, tuple(notes))


@dataclass(frozen=True)
class _Film:
    """What one pass over the video gave; ``mute`` says why no sound, ``failure`` why nothing."""

    seconds: float = float("nan")
    sound: np.ndarray | None = None
    track: FaceTrack | None = None
    notes: tuple[str, ...] = ()
    mute: str = ""
    failure: str = ""


def _watch(clip: Clip, listen: bool, rates: Mapping[str, float], senses: MediaEngines, settings: Settings) -> _Film:
    """The one pass over the video: faces and sound, as far as something is wanted from it."""
    if not rates and not listen:
        return _Film()
    try:
        with senses.decoder.recording(
            clip.path, rates=rates, sound=listen, start=clip.start, end=clip.end
        ) as recording:
            picture = rates and recording.has_video
            track = track_faces(recording.frames(), senses.finder, settings.faces) if picture else None
            sound = recording.sound() if listen else None
            return _Film(recording.seconds, sound, track, tuple(recording.notes), recording.mute)
    except MediaError as error:
        return _Film(failure=str(error))


def _rates(clip: Clip, wanted: Set[str], settings: Settings) -> dict[str, float]:
    """The frame rates that the video itself must serve."""
    rates = {}
    if "vision" in wanted and settings.faces.source == "video":
        rates["vision"] = settings.media.vision_fps
    if "motion" in wanted and clip.openface is None:
        rates["motion"] = settings.media.motion_fps
    return rates


def _provided_sound(clip: Clip, decoder: DecoderClient) -> tuple[np.ndarray | None, str]:
    """The sound beside the data, or why there is none."""
    if clip.sound is None:
        return None, "no sound beside the data"
    try:
        sound = decoder.sound(clip.sound)
    except MediaError as error:
        return None, str(error)
    begin, end = (round((at or 0) * SAMPLE_RATE) for at in (clip.start, clip.end))
    return sound[begin : end or None], ""


def _with_crops(
    clip: Clip, settings: Settings, senses: MediaEngines, seconds: float, track: FaceTrack | None, notes: list[str]
) -> tuple[FaceTrack | None, str]:
    """The track with the face pictures beside the data as its crops, or why there are none."""
    if clip.crops is None:
        return track, "no face pictures beside the data"
    at_most = None if np.isnan(seconds) else max(1, round(seconds * settings.media.vision_fps))
    try:
        found = provided_crops(clip.crops, settings.faces, senses.still, seconds, at_most)
    except MediaError as error:
        return track, str(error)
    notes += found.notes
    count = len(found.crops)
    boxes = np.empty((0, 4), np.float32)
    track = track or EMPTY_TRACK
    return replace(track, crops=found.crops, crop_seconds=found.seconds, vision_frames=count, boxes=boxes), ""


def _with_openface(table: Path, track: FaceTrack | None, notes: list[str]) -> tuple[FaceTrack | None, str]:
    """The track with the descriptors of an OpenFace table as its motion, or why there are none."""
    try:
        found = read_openface(table)
    except DataError as error:
        return track, str(error)
    notes += found.notes
    track = track or EMPTY_TRACK
    return replace(track, motion=found.motion, motion_seconds=found.seconds, motion_frames=found.frames), ""


def _why_silent(said: Transcript, seconds: float) -> str:
    if not said.speech:
        return f"no speech in {seconds:.1f} s of sound"
    return "speech was heard, but no words were understood"
