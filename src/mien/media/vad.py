"""Voice activity detection (Silero, version 6): waveform → segments of speech.

The ONNX file is run directly, window by window, since its state is carried along; an hour of audio takes most of a
minute, in one thread. The model's own Python package is not needed.

Shapes: ``N`` samples at 16 kHz; ``W`` windows of 512 samples (32 ms).
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.config import SpeechSettings
from mien.errors import DependencyMissing, WeightsError, WeightsMissing
from mien.schema import SAMPLE_RATE

WINDOW = 512
CONTEXT = 64
"""Samples of the previous window that the detector takes as context."""

HYSTERESIS = 0.15
"""Speech ends where activity falls this far below the threshold at which it starts."""

MIN_SILENCE_SECONDS = 0.1
"""A shorter pause does not end a segment."""

PAD_SECONDS = 0.03
"""Added to both ends of a segment."""


def open_vad(file: Path) -> Any:
    """The detector, as an ONNX Runtime session on one thread (more make it slower: its steps are tiny).

    Raises:
        DependencyMissing: onnxruntime is not installed.
        WeightsMissing: the file does not exist.
        WeightsError: the file is not the detector.
    """
    if not file.is_file():
        raise WeightsMissing(f"{file}: no such file; bring the weights with: mien weights fetch small")
    try:
        import onnxruntime  # noqa: PLC0415
    except ImportError as error:
        raise DependencyMissing(f"speech needs onnxruntime ({error}); pip install 'mien[speech]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime exports no common base class of its errors
        raise WeightsError(f"{file}: not an ONNX model; check it with: mien weights verify") from error
    if {entry.name for entry in session.get_inputs()} != {"input", "state", "sr"}:
        raise WeightsError(f"{file}: not Silero's voice activity detector, version 5 or 6")
    return session


def voice_activity(waveform: npt.NDArray[np.float32], session: Any) -> npt.NDArray[np.float32]:
    """The probability of speech in each window.

    Args:
        waveform: ``(N,)`` float32 in [-1, 1] at 16 kHz.
        session: from ``open_vad``.

    Returns:
        ``(W,)`` in [0, 1], ``W = ceil(N / 512)``: the last window is padded with silence.
    """
    padded = np.zeros(-(-len(waveform) // WINDOW) * WINDOW, np.float32)
    padded[: len(waveform)] = waveform
    return VoiceActivity(session).add(padded)


class VoiceActivity:
    """The probability of speech in audio that comes in parts; ``session`` is from ``open_vad``."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._state = np.zeros((2, 1, 128), np.float32)
        self._samples = np.zeros(CONTEXT, np.float32)

    def add(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The probability in each window that these samples complete, ``(W,)``; an incomplete one waits for more."""
        waiting = np.concatenate([self._samples, samples])
        count = (len(waiting) - CONTEXT) // WINDOW
        activity, rate = np.empty(count, np.float32), np.array(SAMPLE_RATE, np.int64)
        for window in range(count):
            part = waiting[None, window * WINDOW : (window + 1) * WINDOW + CONTEXT]
            probability, self._state = self._session.run(None, {"input": part, "state": self._state, "sr": rate})
            activity[window] = probability[0, 0]
        self._samples = waiting[count * WINDOW :].copy()
        return activity


def segment_windows(
    activity: Sequence[float] | npt.NDArray[np.float32], settings: SpeechSettings
) -> list[tuple[int, int]]:
    """Segments of speech from the probability in each window: ``(first, end)`` windows, ``end`` exclusive.

    Speech starts where the probability reaches the threshold and ends where it falls ``HYSTERESIS`` below it, unless it
    returns within ``MIN_SILENCE_SECONDS``. Segments not longer than ``shortest_speech_seconds`` are dropped.

    Source: the reference implementation's rule (silero-vad 6, ``get_speech_timestamps``).

    Two quiet windows are bridged, four end the segment; .4 in between neither starts nor ends speech:

    >>> segment_windows([.1] + [.9] * 9 + [.1] * 2 + [.4] + [.9] + [.1] * 5, SpeechSettings())
    [(1, 14)]
    """
    quiet_windows = MIN_SILENCE_SECONDS * SAMPLE_RATE / WINDOW
    shortest = settings.shortest_speech_seconds * SAMPLE_RATE / WINDOW
    end_below = max(settings.vad_threshold - HYSTERESIS, 0.01)
    found: list[tuple[int, int]] = []
    first: int | None = None
    quiet_since: int | None = None
    for window, probability in enumerate(activity):
        if probability >= settings.vad_threshold:
            first, quiet_since = window if first is None else first, None
        elif first is not None and probability < end_below:
            quiet_since = window if quiet_since is None else quiet_since
            if window - quiet_since >= quiet_windows:
                found.append((first, quiet_since))
                first = quiet_since = None
    if first is not None:
        found.append((first, len(activity)))
    return [(first, end) for first, end in found if end - first > shortest]


def speech_segments(
    waveform: npt.NDArray[np.float32], session: Any, settings: SpeechSettings
) -> tuple[tuple[float, float], ...]:
    """Segments of speech: ``(start, end)`` in seconds, in order, not overlapping; empty for silence.

    Args:
        waveform: ``(N,)`` float32 in [-1, 1] at 16 kHz.
        session: from ``open_vad``.
        settings: threshold and shortest segment.
    """
    windows = segment_windows(voice_activity(waveform, session), settings)
    seconds = [(first * WINDOW / SAMPLE_RATE, end * WINDOW / SAMPLE_RATE) for first, end in windows]
    return widen(seconds, PAD_SECONDS, len(waveform) / SAMPLE_RATE)


def widen(segments: Sequence[tuple[float, float]], by: float, length: float) -> tuple[tuple[float, float], ...]:
    """Segments with ``by`` seconds more on both ends, as far as their neighbours and the waveform's ``length`` allow.

    >>> widen([(0.1, 1.0), (1.2, 2.0)], by=0.25, length=2.1)  # the pause of .2 s is shared
    ((0.0, 1.1), (1.1, 2.1))
    >>> widen([], by=0.25, length=2.1)
    ()
    """
    middles = [(earlier[1] + later[0]) / 2 for earlier, later in pairwise(segments)]
    return tuple(
        (max(start - by, before), min(end + by, after))
        for (start, end), before, after in zip(segments, [0.0, *middles], [*middles, length], strict=False)
    )
