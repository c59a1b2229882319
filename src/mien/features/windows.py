"""Windows over a clip: stretches that are scored as clips of their own, cut from what was made of the whole clip.

    spans      length → (start, end) of each window          in the worker
    Stretch    a window, and the text of the words in it     from the worker to whoever scores
    cut        features of the clip → features of a window   where the scores are made

Sound, pictures and movement are cut by the presentation times of their steps: no backbone looks or listens again. A
sentence vector cannot be cut, so the words spoken in a window are embedded anew, which costs little.

The trade-off: a step of a speech encoder has heard what is around it, so a window is not quite the same seconds as a
file of their own; in return a clip with windows costs hardly more than the clip.

Shapes: ``T`` steps, ``F`` feature width.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from mien.errors import SettingsError
from mien.modalities import find_modality
from mien.schema import ClipFeatures, Feature

OVERLAP = 4
"""Windows that see each moment, when nothing is said of the hop."""

Span = tuple[float, float]
"""Start and end in seconds."""


@dataclass(frozen=True)
class Windows:
    """Windows of ``seconds``, one every ``hop`` seconds."""

    seconds: float
    hop: float

    def spans(self, length: float) -> list[Span]:
        """The windows of a clip: from 0 on, the last being the first that reaches its end, and ending there.

        Args:
            length: of the clip in seconds, not negative.

        Returns:
            At least one; all but the last are of full length. Lengths are compared to the microsecond.

        >>> Windows(4, 2).spans(9)
        [(0, 4), (2, 6), (4, 8), (6, 9)]
        >>> Windows(4, 2).spans(8), Windows(4, 2).spans(1.5)
        ([(0, 4), (2, 6), (4, 8)], [(0, 1.5)])
        """
        more = math.ceil(max(0.0, length - self.seconds - 1e-6) / self.hop)
        starts = [round(n * self.hop, 6) for n in range(more + 1)]
        return [*((start, round(start + self.seconds, 6)) for start in starts[:-1]), (starts[-1], length)]


@dataclass(frozen=True)
class WindowSpan:
    """A window of one clip.

    Attributes:
        start, end: seconds from the start of the clip.
        until: where what belongs to it ends: ``end``, but the last window has everything from its start on.
        text: the text feature of its words; ``None`` leaves it that of the whole clip, which cannot be cut.
    """

    start: float
    end: float
    until: float
    text: Feature | None = None


def windows_of(seconds: float | None, hop: float | None = None) -> Windows | None:
    """Windows as somebody asks for them; without ``hop`` they begin every quarter of their length.

    Raises:
        SettingsError: a length is not above 0, windows would leave gaps, or there is a hop and no length.
    """
    if seconds is None:
        if hop is not None:
            raise SettingsError(f"a hop of {hop:g} s without windows; say how long a window is, e.g. --windows 4s")
        return None
    hop = seconds / OVERLAP if hop is None else hop
    if not (0 < seconds < math.inf and 0 < hop < math.inf):
        raise SettingsError(f"windows of {seconds:g} s every {hop:g} s: both must be above 0")
    if hop > seconds:
        raise SettingsError(
            f"windows of {seconds:g} s every {hop:g} s leave gaps; the hop may be {seconds:g} s at most"
        )
    return Windows(seconds, hop)


def window_spans(windows: Windows, length: float) -> list[WindowSpan]:
    """The windows of a clip of a length, without their texts."""
    spans = windows.spans(length)
    return [WindowSpan(start, end, end if n < len(spans) else math.inf) for n, (start, end) in enumerate(spans, 1)]


def cut(made: ClipFeatures, stretch: WindowSpan, modalities: Iterable[str]) -> ClipFeatures:
    """The features of some modalities within a window; steps belong to it from its start until just before its end."""
    whole = {feature.modality: feature for feature in made.features if feature.modality in set(modalities)}
    parts = tuple(_part(feature, stretch) for feature in whole.values())
    return ClipFeatures(made.clip, stretch.end - stretch.start, parts)


def _part(feature: Feature, stretch: WindowSpan) -> Feature:
    """A feature in a window: made for it, cut, or that of the whole clip, which has one vector."""
    if stretch.text is not None and stretch.text.modality == feature.modality:
        return stretch.text
    return _within(feature, stretch) if find_modality(feature.modality).sequence else feature


def _within(feature: Feature, stretch: WindowSpan) -> Feature:
    """The steps of a feature within a window, without copying; absent when there are none."""
    if feature.values is None or feature.seconds is None:
        return feature
    edges = np.array([stretch.start, stretch.until], np.float32)
    first, last = np.searchsorted(feature.seconds, edges)
    if first == last:
        return replace(feature, values=None, seconds=None, status="absent", reason="nothing of it in this window")
    return replace(feature, values=feature.values[first:last], seconds=feature.seconds[first:last])
