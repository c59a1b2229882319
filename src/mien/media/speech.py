"""Transcribes speech with word times: voice activity detection, then Whisper.

A recogniser invents words in silence and music, so only segments with voice activity are transcribed. They are packed,
with shortened pauses, into chunks of at most half a minute (the recogniser's window): many short utterances then need
few windows, memory does not grow with the clip, and word times are mapped back. Segments that look invented are dropped
and counted. Decoding is greedy or by beam search, never sampled: the same audio gives the same words.

Shapes: ``N`` samples at 16 kHz.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.config import SpeechSettings
from mien.errors import DependencyMissing, SettingsError, WeightsError, WeightsMissing
from mien.media.vad import open_vad, speech_segments, widen
from mien.schema import SAMPLE_RATE, Transcript, Word

Span = tuple[float, float]
"""Start and end in seconds."""

PAD_SECONDS = 0.2
"""Audio kept before and after each segment of speech: the detector misses onsets and endings."""

CHUNK_SECONDS = 30.0
"""The recogniser's window."""

TRAILING_SILENCE_FRAMES = 400
"""Silence after a chunk in the recogniser's input, in frames of its spectrogram, 100 per second.

Whisper was trained on 30 s, mostly silence after a short utterance, which takes most of its time. With 4 s hardly more
words are wrong than with all of it, if any; with 1 s it invents words (``bench.md``)."""

LONGEST_SPAN_SECONDS = 300.0
"""Longer speech (or singing) without a pause is split, since the recogniser's memory grows with its input."""

MAX_NO_SPEECH_PROBABILITY = 0.5
MIN_LOGPROB = -1.0
"""A segment is dropped if silence is likelier than speech *and* its mean token log-probability is this low (Whisper's
own threshold of a failed decoding)."""

MAX_COMPRESSION_RATIO = 2.4
"""A text with a larger zlib compression ratio is repetitive."""


@dataclass(frozen=True, slots=True)
class _Segment:
    """One segment of a chunk's transcript, with times of the clip."""

    text: str
    words: tuple[Word, ...]
    seconds: float
    logprob: float
    no_speech: float
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
        if self._asr is None:
            raise WeightsMissing("a speech recogniser is needed; bring one with: mien weights fetch small")
        recognised: list[_Segment] = []
        dropped = 0
        for chunk in chunks(widen(speech, PAD_SECONDS, len(waveform) / SAMPLE_RATE)):
            for part, segments, language in self._recognise_chunk(waveform, chunk):
                kept = [segment for segment in segments if is_plausible(segment)]
                dropped += len(segments) - len(kept)
                recognised += [_placed(segment, part, language) for segment in kept]
        return _transcript(recognised, self._source, speech, dropped)

    def _recognise_chunk(
        self, waveform: npt.NDArray[np.float32], chunk: Sequence[Span]
    ) -> Iterator[tuple[Sequence[Span], list[Any], str]]:
        """A chunk, or its spans one by one if its transcript is repetitive, with its segments and language.

        People repeat themselves across pauses; within one span it is more likely the recogniser that loops.
        """
        segments, language = self._recognise(waveform, chunk)
        if len(chunk) == 1 or not any(segment.compression_ratio > MAX_COMPRESSION_RATIO for segment in segments):
            yield chunk, segments, language
            return
        for span in chunk:
            yield [span], *self._recognise(waveform, [span])

    def _recognise(self, waveform: npt.NDArray[np.float32], chunk: Sequence[Span]) -> tuple[list[Any], str]:
        """faster-whisper's segments of a chunk, with times in the chunk, and the language."""
        assert self._asr is not None
        pieces = [waveform[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] for start, end in chunk]
        segments, info = self._asr.transcribe(
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
        return list(segments), info.language


def chunks(spans: Sequence[Span]) -> list[list[Span]]:
    """Spans in order, packed so that no chunk is longer than ``CHUNK_SECONDS`` except for a single longer span.

    >>> chunks([(0.0, 12.0), (20.0, 32.0), (40.0, 52.0), (60.0, 100.0)])
    [[(0.0, 12.0), (20.0, 32.0)], [(40.0, 52.0)], [(60.0, 100.0)]]
    """
    packed: list[list[Span]] = []
    room = 0.0
    for start, end in (piece for span in spans for piece in _pieces(*span)):
        if end - start > room:
            packed.append([])
            room = CHUNK_SECONDS
        packed[-1].append((start, end))
        room -= end - start
    return packed


def _pieces(start: float, end: float) -> list[Span]:
    """A span split into equal pieces of at most ``LONGEST_SPAN_SECONDS``."""
    count = max(1, math.ceil((end - start) / LONGEST_SPAN_SECONDS))
    edges = [start + (end - start) * at / count for at in range(count)] + [end]
    return list(pairwise(edges))


def clip_time(seconds: float, chunk: Sequence[Span], at_end: bool) -> float:
    """Convert a time in a chunk to the clip's time.

    Where one span ends and the next begins, it is the start of the next, or the end of the first if ``at_end``.

    >>> chunk = [(10.0, 12.0), (20.0, 21.0)]
    >>> clip_time(0.5, chunk, at_end=False), clip_time(2.0, chunk, at_end=False), clip_time(2.0, chunk, at_end=True)
    (10.5, 20.0, 12.0)
    """
    offset = 0.0
    for start, end in chunk:
        inside = seconds - offset
        if inside < end - start or (at_end and inside == end - start):
            return start + max(inside, 0.0)
        offset += end - start
    return chunk[-1][1]


def is_plausible(segment: Any) -> bool:
    """Whether a recognised segment is kept: it has words, is not repetitive, and silence is not likelier.

    Args:
        segment: with ``text``, ``no_speech_prob``, ``avg_logprob`` and ``compression_ratio``, as of faster-whisper.
    """
    is_silence = segment.no_speech_prob > MAX_NO_SPEECH_PROBABILITY and segment.avg_logprob < MIN_LOGPROB
    repetitive = segment.compression_ratio > MAX_COMPRESSION_RATIO
    return any(letter.isalnum() for letter in segment.text) and not is_silence and not repetitive


def _placed(segment: Any, chunk: Sequence[Span], language: str) -> _Segment:
    words = tuple(
        Word(
            text=word.word.strip(),
            start=clip_time(float(word.start), chunk, at_end=False),
            end=clip_time(float(word.end), chunk, at_end=True),
            probability=float(word.probability),
        )
        for word in segment.words or ()
    )
    seconds = segment.end - segment.start
    return _Segment(segment.text.strip(), words, seconds, segment.avg_logprob, segment.no_speech_prob, language)


def _transcript(segments: Sequence[_Segment], source: str, speech: tuple[Span, ...], dropped: int) -> Transcript:
    seconds = sum(segment.seconds for segment in segments)
    weighted = sum(segment.logprob * segment.seconds for segment in segments)
    return Transcript(
        text=" ".join(segment.text for segment in segments),
        source=source,
        words=tuple(word for segment in segments for word in segment.words),
        language=segments[0].language if segments else None,
        speech=speech,
        average_logprob=weighted / seconds if seconds else math.nan,
        no_speech_probability=max((segment.no_speech for segment in segments), default=math.nan),
        dropped_segments=dropped,
    )


def without_padding(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A spectrogram ``(80, T)`` with at most ``TRAILING_SILENCE_FRAMES`` of its zero padding; ``T`` is even.

    >>> filled = np.zeros((80, 3000), np.float32)
    >>> filled[:, :251] = 1.0
    >>> without_padding(filled).shape
    (80, 652)
    """
    end = int(np.flatnonzero(np.any(features, axis=0)).max(initial=-1)) + 1
    frames = end + TRAILING_SILENCE_FRAMES
    return np.ascontiguousarray(features[:, : frames + frames % 2])


def _open_asr(folder: Path, threads: int) -> Any:
    for name in ("model.bin", "tokenizer.json"):  # without a tokenizer, faster-whisper would use the network
        if not (folder / name).is_file():
            raise WeightsMissing(f"{folder / name}: no such file; bring the weights with: mien weights fetch small")
    try:
        from faster_whisper import WhisperModel  # noqa: PLC0415
    except ImportError as error:
        raise DependencyMissing(f"speech needs faster-whisper ({error}); pip install 'mien[speech]'") from error

    class Recogniser(WhisperModel):
        """Encodes a window only as far as it has audio, plus some silence."""

        def encode(self, features: npt.NDArray[np.float32]) -> Any:
            return super().encode(without_padding(features))

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
