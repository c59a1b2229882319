"""Signals → voice parameters, and face and head movement frame by frame.

Each modality's signal, six strengths in [0, 1], is turned into parameters by a fixed table (emotion by parameter), on
top of what is the participant's own. Voice parameters hold for the whole clip; faces and heads start near rest, rise to
an apex at some moment, hold it and relax, so that a model has to find the moment. The trade-off: linear tables are a
caricature of emotional expression, but it is known exactly how much a perfect model could recover.

Shapes: ``E`` emotions, ``T`` frames, ``A`` actions in the order of ``ACTIONS``.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mien.schema import EMOTIONS
from mien.synthetic.drawing import ACTIONS
from mien.synthetic.voice import FEMALE_VARIANTS, MALE_VARIANTS, Voice

Floats = npt.NDArray[np.floating]
Table = Mapping[str, Mapping[str, float]]

REST_SHARE = 0.35
"""How much of an expression shows outside its apex."""

PROSODY: Table = {
    "Admiration": {"words_per_minute": -12, "pitch": -6, "melody": 40, "pause_seconds": 0.1, "brightness": -0.3},
    "Amusement": {"words_per_minute": 15, "pitch": 15, "melody": 15, "loudness": 0.1, "tremble": 1.0},
    "Determination": {"words_per_minute": -5, "pitch": -25, "melody": -40, "loudness": 0.3, "brightness": 0.35},
    "Empathic Pain": {
        **{"words_per_minute": -35, "pitch": 5, "melody": -25, "loudness": -0.3, "pause_seconds": 0.5},
        **{"brightness": -0.4, "tremble": 0.3},
    },
    "Excitement": {"words_per_minute": 40, "pitch": 30, "melody": 5, "loudness": 0.35, "pause_seconds": -0.2},
    "Joy": {"pitch": 22, "melody": 35, "loudness": 0.05, "brightness": 0.5},
}
"""Added to the speaker's own prosody by a full signal."""

EXPRESSION: Table = {
    "Admiration": {"brow_inner": 0.55, "brow_outer": 0.4, "smile": 0.35, "pucker": 0.4},
    "Amusement": {"smile": 1.0, "cheek": 0.9, "jaw": 0.6, "nose": 0.6},
    "Determination": {"brow_lower": 1.0, "press": 1.0, "squint": 0.5},
    "Empathic Pain": {"brow_inner": 0.9, "brow_lower": 0.3, "corner_down": 1.0, "squint": 0.7},
    "Excitement": {"brow_inner": 0.8, "brow_outer": 1.0, "wide": 1.0, "jaw": 0.45},
    "Joy": {"smile": 0.95, "cheek": 0.5, "squint": 0.2},
}
"""Facial actions at the apex of a full vision signal."""

BEARING: Table = {
    "Admiration": {"yaw": 9.0, "pitch": -4.0, "gaze_y": -0.5},
    "Amusement": {"pitch": -10.0, "shift_y": -0.06, "shake": 1.0},
    "Determination": {"lean": 0.16, "pitch": 7.0},
    "Empathic Pain": {"roll": 10.0, "pitch": 7.0, "lean": -0.08, "gaze_y": 0.6},
    "Excitement": {"shift_y": -0.18, "lean": 0.08, "shake": 0.5, "shift_x": 0.12},
    "Joy": {"roll": -9.0, "yaw": -5.0, "shift_x": -0.1},
}
"""Head posture at the apex of a full motion signal: degrees, pupil distances, and ``shake`` for quick bobbing."""


def _add(table: Table, signal: Floats) -> dict[str, float]:
    total: dict[str, float] = {}
    for emotion, strength in zip(EMOTIONS, signal.tolist(), strict=True):
        for name, value in table[emotion].items():
            total[name] = total.get(name, 0.0) + value * strength
    return total


def own_voice(male: bool, participant: np.random.Generator) -> Voice:
    """A participant's neutral voice."""
    return Voice(
        variant=str(participant.choice(MALE_VARIANTS if male else FEMALE_VARIANTS)),
        words_per_minute=participant.normal(158, 8),
        pitch=participant.normal(42, 5),
        melody=participant.normal(48, 5),
        loudness=participant.uniform(0.4, 0.5),
        pause_seconds=participant.uniform(0.25, 0.35),
        brightness=participant.normal(0, 0.08),
    )


def emotional_voice(own: Voice, signal: Floats) -> Voice:
    """The speaker's voice changed by an ``(E,)`` audio signal, within a range that a recogniser understands."""
    add = _add(PROSODY, signal)
    return Voice(
        variant=own.variant,
        words_per_minute=float(np.clip(own.words_per_minute + add.get("words_per_minute", 0), 105, 215)),
        pitch=float(np.clip(own.pitch + add.get("pitch", 0), 5, 95)),
        melody=float(np.clip(own.melody + add.get("melody", 0), 5, 99)),
        loudness=float(np.clip(own.loudness + add.get("loudness", 0), 0.08, 0.95)),
        pause_seconds=float(np.clip(own.pause_seconds + add.get("pause_seconds", 0), 0.08, 1.0)),
        brightness=float(np.clip(own.brightness + add.get("brightness", 0), -0.6, 0.7)),
        tremble=float(np.clip(own.tremble + add.get("tremble", 0), 0, 0.9)),
    )


def act(vision: Floats, motion: Floats, loudness: Floats, fps: float, rng: np.random.Generator) -> Floats:
    """Move face and head through a clip.

    Args:
        vision: ``(E,)`` signal of the face.
        motion: ``(E,)`` signal of the head.
        loudness: ``(T,)`` of the voice at each frame, in [0, 1]: the mouth opens with it.
        fps: frames per second.
        rng: draws moments, blinks and idle movement.

    Returns:
        ``(T, A)`` actions.
    """
    frames = len(loudness)
    moves: dict[str, Floats] = {name: np.zeros(frames) for name in (*ACTIONS, "shake")}
    for table, signal in ((EXPRESSION, vision), (BEARING, motion)):
        course = _course(frames, fps, rng)
        for name, value in _add(table, signal).items():
            moves[name] = moves[name] + value * course
    seconds = np.arange(frames) / fps
    bobbing = moves.pop("shake") * np.sin(2 * np.pi * 3 * seconds)
    moves["pitch"] += 2.5 * bobbing + _idle(frames, fps, rng, 1.2)
    moves["shift_y"] += 0.02 * bobbing + _idle(frames, fps, rng, 0.015)
    moves["yaw"] += _idle(frames, fps, rng, 2.5)
    moves["roll"] += _idle(frames, fps, rng, 1.5)
    moves["shift_x"] += _idle(frames, fps, rng, 0.03)
    moves["gaze_x"] += np.round(_idle(frames, fps, rng, 0.8)) * 0.4
    moves["smile"] += _idle(frames, fps, rng, 0.04)
    moves["blink"] = _blinks(frames, fps, rng)
    speech = np.convolve(np.pad(loudness, 1), [0.25, 0.5, 0.25], "valid")
    moves["jaw"] = np.maximum(moves["jaw"] * (0.55 + 0.45 * speech), 0.55 * speech)
    moves["press"] *= 1 - 0.8 * np.minimum(1, 2 * speech)
    return np.stack([np.clip(moves[name], *_limits(name)) for name in ACTIONS], 1)


def _limits(action: str) -> tuple[float, float]:
    wide = {"gaze_x": 1.0, "gaze_y": 1.0, "yaw": 18.0, "pitch": 16.0, "roll": 16.0, "shift_x": 0.4, "shift_y": 0.3}
    wide["lean"] = 0.25
    return (-wide[action], wide[action]) if action in wide else (0.0, 1.0)


def _course(frames: int, fps: float, rng: np.random.Generator) -> Floats:
    """Onset, apex and offset at an unknown moment: ``(T,)`` from ``REST_SHARE`` up to 1 and back."""
    seconds = frames / fps
    middle, half = rng.uniform(0.3, 0.7) * seconds, rng.uniform(0.2, 0.3) * seconds
    onset, offset = rng.uniform(0.2, 0.5), rng.uniform(0.3, 0.8)
    time = np.arange(frames) / fps
    rise = np.clip((time - (middle - half - onset)) / onset, 0, 1)
    fall = np.clip(((middle + half + offset) - time) / offset, 0, 1)
    shown = np.minimum(rise, fall)
    return REST_SHARE + (1 - REST_SHARE) * shown * shown * (3 - 2 * shown)


def _idle(frames: int, fps: float, rng: np.random.Generator, size: float) -> Floats:
    """Slow wandering around 0 with deviation about ``size``."""
    knots = rng.normal(0, size, frames // round(0.8 * fps) + 3)
    places = np.arange(frames) / (0.8 * fps) + rng.uniform(0, 1)
    low = places.astype(int)
    share = places - low
    share = share * share * (3 - 2 * share)
    return knots[low] * (1 - share) + knots[low + 1] * share


def _blinks(frames: int, fps: float, rng: np.random.Generator) -> Floats:
    """Lids: shut for a moment every three seconds or so."""
    time, shut = np.arange(frames) / fps, np.zeros(frames)
    moment = rng.uniform(0, 3)
    while moment < frames / fps:
        shut = np.maximum(shut, np.clip(1.6 - np.abs(time - moment) / 0.07, 0, 1))
        moment += rng.uniform(2, 4.5)
    return shut
