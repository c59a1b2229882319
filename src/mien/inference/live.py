"""Scores while a stream comes: each window is scored when its last moment has arrived.

    with LiveSession(load(folder), Windows(4, 1)) as session:
        for event in session.events(source): ...

    decoder process ──▶ Arrivals (a thread) ──▶ StreamFeatures ──▶ score_windows ──▶ events

A window comes as ``provisional`` if words in it may still be recognised, and as ``final`` afterwards. When the machine
is too slow, so that windows are late by more than ``MOST_HOPS`` and as much of the stream waits, what waits is left out
up to the last hop, with all windows that overlap it, and that is reported.

The trade-off: the scores of a live window differ a little from those of the recording (``features/stream.py``), which
``mien predict --windows`` gives.
"""

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any, Self

from mien.errors import MienError, escape_control
from mien.features.spans import Windows
from mien.features.stream import AFTER_SECONDS, CONTEXT_SECONDS, StreamFeatures
from mien.features.windows import WindowSpan
from mien.features.worker import Extractor, plan
from mien.inference.arrivals import Arrivals
from mien.inference.live_events import Behind, Event, Failed, Ready, Scored, Spoken, Started, Stopped, Warned
from mien.inference.predict import Model
from mien.inference.provenance import check_backbones, describe_model
from mien.inference.score import as_read
from mien.inference.sources import settings_for
from mien.inference.windows import score_windows, windows_as_read
from mien.media.decoder import DecoderDied, RemoteReader
from mien.media.frames import Frame
from mien.media.stream import StreamSource
from mien.modalities import get_modalities
from mien.sandbox import offline

MOST_HOPS = 2
"""Hops by which windows may be late before some are left out."""

WAITING_HOPS = 4
"""Hops of the stream that wait in memory."""

MOST_DEATHS = 3
"""Decoder processes that may die without ``STEADY_SECONDS`` of the stream in between."""

STEADY_SECONDS = 10.0

PATIENCE_SECONDS = 1.0
"""If video or audio is this far ahead of the other, the other is not waited for."""

_ROUNDING = 1e-6


class LiveSession:
    """A model whose engines stay loaded, for one stream after the other.

    Args:
        model: the model.
        windows: length and hop; ``events`` may be given others.
        context: seconds of audio before a second that its encoder hears, at most (``StreamFeatures``).

    Raises:
        WeightsMissing, DependencyMissing, ModelError: as for ``Model.predictions``.
    """

    def __init__(self, model: Model, windows: Windows, context: float = CONTEXT_SECONDS) -> None:
        self._model, self._windows, self._context = model, windows, context
        self._settings = settings_for(model.bundle.settings, "video", "video")
        extraction = plan(self._settings)
        check_backbones(model.bundle, dict(extraction.weights))
        self._end = ExitStack()
        self._call: Callable[..., Any] = self._end.enter_context(offline())
        self._extractor: Extractor = self._call(extraction)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._extractor.close)
        self._end.close()

    def warm(self) -> Ready:
        """Load every engine, so that the first window does not wait for it."""
        features = self._call(self._features, False)
        try:
            self._call(features.warm)
        finally:
            features.close()
        self._extractor.engines.senses.decoder.start()
        return Ready()

    def events(self, source: StreamSource, windows: Windows | None = None) -> Iterator[Event]:
        """Score a stream until it ends, or ``source.stop()`` is called.

        Args:
            source: the stream; started here.
            windows: of this stream; by default those of the session.

        Yields:
            ``Started`` first, unless it cannot be decoded; ``Stopped`` last. Errors of the stream are events, too.
        """
        windows = windows or self._windows
        source.start()
        features = self._call(self._features, not source.waits)
        scorer = _Scorer(self._model, windows, features, may_skip=not source.waits)
        decoder, seconds, failure = self._extractor.engines.senses.decoder, 0.0, ""
        decoder.begin(None, self._settings.media.longest_seconds + 60)
        try:
            seconds = yield from self._decode(source, scorer, WAITING_HOPS * windows.hop)
        except MienError as error:
            decoder.kill()
            failure = "" if source.stopped_early else escape_control(str(error))
        early = source.stopped_early
        if failure:
            source.stop()
            yield Failed(failure)
        try:
            yield from self._call(scorer.finish, seconds)
        finally:
            features.close()
        reason = "failed" if failure else "stopped" if early else "ended"
        yield Stopped(reason, round(max(seconds, scorer.done), 3), scorer.scored, scorer.skipped)

    def _decode(self, source: StreamSource, scorer: "_Scorer", most: float) -> Generator[Event, None, float]:
        """Score while the stream comes, of which at most ``most`` seconds wait in memory; its length.

        If the decoder process dies, another one goes on: with the last seconds, and if that dies of them, without.

        Raises:
            MediaError: it cannot be decoded any more.
        """
        senses = {modality.sense for modality in get_modalities(self._model.modalities)}
        rates = self._settings.media.face_rates if senses & {"vision", "motion"} else {}
        hears = bool(senses & {"audio", "text"})
        decoder, file, arrivals = self._extractor.engines.senses.decoder, source.file, None
        resume, deaths, reached = None, 0, 0.0
        while True:
            try:
                with decoder.open_stream(source.name, file, rates=rates, audio=hears, resume=resume) as reader:
                    if arrivals is None:
                        yield from scorer.begin(reader, bool(rates), hears)
                        arrivals = Arrivals(reader, most)
                    else:
                        arrivals = arrivals.continued(reader)
                    yield from self._read(arrivals, scorer, source)
                yield from (Warned(escape_control(note)) for note in reader.notes)
                return reader.seconds
            except DecoderDied as error:
                newest = 0.0 if arrivals is None else arrivals.newest
                deaths, reached = 1 if newest > reached + STEADY_SECONDS else deaths + 1, max(reached, newest)
                another = source.reopen(skip=deaths > 1) if deaths < MOST_DEATHS else None
                if another is None:
                    raise
                file = another
                resume = None if arrivals is None or arrivals.zero is None else (arrivals.zero, arrivals.samples)
                yield Warned(escape_control(f"{error}; another one goes on after {newest:.1f} s"))

    def _read(self, arrivals: Arrivals, scorer: "_Scorer", source: StreamSource) -> Iterator[Event]:
        """Score while the stream comes."""
        problem = source.problem
        arrivals.start()
        try:
            while (events := self._call(scorer.step, arrivals)) is not None:
                yield from events
                if source.problem != problem:
                    problem = source.problem
                    yield Warned(escape_control(problem))
        finally:
            arrivals.close()

    def _features(self, may_skip: bool) -> StreamFeatures:
        modalities = get_modalities(self._model.modalities)
        return StreamFeatures(self._extractor, self._settings, modalities, self._context, may_skip)


class _Scorer:
    """The windows of one stream.

    Attributes:
        done: seconds of the stream that were embedded or left out.
        scored: number of final windows.
        skipped: number of windows that were left out.
    """

    def __init__(self, model: Model, windows: Windows, features: StreamFeatures, may_skip: bool) -> None:
        self.done, self.scored, self.skipped = 0.0, 0, 0
        self._model, self._windows, self._features = model, windows, features
        self._next = 0  # number of the next window
        self._left_out_until = 0.0
        self._shown = False  # a window, since something was left out
        self._may_skip = may_skip
        self._pending: list[tuple[WindowSpan, Scored]] = []
        self._noted: set[str] = set()
        self._video = self._audio = False

    def begin(self, reader: RemoteReader, sees: bool, hears: bool) -> Iterator[Event]:
        """What the stream has, and what is known to affect the scores."""
        note = describe_model(self._model.bundle, self._model.name, self._model.sha256)
        self._video, self._audio = sees and reader.has_video, hears and reader.has_audio
        yield Started(
            note.name, list(self._model.targets), list(self._model.modalities), self._model.bundle.scale,
            note.interval_level, self._windows.seconds, self._windows.hop, reader.has_video, reader.has_audio,
        )  # fmt: skip
        if note.random_weights:
            yield Warned("the model was trained on random weights; its scores are meaningless")
        if note.banner:
            yield Warned(f"the model was {note.banner}")
        yield from map(Warned, self._model.feature_notes())
        if sees and not self._video:
            yield Warned("no video in the stream: scored without the face")
        if hears and not self._audio:
            yield Warned("no audio in the stream: scored without voice and words")

    def step(self, arrivals: Arrivals) -> list[Event] | None:
        """Take the next part of the stream; ``None`` at its end."""
        part = arrivals.take()
        if part is None:
            return None
        skip = isinstance(part, Frame) and part.seconds < self._left_out_until
        self._features.add(part, skip)
        self._features.hear()
        events: list[Event] = []
        while self._has_come(end := self._next_end()):
            late = min(arrivals.lag(end), arrivals.newest - end)
            if self._may_leave_out(end) and late > MOST_HOPS * self._windows.hop:
                events.append(self._leave_out(end, arrivals.newest))
            if self._left_out_until > self.done:
                if not self._has_come(self._left_out_until):
                    break
                self._features.advance(self._left_out_until, skip=True)
                self.done = self._left_out_until
                continue
            events += self._advance(end, arrivals.lag(end))
        return [*events, *self._words(), *self._finals(self._features.words_until, arrivals)]

    def finish(self, length: float) -> list[Event]:
        """The windows that the end of the stream completes, and the words that were not known yet.

        Args:
            length: of the stream in seconds; 0 if it failed, then its last window is left out.
        """
        events: list[Event] = []
        last = len(self._windows.spans(length)) - 1
        while length and self._next <= last:
            end = self._next_end()
            if self._next == last and end >= length - _ROUNDING:
                events += self._advance(length, 0.0, math.inf)
            else:
                events += self._advance(end, 0.0)
        self._features.hear(ended=True)
        return [*events, *self._words(wait=True), *self._finals(math.inf, None)]

    def _start(self, number: int) -> float:
        return round(number * self._windows.hop, 6)

    def _next_end(self) -> float:
        """The next moment up to which is embedded: the end of a window, or a whole number of hops before one."""
        end = self._start(self._next) + self._windows.seconds
        hops = math.floor((end - self.done) / self._windows.hop - _ROUNDING)
        return round(end - max(0, hops) * self._windows.hop, 6)

    def _has_come(self, end: float) -> bool:
        """Whether the stream has come up to a moment; where one of video and audio stops, the other is enough."""
        video, audio = self._features.video_until, self._features.audio_until - AFTER_SECONDS
        reached = [*[video] * self._video, *[audio] * self._audio]
        return bool(reached) and (min(reached) >= end or max(reached) >= end + PATIENCE_SECONDS)

    def _may_leave_out(self, end: float) -> bool:
        """Whether what comes before ``end`` may be left out: not within the first window since the last time, so that
        a machine that is always too slow shows one window after the other, instead of none."""
        begun = self.done > self._left_out_until and not self._shown
        return self._may_skip and self._left_out_until < end and not begun

    def _leave_out(self, end: float, newest: float) -> Behind:
        """Leave out what waits, up to the last hop."""
        self._shown = False
        hop = self._windows.hop
        until = round(float(end) + hop * math.floor((newest - end) / hop - 1), 6)
        following = math.ceil(until / hop - _ROUNDING)
        skipped, self._next = following - self._next, following
        self.skipped += skipped
        self._left_out_until = until
        return Behind(skipped, self.skipped, float(self.done), until)

    def _advance(self, end: float, lag: float, until: float | None = None) -> list[Event]:
        """Embed up to ``end``; if a window ends there, score it."""
        self._features.advance(end)
        self.done = end
        start = self._start(self._next)
        if until is None and end < start + self._windows.seconds - _ROUNDING:
            return []
        self._next += 1
        self._shown = True
        span = WindowSpan(start, end, end if until is None else until)
        state = "final" if self._features.words_until >= end else "provisional"
        scored = self._scored(span, state, lag)
        if state == "final":
            self.scored += 1
        else:
            self._pending.append((span, scored))
        self._features.forget(min([self._start(self._next), *(span.start for span, _ in self._pending)]))
        return [*self._notes(), scored]

    def _scored(self, span: WindowSpan, state: Any, lag: float) -> Scored:
        features, bundle = self._features.within(span.start), self._model.bundle
        span = self._features.text_of(span)
        (window,) = score_windows(bundle, as_read(bundle, features), windows_as_read(bundle, [span]))
        reasons = {feature.modality: feature.reason for feature in as_read(bundle, features).features}
        if span.text is not None:
            reasons["text"] = span.text.reason
        absent = {name: reasons.get(name) or f"no {name}" for name in bundle.modalities if name not in window.present}
        return Scored(window, state, absent, lag)

    def _finals(self, known_until: float, arrivals: Arrivals | None) -> list[Event]:
        """The pending windows in which all words are known."""
        events: list[Event] = []
        while self._pending and self._pending[0][0].end <= known_until:
            span, _ = self._pending.pop(0)
            events.append(self._scored(span, "final", arrivals.lag(span.end) if arrivals else 0.0))
            self.scored += 1
        return events

    def _words(self, wait: bool = False) -> list[Event]:
        return [
            Spoken(escape_control(word.text), round(word.start, 3), round(word.end, 3), word.probability, word.doubtful)
            for word in self._features.new_words(wait)
        ]

    def _notes(self) -> list[Event]:
        """Remarks, each kind once."""
        notes = {note.partition(":")[0]: note for note in self._features.notes()}
        if self._features.unheard_seconds:
            notes["words"] = "words are missing: this machine transcribes more slowly than is spoken"
        new = [note for kind, note in notes.items() if kind not in self._noted]
        self._noted |= notes.keys()
        return [Warned(escape_control(note)) for note in new]
