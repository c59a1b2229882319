"""Scores over time: every window of a clip is scored as if it were a clip, from its available modalities."""

from collections.abc import Sequence
from dataclasses import replace

from mien.features.windows import WindowSpan, cut
from mien.inference.score import PackedClips, as_read, pack_clips, score_packed
from mien.modalities.text import TEXT
from mien.model.bundle import Bundle
from mien.schema import ClipFeatures, Feature, Prediction, Window
from mien.wording import plural

_BATCH = 64
"""Windows per batch; an hour has thousands of overlapping windows, too many to hold in memory."""


def pack_with_windows(bundle: Bundle, features: ClipFeatures, spans: Sequence[WindowSpan]) -> PackedClips:
    """Pack a clip together with its windows: the clip first, then its first windows, as many as are scored in a batch.

    Raises:
        ModelError: features are of another width than the model was trained on.
    """
    return pack_clips(bundle, [features, *_cut(bundle, features, spans[:_BATCH])])


def score_windows(
    bundle: Bundle,
    features: ClipFeatures,
    spans: Sequence[WindowSpan],
    raw: bool = False,
    packed: PackedClips | None = None,
) -> tuple[Window, ...]:
    """Score the windows of a clip, in order of time.

    Args:
        bundle: the model.
        features: of the whole clip.
        spans: its windows.
        raw: as for ``score_packed``.
        packed: the result of ``pack_with_windows`` for them, if it is known already.

    Returns:
        A scored window per span, with the intervals for its modalities; scores are ``nan`` if none is available.
    """
    first = (packed or pack_with_windows(bundle, features, spans))[1:]
    scored = score_packed(bundle, first, raw) if spans else []
    for begin in range(_BATCH, len(spans), _BATCH):
        batch = pack_clips(bundle, _cut(bundle, features, spans[begin : begin + _BATCH]))
        scored += score_packed(bundle, batch, raw)
    return tuple(
        Window(span.start, span.end, one.scores, one.intervals, one.present, one.clipped)
        for span, one in zip(spans, scored, strict=True)
    )


def windows_as_read(bundle: Bundle, spans: Sequence[WindowSpan]) -> tuple[WindowSpan, ...]:
    """Windows whose text features are those that a model reads (``as_read``)."""
    return tuple(span if span.text is None else replace(span, text=_as_text(bundle, span.text)) for span in spans)


def _as_text(bundle: Bundle, text: Feature) -> Feature | None:
    return next(iter(as_read(bundle, ClipFeatures("", 0.0, (text,))).features), None)


def _cut(bundle: Bundle, features: ClipFeatures, spans: Sequence[WindowSpan]) -> list[ClipFeatures]:
    return [cut(features, span, bundle.modalities) for span in spans]


def window_notes(predictions: Sequence[Prediction]) -> list[str]:
    """Limitations of the windows, one line each with a count and the first example."""
    scored = [made for made in predictions if made.error is None]
    no_length = [made.clip for made in scored if not made.windows]
    no_word_times = [made.clip for made in scored if made.windows and _lacks_word_times(made)]
    notes = (
        (no_word_times, "the transcript has no word times, so every window has the text of the whole clip"),
        (no_length, "no windows: the length is unknown, because only the transcript was read, no audio or video"),
    )
    return [f"{plural(len(clips), 'clip')} (first: {clips[0]}): {text}" for clips, text in notes if clips]


def _lacks_word_times(made: Prediction) -> bool:
    transcript = made.transcript
    return TEXT.name in made.present and transcript is not None and not transcript.words
