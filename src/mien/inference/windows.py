"""The scores of a clip over time: every window of it is scored as a clip of its own, from whatever it has."""

from collections.abc import Sequence

from mien.features.windows import WindowSpan, cut
from mien.inference.score import score_features
from mien.modalities.text import TEXT
from mien.model.bundle import Bundle
from mien.schema import ClipFeatures, Prediction, Window

_AT_ONCE = 64
"""Windows whose features are in memory at a time; an hour has thousands, which overlap."""


def score_windows(bundle: Bundle, made: ClipFeatures, stretches: Sequence[WindowSpan]) -> tuple[Window, ...]:
    """Score the windows of a clip, in order of time.

    Args:
        bundle: the model.
        made: the features of the whole clip.
        stretches: its windows.

    Returns:
        A window per stretch, with an interval by the modalities in it; every score of one that has none is ``nan``.
    """
    windows: list[Window] = []
    for begin in range(0, len(stretches), _AT_ONCE):
        batch = stretches[begin : begin + _AT_ONCE]
        scored = score_features(bundle, [cut(made, stretch, bundle.modalities) for stretch in batch])
        windows += [
            Window(stretch.start, stretch.end, one.scores, one.intervals, one.present)
            for stretch, one in zip(batch, scored, strict=True)
        ]
    return tuple(windows)


def window_notes(predictions: Sequence[Prediction]) -> list[str]:
    """What the windows of clips do not show, one line each with a count and the first example."""
    scored = [made for made in predictions if made.error is None]
    unmeasured = [made.clip for made in scored if not made.windows]
    untimed = [made.clip for made in scored if made.windows and _is_untimed(made)]
    notes = (
        (untimed, "the transcript has no times of words, so every window has the text of the whole clip"),
        (unmeasured, "no windows, because the length is not known: only words were read, and no sound or picture"),
    )
    return [f"{len(clips)} clips (first: {clips[0]}): {what}" for clips, what in notes if clips]


def _is_untimed(made: Prediction) -> bool:
    said = made.transcript
    return TEXT.name in made.present and said is not None and not said.words
