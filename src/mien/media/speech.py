"""Transcribes speech with word times: voice activity detection, then Whisper.

A recogniser invents words in silence and music, so only segments with voice activity are transcribed. They are packed,
with shortened pauses, into chunks of at most half a minute (the recogniser's window): many short utterances then need
few windows, memory does not grow with the clip, and word times are mapped back. Decoding is greedy or by beam search,
never sampled: the same audio gives the same words.

The recogniser's window is shortened to the chunk and some silence, which saves most of its time. Where the result looks
wrong, the chunk is transcribed again in the full window, and the better result is used. Loops that remain are reduced
to one copy; segments that look invented are dropped and counted.

Shapes: ``N`` samples at 16 kHz.
"""

import math
import threading
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.config import SpeechSettings
from mien.errors import DependencyMissing, SettingsError, WeightsError, WeightsMissing
from mien.media.chunks import PAD_SECONDS, Span, chunks, clip_time
from mien.media.transcript_check import Segment, is_plausible, problems, reduced
from mien.media.vad import VoiceActivity, open_vad, speech_segments, widen
from mien.schema import SAMPLE_RATE, Transcript, Word

FRAMES_PER_SECOND = 100
"""Of the recogniser's spectrogram."""

TRAILING_SILENCE_SECONDS = 8.0
"""Silence after a chunk in the recogniser's input.

Whisper was trained on 30 s, mostly silence after a short utterance, which takes most of its time. With 4 s it loses or
repeats a sentence in 5 % of 420 variants of real speech, with 8 s in 2 %, as with all of it (``docs/log.md``)."""

FULL_WINDOW_SECONDS = 30.0
"""Silence that fills the window after any chunk."""

MIN_LANGUAGE_PROBABILITY = 0.5
"""A detected language of lower probability is not reported."""


@dataclass(frozen=True, slots=True)
class _Recognised:
    """The segments of a chunk, and the language."""

    chunk: Sequence[Span]
    segments: list[Segment]
    language: str


class Transcriber:
    """The voice activity detector and the speech recogniser, loaded once.

    Args:
        vad: Silero's ``silero_vad.onnx``.
        asr: a CTranslate2 Whisper folder; its name is the transcripts' ``source``. ``None`` finds speech only.
        settings: language, thresholds, beam.
        threads: processor threads of the recogniser.

    Raises:
        DependencyMissing: faster-whisper or onnxruntime is not installed.
        WeightsMissing: a file or folder of weights does not exist.
        WeightsError: weights are not of the expected model.
        SettingsError: the recogniser does not support ``settings.language``.
    """

    def __init__(self, vad: Path, asr: Path | None, settings: SpeechSettings, threads: int = 1) -> None:
        self._settings = settings
        self._vad = open_vad(vad)
        self._asr = None if asr is None else _open_asr(asr, threads)
        self._source = "" if asr is None else asr.name
        self._language = None if self._asr is None else _language(self._asr, self._source, settings)

    def segments(self, waveform: npt.NDArray[np.float32]) -> tuple[Span, ...]:
        """Times of speech in ``waveform``, ``(N,)``; see ``mien.media.vad.speech_segments``."""
        return speech_segments(waveform, self._vad, self._settings)

    def transcribe(self, waveform: npt.NDArray[np.float32]) -> Transcript:
        """Transcribe ``waveform``.

        Args:
            waveform: ``(N,)`` float32 in [-1, 1] at 16 kHz, of any length.

        Returns:
            The transcript. Without voice activity, its text and ``speech`` are empty and the recogniser is not run. If
            there is speech but all segments were dropped, the text is empty and ``dropped_segments`` is their number.

        Raises:
            WeightsMissing: there is speech, but no recogniser.
        """
        speech = self.segments(waveform)
        if not speech:
            return Transcript("", source=self._source)
        return replace(self.recognise(waveform, speech), detected_language=self._other_language(waveform, speech))

    def activity(self) -> VoiceActivity:
        """The voice activity detector for audio that comes in parts."""
        return VoiceActivity(self._vad)

    def recognise(self, waveform: npt.NDArray[np.float32], speech: tuple[Span, ...]) -> Transcript:
        """The words in segments of speech.

        Args:
            waveform: as for ``transcribe``.
            speech: times of speech in it, at least one.

        Raises:
            WeightsMissing: there is no recogniser.
        """
        if self._asr is None:
            raise WeightsMissing("a speech recogniser is needed; bring one with: mien weights fetch small")
        recognised = [
            part
            for chunk in chunks(widen(speech, PAD_SECONDS, len(waveform) / SAMPLE_RATE))
            for part in self._recognise_chunk(waveform, chunk)
        ]
        return _transcript(recognised, self._source, speech)

    def _recognise_chunk(self, waveform: npt.NDArray[np.float32], chunk: Sequence[Span]) -> list[_Recognised]:
        """The better of two results where the first has problems; if that is repetitive, its spans one by one.

        People repeat themselves across pauses; within one span it is more likely the recogniser that loops.
        """
        found = self._recognise(waveform, chunk)
        if problems(found.segments, chunk):
            full = self._recognise(waveform, chunk, FULL_WINDOW_SECONDS)
            found = min(full, found, key=lambda result: problems(result.segments, chunk))
        if len(chunk) == 1 or not any(one.repetitive for one in found.segments):
            return [found]
        return [part for span in chunk for part in self._recognise_chunk(waveform, [span])]

    def _recognise(
        self, waveform: npt.NDArray[np.float32], chunk: Sequence[Span], silence: float | None = None
    ) -> _Recognised:
        """Transcribe a chunk with ``silence`` seconds after it."""
        asr = self._with_silence(TRAILING_SILENCE_SECONDS if silence is None else silence)
        pieces = [waveform[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] for start, end in chunk]
        segments, info = asr.transcribe(
            np.concatenate(pieces),
            language=self._language,
            beam_size=self._settings.beam_size,
            temperature=0.0,
            word_timestamps=True,
            condition_on_previous_text=False,
            vad_filter=False,
            log_prob_threshold=None,
            no_speech_threshold=None,
            compression_ratio_threshold=None,
        )
        return _Recognised(chunk, [_segment(one) for one in segments], info.language)

    def _other_language(self, waveform: npt.NDArray[np.float32], speech: Sequence[Span]) -> str | None:
        """The language that a multilingual recogniser detects in the first half minute, if it expects another one."""
        if self._asr is None or self._language is None or not self._asr.model.is_multilingual:
            return None
        asr = self._with_silence(TRAILING_SILENCE_SECONDS)
        spoken = [waveform[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] for start, end in speech]
        language, probability, _ = asr.detect_language(np.concatenate(spoken))
        return str(language) if language != self._language and probability > MIN_LANGUAGE_PROBABILITY else None

    def _with_silence(self, seconds: float) -> Any:
        """The recogniser, with so much silence after its input; threads share the model, not this setting."""
        assert self._asr is not None
        asr = copy(self._asr)
        asr.silence_seconds = seconds
        return asr


def _segment(found: Any) -> Segment:
    """A segment of faster-whisper."""
    words = [Word(one.word, float(one.start), float(one.end), float(one.probability)) for one in found.words or ()]
    return Segment(
        text=found.text.strip(),
        words=tuple(words),
        seconds=float(found.end - found.start),
        logprob=float(found.avg_logprob),
        no_speech=float(found.no_speech_prob),
        compression_ratio=float(found.compression_ratio),
    )


def _placed(word: Word, chunk: Sequence[Span]) -> Word:
    """A word of a chunk with the clip's times."""
    start, end = clip_time(word.start, chunk, at_end=False), clip_time(word.end, chunk, at_end=True)
    return Word(word.text.strip(), start, end, word.probability)


def _transcript(recognised: Sequence[_Recognised], source: str, speech: tuple[Span, ...]) -> Transcript:
    found = [(part, reduced(segment)) for part in recognised for segment in part.segments]
    kept = [(part, segment) for part, segment in found if is_plausible(segment)]
    seconds = sum(segment.seconds for _, segment in kept)
    weighted = sum(segment.logprob * segment.seconds for _, segment in kept)
    return Transcript(
        text=" ".join(segment.text for _, segment in kept),
        source=source,
        words=tuple(_placed(word, part.chunk) for part, segment in kept for word in segment.words),
        language=kept[0][0].language if kept else None,
        speech=speech,
        average_logprob=weighted / seconds if seconds else math.nan,
        no_speech_probability=max((segment.no_speech for _, segment in kept), default=math.nan),
        dropped_segments=len(found) - len(kept),
    )


def without_padding(features: npt.NDArray[np.float32], silence_seconds: float) -> npt.NDArray[np.float32]:
    """A spectrogram ``(80, T)`` with at most ``silence_seconds`` of its zero padding; ``T`` is even.

    >>> filled = np.zeros((80, 3000), np.float32)
    >>> filled[:, :251] = 1.0
    >>> without_padding(filled, 4.0).shape
    (80, 652)
    """
    end = int(np.flatnonzero(np.any(features, axis=0)).max(initial=-1)) + 1
    frames = end + round(silence_seconds * FRAMES_PER_SECOND)
    return np.ascontiguousarray(features[:, : frames + frames % 2])


def _open_asr(folder: Path, threads: int) -> Any:
    for name in ("model.bin", "tokenizer.json"):  # without a tokenizer, faster-whisper would use the network
        if not (folder / name).is_file():
            raise WeightsMissing(f"{folder / name}: no such file; bring the weights with: mien weights fetch small")
    try:
        from faster_whisper import WhisperModel  # noqa: PLC0415
        from tqdm import tqdm  # noqa: PLC0415
    except ImportError as error:
        raise DependencyMissing(f"speech needs faster-whisper ({error}); pip install 'mien[speech]'") from error
    # faster-whisper makes a hidden bar, whose lock between processes outlives a worker that is ended: Python warns then
    tqdm.set_lock(threading.RLock())

    class Recogniser(WhisperModel):
        """Encodes a window only as far as it has audio, plus some silence."""

        silence_seconds = FULL_WINDOW_SECONDS

        def encode(self, features: npt.NDArray[np.float32]) -> Any:
            return super().encode(without_padding(features, self.silence_seconds))

    try:
        return Recogniser(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{folder}: not a Whisper model in CTranslate2's format ({error})") from error


def _language(asr: Any, name: str, settings: SpeechSettings) -> str | None:
    """The language for the recogniser; ``None`` to detect it."""
    if settings.language == "auto":
        return None if asr.model.is_multilingual else "en"
    if settings.language not in asr.supported_languages:
        known = ", ".join(asr.supported_languages)
        raise SettingsError(f"speech.language: {name} does not support {settings.language!r}; it supports {known}")
    return settings.language
