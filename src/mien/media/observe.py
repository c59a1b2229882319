"""One clip → what was seen and heard in it: the file is decoded once, whoever wants to look or listen.

    decode.Recording ──frames──▶ face.follow ──▶ FaceTrack      (crops for vision, descriptors for motion)
                     └─sound───▶ speech.Listener ──▶ Transcript

Only what is asked for is done: without ``vision`` and ``motion`` no picture is decoded.
"""

from collections.abc import Mapping, Set
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from mien.config import Settings
from mien.media.decode import Recording, read_sound
from mien.media.face import FaceFinder, follow, provided_crops, read_openface
from mien.media.speech import Listener
from mien.schema import SAMPLE_RATE, Clip, FaceTrack, Media, Transcript


class Senses:
    """The face finder and the speech recogniser, each loaded when it is first needed."""

    def __init__(self, weights: Mapping[str, Path], settings: Settings, threads: int = 1) -> None:
        """Name the weights by role (``landmarker``, ``full_range``, ``vad``, ``asr``); nothing is loaded yet."""
        self._weights = weights
        self._settings = settings
        self._threads = threads

    @cached_property
    def finder(self) -> FaceFinder:
        """Finds faces and measures their movement."""
        full_range = self._weights["full_range"] if self._settings.faces.full_range else None
        return FaceFinder(self._weights["landmarker"], full_range)

    @cached_property
    def listener(self) -> Listener:
        """Finds speech and writes it down."""
        return Listener(self._weights["vad"], self._weights.get("asr"), self._settings.speech, threads=self._threads)


def observe(clip: Clip, wanted: Set[str], senses: Senses, settings: Settings) -> Media:
    """What was seen and heard in a clip.

    Args:
        clip: the clip; its own transcript, sound, crops or OpenFace table are used where the settings say so.
        wanted: modalities that something is needed for: ``text``, ``audio``, ``vision``, ``motion``.
        senses: face finder and recogniser.
        settings: rates, sources, limits.

    Raises:
        MediaError: the file, or what stands in for it, cannot be read at all.
    """
    given = Transcript(clip.transcript, "given") if clip.transcript is not None else None
    separate_sound = settings.speech.source == "provided"
    listen = "audio" in wanted or ("text" in wanted and given is None)
    rates = _rates(clip, wanted, settings)
    absent: dict[str, str] = {}
    sound, track, seconds, notes = None, None, float("nan"), []
    if rates or (listen and not separate_sound):
        with Recording(
            clip.path, settings.media, rates=rates, sound=listen and not separate_sound, start=clip.start, end=clip.end
        ) as recording:
            if rates and recording.has_video:
                track = follow(recording.frames(), senses.finder, settings.faces)
            sound = recording.sound() if listen and not separate_sound else None
            seconds, notes = recording.seconds, list(recording.notes)
            if rates and not recording.has_video:
                absent["faces"] = "no picture in the file"
    if listen and separate_sound:
        sound = _provided_sound(clip)
        seconds = len(sound) / SAMPLE_RATE if sound is not None and np.isnan(seconds) else seconds
    if sound is None and listen:
        absent["sound"] = "no sound beside the data" if separate_sound else "no sound track"
    track, why = _with_provided_faces(clip, wanted, settings, track)
    absent |= why
    said = given
    if "text" in wanted and given is None:
        said = senses.listener.transcribe(sound) if sound is not None else None
        absent["transcript"] = _why_silent(sound, said, absent)
    elif "text" in wanted:
        absent["transcript"] = "the transcript given is empty"
    return Media(clip, seconds, sound, said, track, absent, tuple(notes))


def _rates(clip: Clip, wanted: Set[str], settings: Settings) -> dict[str, float]:
    """The frame rates that the video itself must serve."""
    rates = {}
    if "vision" in wanted and settings.faces.source == "video":
        rates["vision"] = settings.media.vision_fps
    if "motion" in wanted and clip.openface is None:
        rates["motion"] = settings.media.motion_fps
    return rates


def _provided_sound(clip: Clip) -> np.ndarray | None:
    if clip.sound is None:
        return None
    sound = read_sound(clip.sound)
    begin = int((clip.start or 0) * SAMPLE_RATE)
    return sound[begin : None if clip.end is None else int(clip.end * SAMPLE_RATE)]


def _with_provided_faces(
    clip: Clip, wanted: Set[str], settings: Settings, track: FaceTrack | None
) -> tuple[FaceTrack | None, dict[str, str]]:
    """The track with the crops and descriptors that came beside the data in place of our own."""
    empty = FaceTrack(
        np.empty((0, 0, 0, 3), np.uint8), np.empty(0, np.float32), 0, np.empty((0, 0), np.float32),
        np.empty(0, np.float32), 0, 0, np.empty((0, 4), np.float32),
    )  # fmt: skip
    absent: dict[str, str] = {}
    if "vision" in wanted and settings.faces.source == "provided":
        if clip.crops is None:
            absent["faces"] = "no face pictures beside the data"
        else:
            crops, seconds, count = provided_crops(clip.crops, settings.faces)
            track = replace(track or empty, crops=crops, crop_seconds=seconds, vision_frames=count)
    if "motion" in wanted and clip.openface is not None:
        motion, seconds, count = read_openface(clip.openface)
        track = replace(track or empty, motion=motion, motion_seconds=seconds, motion_frames=count)
    return track, absent


def _why_silent(sound: np.ndarray | None, said: Transcript | None, absent: Mapping[str, str]) -> str:
    if sound is None:
        return absent["sound"]
    if said is None or not said.speech:
        return f"no speech in {len(sound) / SAMPLE_RATE:.1f} s of sound"
    return "speech was heard, but no words were understood"
