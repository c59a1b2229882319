"""Sound → what is said, and when each word is.

A recogniser that is given silence or music invents words, so it is never given any: voice activity comes first, and
only the stretches with speech are transcribed. They are packed, with their pauses shortened, into parcels of at most
half a minute (the recogniser's own window), so that many short utterances cost few windows and memory does not grow
with the clip; word times are mapped back. What still looks invented is dropped and counted. Decoding is greedy or by
beam, never sampled: the same sound gives the same words.

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

BREATH_SECONDS = 0.2
"""Sound kept before and after each stretch of speech: onsets and endings that the detector is late for."""

PARCEL_SECONDS = 30.0
"""The recogniser's window."""

TRAILING_SILENCE_FRAMES = 400
"""Silence that the recogniser is given after a parcel, in frames of its spectrogram, 100 a second.

Whisper was trained on 30 s, mostly silence after a short utterance, and reading all that takes most of its time. With
4 s of it hardly more words are wrong than with all of it, if any; with 1 s it invents words (``bench.md``)."""

LONGEST_SPAN_SECONDS = 300.0
"""Speech (or singing) without any pause is cut here, since the recogniser's memory grows with what it is given."""

DOUBTFUL_NO_SPEECH = 0.5
DOUBTFUL_LOGPROB = -1.0
"""A segment is dropped when the recogniser holds it for likelier silence than speech *and* its words for this unlikely
(mean log-probability of the tokens; Whisper's own mark of a failed decoding)."""

REPETITIVE = 2.4
"""A text that zlib shrinks by more than this loops."""


@dataclass(frozen=True, slots=True)
class _Heard:
    """One segment of a parcel's transcript, its times those of the clip."""

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
        asr: a CTranslate2 Whisper folder, whose name becomes the transcripts' ``source``; ``None`` finds speech only.
        settings: language, thresholds, beam.
        threads: processor threads of the recogniser.

    Raises:
        DependencyMissing: faster-whisper or onnxruntime is not installed.
        WeightsMissing: a file or folder of weights is not there.
        WeightsError: weights are not what they should be.
        SettingsError: the recogniser does not know ``settings.language``.
    """

    def __init__(self, vad: Path, asr: Path | None, settings: SpeechSettings, threads: int = 1) -> None:
        self._settings = settings
        self._vad = open_vad(vad)
        self._asr = None if asr is None else _open_asr(asr, threads)
        self._source = "" if asr is None else asr.name
        self._language = None if self._asr is None else _language(self._asr, self._source, settings)

    def segments(self, sound: npt.NDArray[np.float32]) -> tuple[Span, ...]:
        """When somebody speaks in ``sound``, ``(N,)``; see ``mien.media.vad.speech_segments``."""
        return speech_segments(sound, self._vad, self._settings)

    def transcribe(self, sound: npt.NDArray[np.float32]) -> Transcript:
        """What is said in ``sound``.

        Args:
            sound: ``(N,)`` float32 in [-1, 1] at 16 kHz, of any length.

        Returns:
            The transcript. Without voice activity its text and ``speech`` are empty and nothing was recognised; where
            speech was found but everything recognised in it was dropped, its text is empty, ``speech`` is not, and
            ``dropped_segments`` says how many.

        Raises:
            WeightsMissing: somebody speaks, and there is no recogniser.
        """
        speech = self.segments(sound)
        if not speech:
            return Transcript("", source=self._source)
        if self._asr is None:
            raise WeightsMissing("a speech recogniser is needed; bring one with: mien weights fetch small")
        heard: list[_Heard] = []
        dropped = 0
        for parcel in chunks(widen(speech, BREATH_SECONDS, len(sound) / SAMPLE_RATE)):
            for part, segments, language in self._understand(sound, parcel):
                kept = [segment for segment in segments if is_plausible(segment)]
                dropped += len(segments) - len(kept)
                heard += [_placed(segment, part, language) for segment in kept]
        return _transcript(heard, self._source, speech, dropped)

    def _understand(
        self, sound: npt.NDArray[np.float32], parcel: Sequence[Span]
    ) -> Iterator[tuple[Sequence[Span], list[Any], str]]:
        """A parcel, or its spans one by one where the whole seems to loop, with its segments and language.

        People do say the same thing twice; in a single stretch of speech it is likelier the recogniser that does.
        """
        segments, language = self._recognise(sound, parcel)
        if len(parcel) == 1 or not any(segment.compression_ratio > REPETITIVE for segment in segments):
            yield parcel, segments, language
            return
        for span in parcel:
            yield [span], *self._recognise(sound, [span])

    def _recognise(self, sound: npt.NDArray[np.float32], parcel: Sequence[Span]) -> tuple[list[Any], str]:
        """faster-whisper's segments of one parcel, in the parcel's own time, and the language."""
        assert self._asr is not None
        spoken = [sound[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] for start, end in parcel]
        segments, told = self._asr.transcribe(
            np.concatenate(spoken),
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
        return list(segments), told.language


def chunks(spans: Sequence[Span]) -> list[list[Span]]:
    """Spans in order, packed so that no parcel holds more than ``PARCEL_SECONDS`` of sound; a longer span is alone.

    >>> parcels([(0.0, 12.0), (20.0, 32.0), (40.0, 52.0), (60.0, 100.0)])
    [[(0.0, 12.0), (20.0, 32.0)], [(40.0, 52.0)], [(60.0, 100.0)]]
    """
    packed: list[list[Span]] = []
    room = 0.0
    for start, end in (piece for span in spans for piece in _pieces(*span)):
        if end - start > room:
            packed.append([])
            room = PARCEL_SECONDS
        packed[-1].append((start, end))
        room -= end - start
    return packed


def _pieces(start: float, end: float) -> list[Span]:
    """A span in equal pieces of at most ``LONGEST_SPAN_SECONDS``."""
    count = max(1, math.ceil((end - start) / LONGEST_SPAN_SECONDS))
    edges = [start + (end - start) * at / count for at in range(count)] + [end]
    return list(pairwise(edges))


def clip_time(seconds: float, parcel: Sequence[Span], at_end: bool) -> float:
    """The clip's time of a moment in a parcel.

    A moment at which one span ends and the next begins is the next one's start, or the end of the first if ``at_end``.

    >>> parcel = [(10.0, 12.0), (20.0, 21.0)]
    >>> clip_time(0.5, parcel, at_end=False), clip_time(2.0, parcel, at_end=False), clip_time(2.0, parcel, at_end=True)
    (10.5, 20.0, 12.0)
    """
    passed = 0.0
    for start, end in parcel:
        inside = seconds - passed
        if inside < end - start or (at_end and inside == end - start):
            return start + max(inside, 0.0)
        passed += end - start
    return parcel[-1][1]


def is_plausible(segment: Any) -> bool:
    """Whether a recognised segment is kept: it has words, does not loop, and is not doubted twice over.

    Args:
        segment: with ``text``, ``no_speech_prob``, ``avg_logprob`` and ``compression_ratio``, as faster-whisper gives.
    """
    doubted = segment.no_speech_prob > DOUBTFUL_NO_SPEECH and segment.avg_logprob < DOUBTFUL_LOGPROB
    loops = segment.compression_ratio > REPETITIVE
    return any(letter.isalnum() for letter in segment.text) and not doubted and not loops


def _placed(segment: Any, parcel: Sequence[Span], language: str) -> _Heard:
    words = tuple(
        Word(
            text=word.word.strip(),
            start=clip_time(float(word.start), parcel, at_end=False),
            end=clip_time(float(word.end), parcel, at_end=True),
            probability=float(word.probability),
        )
        for word in segment.words or ()
    )
    seconds = segment.end - segment.start
    return _Heard(segment.text.strip(), words, seconds, segment.avg_logprob, segment.no_speech_prob, language)


def _transcript(heard: Sequence[_Heard], source: str, speech: tuple[Span, ...], dropped: int) -> Transcript:
    seconds = sum(segment.seconds for segment in heard)
    weighted = sum(segment.logprob * segment.seconds for segment in heard)
    return Transcript(
        text=" ".join(segment.text for segment in heard),
        source=source,
        words=tuple(word for segment in heard for word in segment.words),
        language=heard[0].language if heard else None,
        speech=speech,
        average_logprob=weighted / seconds if seconds else math.nan,
        no_speech_probability=max((segment.no_speech for segment in heard), default=math.nan),
        dropped_segments=dropped,
    )


def without_padding(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A spectrogram ``(80, T)`` with at most ``TRAILING_SILENCE_FRAMES`` of the zeros that fill it; even ``T``.

    >>> filled = np.zeros((80, 3000), np.float32)
    >>> filled[:, :251] = 1.0
    >>> without_padding(filled).shape
    (80, 652)
    """
    sounding = int(np.flatnonzero(np.any(features, axis=0)).max(initial=-1)) + 1
    frames = sounding + TRAILING_SILENCE_FRAMES
    return np.ascontiguousarray(features[:, : frames + frames % 2])


def _open_asr(folder: Path, threads: int) -> Any:
    for name in ("model.bin", "tokenizer.json"):  # without its own tokenizer, faster-whisper would go to the network
        if not (folder / name).is_file():
            raise WeightsMissing(f"{folder / name}: no such file; bring the weights with: mien weights fetch small")
    try:
        from faster_whisper import WhisperModel  # noqa: PLC0415
    except ImportError as error:
        raise DependencyMissing(f"speech needs faster-whisper ({error}); pip install 'mien[speech]'") from error

    class Recogniser(WhisperModel):
        """Reads a window as far as there is sound in it."""

        def encode(self, features: npt.NDArray[np.float32]) -> Any:
            return super().encode(without_padding(features))

    try:
        return Recogniser(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{folder}: not a Whisper model in CTranslate2's format ({error})") from error


def _language(asr: Any, name: str, settings: SpeechSettings) -> str | None:
    """What to tell the recogniser to expect; ``None`` lets it decide."""
    if settings.language == "auto":
        return None if asr.model.is_multilingual else "en"
    if settings.language not in asr.supported_languages:
        known = ", ".join(asr.supported_languages)
        raise SettingsError(f"speech.language: {name} does not know {settings.language!r}; it knows {known}")
    return settings.language
