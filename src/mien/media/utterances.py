"""Speech while it comes: audio in parts → utterances to transcribe, each once it is over.

    utterances.add(samples)            # voice activity of what came
    utterance = utterances.next()      # an utterance that is over, or None
    utterances.quiet_until             # no word that is still to come lies before this time

An utterance is over after a pause, and is cut at its quietest moment if it grows too long. The trade-off: the
recogniser hears one utterance where it hears half a minute of a file, so some words differ from those of the recording.

Shapes: ``N`` samples at 16 kHz; ``W`` windows of the detector, 32 ms.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.config import SpeechSettings
from mien.media.chunks import Span
from mien.media.vad import HYSTERESIS, PAD_SECONDS, WINDOW, VoiceActivity, segment_windows, widen
from mien.schema import SAMPLE_RATE

PAUSE_SECONDS = 0.5
"""An utterance is over after so long without voice."""

LONGEST_SECONDS = 10.0
"""A longer utterance is cut, so that its words do not come too late."""

LEAD_SECONDS = 0.25
"""Quiet audio kept before an utterance, which the recogniser hears."""

CUT_SECONDS = 3.0
"""The end of a long utterance in which its quietest moment is looked for."""


@dataclass(frozen=True)
class Utterance:
    """Speech to transcribe.

    Attributes:
        start: of ``waveform``, seconds of the stream.
        waveform: ``(N,)`` float32.
        speech: times of speech in it, seconds from its start.
    """

    start: float
    waveform: npt.NDArray[np.float32]
    speech: tuple[Span, ...]


class Utterances:
    """Divides a stream of audio into utterances.

    Args:
        activity: the detector of voice.
        settings: its threshold, and the shortest speech.
    """

    def __init__(self, activity: VoiceActivity, settings: SpeechSettings) -> None:
        self._detector = activity
        self._settings = settings
        self._begin = 0  # window of the stream at which the audio and the activity here begin
        self._waveform = np.empty(0, np.float32)
        self._activity = np.empty(0, np.float32)

    def add(self, samples: npt.NDArray[np.float32]) -> None:
        """Take the next samples, ``(N,)``."""
        self._waveform = np.concatenate([self._waveform, samples])
        self._activity = np.concatenate([self._activity, self._detector.add(samples)])

    @property
    def quiet_until(self) -> float:
        """Seconds of the stream before which no voice is waiting for its end."""
        voiced = np.flatnonzero(self._activity >= self._settings.vad_threshold)
        first = voiced[0] if len(voiced) else len(self._activity)
        return max(0.0, (self._begin + first) * WINDOW / SAMPLE_RATE - LEAD_SECONDS)

    def next(self, ended: bool = False) -> Utterance | None:
        """The next utterance that is over; ``None`` if there is none.

        Args:
            ended: nothing comes any more, so what is there is over.
        """
        audible = np.flatnonzero(self._activity >= max(self._settings.vad_threshold - HYSTERESIS, 0.01))
        last = int(audible[-1]) + 1 if len(audible) else 0
        count = len(self._activity)
        if ended:
            return self._take(count) if count else None
        if not last or (count - last) * WINDOW / SAMPLE_RATE >= PAUSE_SECONDS:
            return self._take(max(last, count - round(LEAD_SECONDS * SAMPLE_RATE / WINDOW)))
        if count * WINDOW / SAMPLE_RATE >= LONGEST_SECONDS:
            look = round(CUT_SECONDS * SAMPLE_RATE / WINDOW)
            return self._take(count - look + int(np.argmin(self._activity[-look:])))
        return None

    def _take(self, windows: int) -> Utterance | None:
        """Cut off the first windows: the utterance in them, if there is speech."""
        waveform = self._waveform[: windows * WINDOW]
        found = segment_windows(self._activity[:windows], self._settings)
        start = self._begin * WINDOW / SAMPLE_RATE
        self._begin += windows
        self._waveform, self._activity = self._waveform[windows * WINDOW :].copy(), self._activity[windows:]
        seconds = [(first * WINDOW / SAMPLE_RATE, end * WINDOW / SAMPLE_RATE) for first, end in found]
        speech = widen(seconds, PAD_SECONDS, len(waveform) / SAMPLE_RATE)
        return Utterance(start, waveform, speech) if speech else None
