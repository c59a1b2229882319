"""Features of a stream, made while it comes, with the engines of the worker.

    features.add(part)          a frame or samples: faces are tracked, voice is detected
    features.advance(until)     backbones run on what came since the last call
    features.within(start)      ClipFeatures from then on; windows are cut from them, as in ``predict --windows``
    features.words_until        words before this time are known: they are recognised utterance by utterance
    features.forget(before)     frees what no window needs

What differs from the features of the recording: a step of the speech encoder hears what comes before it in its chunk
of half a minute, as far as ``context`` allows, but only ``AFTER_SECONDS`` after it; the recogniser hears one utterance;
the main person is the one with the most face so far. Frames, crops and descriptors are the same.
The trade-off: audio before a part is encoded with it again, which takes Whisper tiny .2 s of work per second; a larger
encoder needs a shorter context.

Shapes: ``N`` samples at 16 kHz; ``T`` steps, ``F`` width.
"""

import math
from collections.abc import Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from mien.config import Settings
from mien.features.windows import WindowSpan
from mien.features.worker import Extractor
from mien.media.crops import RecentCrops
from mien.media.face_tracks import FaceTracker
from mien.media.frames import Frame, Samples
from mien.media.load_media import face_notes
from mien.media.utterances import Utterance, Utterances
from mien.modalities.audio import CHUNK_SECONDS
from mien.modalities.base import Modality
from mien.modalities.text import TEXT, cut_transcript
from mien.sandbox import deny_network
from mien.schema import SAMPLE_RATE, Clip, ClipFeatures, Feature, Media, Transcript, Word

CONTEXT_SECONDS = float(CHUNK_SECONDS)
"""Audio before a part that its encoder hears, at most, by default: as much as in a file."""

AFTER_SECONDS = 0.1
"""Audio after a part that its encoder hears; windows come later by as much."""

MOST_WAITING = 3
"""Utterances that wait for the recogniser. If it is slower than the speech, further ones are not transcribed, or, where
the stream can wait, it does."""

STREAM = Clip("live")


class StreamFeatures:
    """The features of one stream.

    Args:
        extractor: settings and engines.
        modalities: those that a model reads.
        context: seconds of audio before a part that its encoder hears, at most.
        may_skip: whether utterances are left out if the recogniser is too slow; else they are waited for.

    Attributes:
        video_until, audio_until: seconds of the stream that came; 0 before anything did.
        unheard_seconds: length of the speech that was not transcribed because the recogniser was too slow.
    """

    def __init__(
        self, extractor: Extractor, settings: Settings, modalities: Collection[Modality], context: float, may_skip: bool
    ) -> None:
        self.video_until = self.audio_until = self.unheard_seconds = 0.0
        self._extractor = extractor
        self._settings = settings
        self._modalities = [modality for modality in modalities if modality is not TEXT]
        self._pieces = {modality.name: _Pieces() for modality in self._modalities}
        self._context = context
        self._embedded = 0.0
        self._crops = RecentCrops()
        self._tracker: FaceTracker | None = None
        self._person: list[int] = []
        self._samples = np.empty(0, np.float32)
        self._samples_from = 0
        self._speech = _Speech(extractor, settings, may_skip) if TEXT in modalities else None

    def close(self) -> None:
        """End the thread of the recogniser."""
        if self._speech is not None:
            self._speech.close()

    def warm(self) -> None:
        """Load every engine and run it once, so that the first window does not wait for it."""
        noise = np.random.default_rng(0).normal(0, 0.01, 2 * SAMPLE_RATE).astype(np.float32)
        seen = {modality.sense for modality in self._modalities}
        if seen & {"vision", "motion"}:
            grey = np.full((240, 320, 3), 128, np.uint8)
            self._new_tracker().add(Frame(0.0, grey, frozenset({"vision", "motion"})))
        side = self._settings.faces.crop_size
        track = self._new_tracker().track() if seen & {"vision", "motion"} else None
        if track is not None:
            track = replace(track, crops=np.zeros((4, side, side, 3), np.uint8), crop_seconds=np.zeros(4, np.float32))
        media = Media(STREAM, 1.0, noise, Transcript("so", "warm"), track)
        for modality in self._modalities:
            self._extractor.features(modality, media)
        if self._speech is not None:
            self._extractor.features(TEXT, media)
            self._speech.warm(noise)

    def add(self, part: Frame | Samples, skip: bool = False) -> None:
        """Take the next part of the stream.

        Args:
            part: frames in order of time; samples that follow the ones before.
            skip: leave out the faces of a frame; words are still heard.
        """
        if isinstance(part, Frame):
            self.video_until = part.seconds
            if not skip:
                self._tracker = self._tracker or self._new_tracker()
                self._tracker.add(part)
            return
        self._samples = np.concatenate([self._samples, part.values])
        self.audio_until += len(part.values) / SAMPLE_RATE
        if self._speech is not None:
            self._speech.add(part.values)

    def advance(self, until: float, skip: bool = False) -> None:
        """Embed what came from the last call on, up to ``until`` seconds; or leave it out."""
        if not skip:
            track = self._tracker and self._tracker.track()
            self._check_person()
            for modality in self._modalities:
                known = self._pieces[modality.name]
                if modality.sense == "audio":
                    self._embed_audio(modality, known, until)
                elif track is not None:
                    fresh = slice(*np.searchsorted(track.crop_seconds, [known.until, until]))
                    moved = slice(*np.searchsorted(track.motion_seconds, [known.until, until]))
                    part = replace(
                        track,
                        crops=track.crops[fresh],
                        crop_seconds=track.crop_seconds[fresh],
                        motion=track.motion[moved],
                        motion_seconds=track.motion_seconds[moved],
                    )
                    known.add(self._extractor.features(modality, Media(STREAM, until, faces=part)), until)
        for known in self._pieces.values():
            known.until = max(known.until, until)
        self._embedded = until
        self._free_samples(until)

    def within(self, start: float) -> ClipFeatures:
        """The features from ``start`` on, with a reason for each modality that has none."""
        features = [self._pieces[m.name].joined(m, self._settings, start) for m in self._modalities]
        if self._speech is not None:  # each window has its own
            features.append(Feature(TEXT.main_feature(self._settings.backbone), "", "", status="absent"))
        return ClipFeatures(STREAM.id, self._embedded, tuple(features))

    def text_of(self, span: WindowSpan) -> WindowSpan:
        """A window with the text feature of the words in it that are known."""
        if self._speech is None:
            return span
        part = cut_transcript(self._speech.transcript, span.start, span.until)
        media = Media(STREAM, span.end, transcript=part, absent={"text": "no words in this window"})
        name = TEXT.main_feature(self._settings.backbone)
        made = self._extractor.features(TEXT, media)
        return replace(span, text=next(feature for feature in made if feature.modality == name))

    @property
    def words_until(self) -> float:
        """Words before this time do not change any more; infinity if no words are read."""
        return float("inf") if self._speech is None else self._speech.known_until

    def new_words(self, wait: bool = False) -> tuple[Word, ...]:
        """The words that were recognised since the last call; ``wait`` for those of all that came."""
        return () if self._speech is None else self._speech.new_words(wait)

    def hear(self, ended: bool = False) -> None:
        """Have the utterances transcribed that are over; with ``ended`` also the last one."""
        if self._speech is not None:
            self.unheard_seconds += self._speech.hear(ended)

    def forget(self, before: float) -> None:
        """Free what was before a time."""
        for pieces in self._pieces.values():
            pieces.forget(before)
        if self._tracker is not None:
            self._crops.forget(self._tracker.forget(before))
        if self._speech is not None:
            self._speech.forget(before)

    def notes(self) -> list[str]:
        """Remarks on the faces so far."""
        if self._tracker is None:
            return []
        return list(face_notes(replace(self._tracker.track(), upside_down=self._tracker.is_upside_down())))

    def _new_tracker(self) -> FaceTracker:
        return FaceTracker(self._extractor.engines.senses.finder, self._settings.faces, self._crops)

    def _check_person(self) -> None:
        """Where another person turns out to be the main one, what is kept of the faces is embedded again."""
        main = [] if self._tracker is None else [id(part) for part in self._tracker.main_person()]
        if main[: len(self._person)] != self._person:
            for modality in self._modalities:
                if modality.sense in ("vision", "motion"):
                    self._pieces[modality.name] = _Pieces()
        self._person = main

    def _embed_audio(self, modality: Modality, known: "_Pieces", until: float) -> None:
        """Encode the audio up to ``until``, chunk by chunk as in a file."""
        while known.until < until:
            chunk = _chunk_of(known.until)
            end = min(until, chunk + CHUNK_SECONDS)
            first = round(max(chunk, known.until - self._context) * SAMPLE_RATE)
            last = round(min(end + AFTER_SECONDS, chunk + CHUNK_SECONDS) * SAMPLE_RATE)
            waveform = self._samples[first - self._samples_from : last - self._samples_from]
            made = self._extractor.features(modality, Media(STREAM, end, waveform)) if len(waveform) else []
            known.add((_later(feature, first / SAMPLE_RATE) for feature in made), end)

    def _free_samples(self, until: float) -> None:
        needed = round(max(_chunk_of(until), until - self._context) * SAMPLE_RATE) - self._samples_from
        if needed > 0:
            self._samples = self._samples[needed:].copy()
            self._samples_from += needed


def _chunk_of(seconds: float) -> float:
    """The start of the chunk in which the speech encoder hears a moment."""
    return math.floor(seconds / CHUNK_SECONDS + 1e-9) * float(CHUNK_SECONDS)


def _later(feature: Feature, seconds: float) -> Feature:
    """A feature whose steps are later."""
    return feature if feature.seconds is None else replace(feature, seconds=feature.seconds + np.float32(seconds))


class _Pieces:
    """The steps of one modality, part by part, by the name of the feature.

    ``until`` is the time up to which they were made; ``reason`` is why the last part had none.
    """

    def __init__(self) -> None:
        self.until = 0.0
        self._reason = ""
        self._steps: dict[str, list[Feature]] = {}

    def add(self, made: Iterable[Feature], until: float) -> None:
        """Take the steps from ``self.until`` to ``until``."""
        for feature in made:
            if feature.values is None or feature.seconds is None:
                self._reason = feature.reason
                continue
            new = slice(*np.searchsorted(feature.seconds, np.array([self.until, until], np.float32)))
            kept = replace(feature, values=feature.values[new].copy(), seconds=feature.seconds[new].copy())
            self._steps.setdefault(feature.modality, []).append(kept)
        self.until = until

    def joined(self, modality: Modality, settings: Settings, start: float) -> Feature:
        """The steps from ``start`` on of the feature that a model reads, or why there are none."""
        name = modality.main_feature(settings.backbone)
        steps = [f for f in self._steps.get(name, ()) if f.seconds is not None and len(f.seconds)]
        steps = [f for f in steps if f.seconds is not None and f.seconds[-1] >= start]
        if not steps:
            reason = self._reason or f"no {'face' if modality.sense in ('vision', 'motion') else modality.sense}"
            return Feature(name, "", "", status="absent", reason=reason)
        values = np.concatenate([f.values for f in steps if f.values is not None])
        return replace(
            steps[0], values=values, seconds=np.concatenate([f.seconds for f in steps if f.seconds is not None])
        )

    def forget(self, before: float) -> None:
        """Free parts that end before a time."""
        for name, steps in self._steps.items():
            self._steps[name] = [
                f for f in steps if f.seconds is not None and len(f.seconds) and f.seconds[-1] >= before
            ]


@dataclass(frozen=True)
class _Heard:
    """An utterance and its transcript, once it is there."""

    utterance: Utterance
    result: "Future[Transcript]"


class _Speech:
    """Words of the stream, recognised in a thread without network."""

    def __init__(self, extractor: Extractor, settings: Settings, may_skip: bool) -> None:
        self._may_skip = may_skip
        self._transcriber = extractor.engines.senses.transcriber
        self._utterances = Utterances(self._transcriber.activity(), settings.speech)
        self._thread = ThreadPoolExecutor(1, "mien-words", initializer=partial(deny_network, whole_process=False))
        self._heard: list[_Heard] = []
        self.transcript = Transcript("", "live")

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def warm(self, noise: npt.NDArray[np.float32]) -> None:
        self._thread.submit(self._transcriber.recognise, noise, ((0.0, 1.0),)).result()

    def add(self, samples: npt.NDArray[np.float32]) -> None:
        self._utterances.add(samples)

    def hear(self, ended: bool) -> float:
        """Start to transcribe what is over; returns the seconds of speech that are not, as too many wait."""
        unheard = 0.0
        before = None
        while before != self._utterances.quiet_until:
            before = self._utterances.quiet_until
            utterance = self._utterances.next(ended)
            if utterance is None:
                continue
            waiting = [heard.result for heard in self._heard if not heard.result.done()]
            if len(waiting) >= MOST_WAITING and self._may_skip and not ended:
                unheard += sum(end - start for start, end in utterance.speech)
            else:
                if len(waiting) >= MOST_WAITING:
                    waiting[0].result()
                job = self._thread.submit(self._transcriber.recognise, utterance.waveform, utterance.speech)
                self._heard.append(_Heard(utterance, job))
        return unheard

    def new_words(self, wait: bool) -> tuple[Word, ...]:
        new: list[Word] = []
        while self._heard and (wait or self._heard[0].result.done()):
            heard = self._heard.pop(0)
            found, start = heard.result.result(), heard.utterance.start
            words = tuple(replace(word, start=word.start + start, end=word.end + start) for word in found.words)
            text = " ".join(filter(None, (self.transcript.text, found.text)))
            self.transcript = replace(self.transcript, text=text, words=(*self.transcript.words, *words))
            new += words
        return tuple(new)

    @property
    def known_until(self) -> float:
        return self._heard[0].utterance.start if self._heard else self._utterances.quiet_until

    def forget(self, before: float) -> None:
        if self.transcript.words and self.transcript.words[0].end < before:
            self.transcript = cut_transcript(self.transcript, before, float("inf"))
