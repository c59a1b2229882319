"""Signs that a transcript is wrong: loops, words without length, speech without words, text in silence."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mien.media.chunks import PAD_SECONDS, Span
from mien.schema import Word

MAX_NO_SPEECH_PROBABILITY = 0.5
MIN_LOGPROB = -1.0
"""A segment is dropped if silence is likelier than speech *and* its mean token log-probability is this low (Whisper's
own threshold of a failed decoding)."""

MAX_COMPRESSION_RATIO = 2.4
"""A text with a larger zlib compression ratio is repetitive."""

NO_LENGTH_SECONDS = 0.02
"""Words that are shorter have no length: the recogniser found no audio for them."""

WORDS_WITHOUT_LENGTH = 3
"""So many words without length in a row look invented."""

MAX_GAP_SECONDS = 1.5
"""Speech without words for longer looks lost."""

SHORTEST_LOOP = 3
"""Words in the shortest loop that is reduced to one copy."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of a chunk's transcript, with times in the chunk.

    Attributes:
        words: their texts as in ``text``, with the spaces before them.
        logprob: mean log-probability of the tokens.
        no_speech: the recogniser's probability of silence.
        compression_ratio: of the text, by zlib.
    """

    text: str
    words: tuple[Word, ...]
    seconds: float
    logprob: float
    no_speech: float
    compression_ratio: float

    @property
    def repetitive(self) -> bool:
        """Whether the text compresses as only repetitions do."""
        return self.compression_ratio > MAX_COMPRESSION_RATIO


def problems(segments: Sequence[Segment], chunk: Sequence[Span]) -> int:
    """How many of three signs of a failed transcription a chunk's segments have.

    They are repetitive, or have words without length in a row, or leave speech without words.
    """
    kept = [segment for segment in segments if not is_silence(segment)]
    return (
        any(segment.repetitive for segment in kept)
        + any(_words_without_length(segment.words) >= WORDS_WITHOUT_LENGTH for segment in kept)
        + (_longest_gap([word for segment in kept for word in segment.words], chunk) > MAX_GAP_SECONDS)
    )


def _words_without_length(words: Sequence[Word]) -> int:
    """The longest row of words without length."""
    longest = row = 0
    for word in words:
        row = row + 1 if word.end - word.start < NO_LENGTH_SECONDS else 0
        longest = max(longest, row)
    return longest


def _longest_gap(words: Sequence[Word], chunk: Sequence[Span]) -> float:
    """The longest time without words within a span of a chunk, not counting its padding."""
    longest = offset = 0.0
    for start, end in chunk:
        reached, stop = offset + PAD_SECONDS, offset + end - start - PAD_SECONDS
        for word in words:
            if word.end > reached and word.start < stop:
                longest, reached = max(longest, word.start - reached), word.end
        longest, offset = max(longest, stop - reached), offset + end - start
    return longest


def without_loops(words: Sequence[Word]) -> tuple[Word, ...]:
    """Words with one copy of each loop: of a passage that repeats itself, and most words of one copy without length.

    A repetition that takes its time was said; one without length was not.

    >>> again = [Word(text, at, at, 1.0) for text, at in (("we", 1.2), ("have", 1.2), ("it", 1.2))]
    >>> said = [Word(text, at, at + 0.4, 1.0) for text, at in (("we", 0.0), ("have", 0.4), ("it", 0.8))]
    >>> [word.start for word in without_loops([*said, *again, *again])]
    [0.0, 0.4, 0.8]
    """
    kept = list(words)
    first = 0
    while first < len(kept):
        loop = _loop_at(kept, first)
        if loop is None:
            first += 1
        else:
            del kept[loop]
    return tuple(kept)


def _loop_at(words: Sequence[Word], first: int) -> slice | None:
    """The copy to leave out where a passage that begins at ``first`` is repeated at once; ``None`` without a loop."""
    texts = ["".join(filter(str.isalnum, word.text.lower())) for word in words]
    for size in range(SHORTEST_LOOP, (len(words) - first) // 2 + 1):
        one, other = slice(first, first + size), slice(first + size, first + 2 * size)
        if texts[one] == texts[other]:
            for copy in (other, one):
                if 2 * sum(word.end - word.start < NO_LENGTH_SECONDS for word in words[copy]) > size:
                    return copy
    return None


def is_silence(segment: Segment) -> bool:
    """Whether a segment has no words, or silence is likelier than its words."""
    unlikely = segment.no_speech > MAX_NO_SPEECH_PROBABILITY and segment.logprob < MIN_LOGPROB
    return unlikely or not any(letter.isalnum() for letter in segment.text)


def is_plausible(segment: Segment) -> bool:
    """Whether a segment is kept: it has words, silence is not likelier, and it is not repetitive."""
    return not is_silence(segment) and not segment.repetitive


def reduced(segment: Segment) -> Segment:
    """The segment with one copy of each loop."""
    words = without_loops(segment.words)
    if len(words) == len(segment.words):
        return segment
    text = "".join(word.text for word in words).strip()
    encoded = text.encode()
    return replace(segment, text=text, words=words, compression_ratio=len(encoded) / len(zlib.compress(encoded)))
