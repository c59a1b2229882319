"""Scores over time: every window of a clip is scored as if it were a clip, from its available modalities."""

from collections.abc import Sequence

from mien.features.windows import WindowSpan, cut
from mien.inference.score import score_features
from mien.modalities.text import TEXT
from mien.model.bundle import Bundle
from mien.schema import ClipFeatures, Prediction, Window

_BATCH = 64
"""Windows per batch; an hour has thousands of overlapping windows, too many to hold in memory."""


def score_windows(
    bundle: Bundle, features: ClipFeatures, spans: Sequence[WindowSpan], raw: bool = False
) -> tuple[Window, ...]:
    """Score the windows of a clip, in order of time.

    Args:
        bundle: the model.
        features: of the whole clip.
        spans: its windows.
        raw: as for ``score_packed``.

    Returns:
        A scored window per span, with the intervals for its modalities; scores are ``nan`` if none is available.
    """
    windows: list[Window] = []
    for begin in range(0, len(spans), _BATCH):
        batch = spans[begin : begin + _BATCH]
        scored = score_features(bundle, [cut(features, span, bundle.modalities) for span in batch], raw)
        windows += [
            Window(span.start, span.end, one.scores, one.intervals, one.present, one.clipped)
            for span, one in zip(batch, scored, strict=True)
        ]
    return tuple(windows)


def window_notes(predictions: Sequence[Prediction]) -> list[str]:
    """Limitations of the windows, one line each with a count and the first example."""
    scored = [made for made in predictions if made.error is None]
    no_length = [made.clip for made in scored if not made.windows]
    no_word_times = [made.clip for made in scored if made.windows and _lacks_word_times(made)]
    notes = (
        (no_word_times, "the transcript has no word times, so every window has the text of the whole clip"),
        (no_length, "no windows: the length is unknown, because only the transcript was read, no audio or video"),
    )
    return [f"{len(clips)} clips (first: {clips[0]}): {text}" for clips, text in notes if clips]


def _lacks_word_times(made: Prediction) -> bool:
    transcript = made.transcript
    return TEXT.name in made.present and transcript is not None and not transcript.words
