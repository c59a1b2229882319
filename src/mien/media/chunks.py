"""Segments of speech → chunks of the recogniser's window, and times in a chunk → times in the clip."""

import math
from collections.abc import Sequence
from itertools import pairwise

Span = tuple[float, float]
"""Start and end in seconds."""

PAD_SECONDS = 0.2
"""Audio kept before and after each segment of speech: the detector misses onsets and endings."""

CHUNK_SECONDS = 30.0
"""The recogniser's window."""

LONGEST_SPAN_SECONDS = 300.0
"""Longer speech (or singing) without a pause is split, since the recogniser's memory grows with its input."""


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
