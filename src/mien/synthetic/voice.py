"""Text → speech: espeak-ng, loaded in-process from its wheel, with the prosody given by the audio signal.

The trade-off: a formant synthesiser sounds like a robot, but it is a few megabytes, runs a hundred times faster than
speech, and its rate, pitch, range and loudness can be set freely; recognisers understand it well enough. Effects that
it lacks (brightness, tremble, pauses between clauses) are applied to its samples afterwards.

Shapes: ``N`` samples at ``VOICE_RATE`` Hz, mono float32 in [-1, 1].
"""

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.errors import DependencyMissing

Floats = npt.NDArray[np.float32]

VOICE_RATE = 22_050
MALE_VARIANTS = ("", "m1", "m2", "m5", "m7", "m8")
FEMALE_VARIANTS = ("f2", "f3", "f4")
"""Variants of the American English voice that a small recogniser understands."""

SEED = 1
"""Of the breath in breathy voices."""

_SYNCHRONOUS, _POSITION_CHARACTER, _UTF8, _END_PAUSE = 2, 1, 1, 0x1000
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4


@dataclass(frozen=True)
class Voice:
    """Prosody of an utterance.

    Attributes:
        variant: one of ``MALE_VARIANTS`` or ``FEMALE_VARIANTS``: the speaker.
        words_per_minute: 80 to 300; a calm speaker has 160.
        pitch: 0 to 99; 50 is the speaker's own.
        melody: 0 (monotone) to 99: range of the pitch.
        loudness: peak amplitude, in (0, 1].
        pause_seconds: silence between clauses.
        brightness: -1 (muffled) to 1 (sharp).
        tremble: 0 (steady) to 1: amplitude modulation at 7 Hz.
    """

    variant: str = ""
    words_per_minute: float = 160.0
    pitch: float = 50.0
    melody: float = 50.0
    loudness: float = 0.5
    pause_seconds: float = 0.3
    brightness: float = 0.0
    tremble: float = 0.0


def speak(clauses: Sequence[str], voice: Voice) -> Floats:
    """Speak the clauses one after another: ``(N,)`` waveform, without silence before and after.

    Raises:
        DependencyMissing: espeakng-loader is not installed.
    """
    with _engine() as engine:
        engine.espeak_SetVoiceByName(f"en-us+{voice.variant}".rstrip("+").encode())
        for parameter, value in (
            (_RATE, voice.words_per_minute),
            (_PITCH, voice.pitch),
            (_RANGE, voice.melody),
            (_VOLUME, 100),
        ):
            engine.espeak_SetParameter(parameter, round(value), 0)
        parts = [_trim(_synthesise(engine, clause)) for clause in clauses]
    pause = np.zeros(round(voice.pause_seconds * VOICE_RATE), np.float32)
    waveform = np.concatenate([part for spoken in parts for part in (pause, spoken)][1:])
    return _shape(waveform, voice)


@contextmanager
def _engine() -> Iterator[ctypes.CDLL]:
    """The library, freshly loaded: it keeps its state in global variables, on which speech must not depend.

    Breathy voices (``f2``, ``f3``) draw their noise from a generator that is seeded by the time of day unless set.
    """
    try:
        import espeakng_loader  # noqa: PLC0415
    except ImportError as error:
        raise DependencyMissing("espeakng-loader is not installed; pip install 'mien[synth]' brings it") from error
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_SetSynthCallback.argtypes = [_CALLBACK]
    library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
    library.espeak_Synth.argtypes = [
        *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint),
        *(ctypes.c_void_p, ctypes.c_void_p),
    ]
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), 0)
    assert rate == VOICE_RATE, f"espeak-ng started with {rate} Hz"
    library.espeak_ng_SetRandSeed(ctypes.c_long(SEED))
    try:
        yield library
    finally:
        library.espeak_Terminate()
        if os.name == "posix":  # elsewhere the library remains loaded, and repeated speech differs by a few samples
            ctypes.CDLL(None).dlclose(ctypes.c_void_p(library._handle))


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def _synthesise(engine: ctypes.CDLL, text: str) -> Floats:
    chunks: list[npt.NDArray[np.int16]] = []

    def collect(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int) -> int:
        if count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _CALLBACK(collect)
    engine.espeak_SetSynthCallback(callback)
    encoded = text.encode() + b"\0"
    status = engine.espeak_Synth(encoded, len(encoded), 0, _POSITION_CHARACTER, 0, _UTF8 | _END_PAUSE, None, None)
    assert status == 0, f"espeak-ng returned {status}"
    return np.concatenate(chunks).astype(np.float32) / np.float32(32768)


def _trim(waveform: Floats) -> Floats:
    """The waveform from its first to its last audible sample, with a margin of 20 ms."""
    audible = np.flatnonzero(np.abs(waveform) > 0.01)
    margin = VOICE_RATE // 50
    return waveform[max(0, audible[0] - margin) : audible[-1] + margin] if audible.size else waveform[:0]


def _shape(waveform: Floats, voice: Voice) -> Floats:
    """Tilt the spectrum by up to 6 dB an octave around 1 kHz, modulate the amplitude, and set its peak."""
    spectrum = np.fft.rfft(waveform)
    frequency = np.maximum(np.fft.rfftfreq(len(waveform), 1 / VOICE_RATE), 60.0)
    tilted = np.fft.irfft(spectrum * (frequency / 1000) ** voice.brightness, len(waveform))
    seconds = np.arange(len(waveform)) / VOICE_RATE
    wavering = tilted * (1 - 0.45 * voice.tremble * (1 + np.sin(2 * np.pi * 7 * seconds)) / 2)
    return (wavering * voice.loudness / max(1e-6, float(np.abs(wavering).max()))).astype(np.float32)


def envelope(waveform: Floats, rate: int, fps: float, frames: int) -> Floats:
    """Loudness during each of ``frames`` video frames, from 0 (silent) to 1 (the loudest), ``(frames,)``."""
    edges = np.rint(np.arange(frames + 1) / fps * rate).astype(int).clip(0, len(waveform))
    power = np.concatenate([[0.0], np.cumsum(waveform.astype(np.float64) ** 2)])
    level = np.sqrt(np.diff(power[edges]) / np.maximum(1, np.diff(edges)))
    return (level / max(1e-6, float(level.max()))).astype(np.float32)
