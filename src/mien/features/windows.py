"""Windows: parts of a clip that are scored as clips of their own, cut from the features of the whole clip.

    spans        length → (start, end) of each window          in the worker
    WindowSpan   a window, and the text feature of its words   from the worker to the scoring
    cut          features of the clip → features of a window   where scores are computed

Audio, vision and motion are cut by the presentation times of their steps: no backbone runs again. A sentence vector
cannot be cut, so the words spoken in a window are embedded separately, which costs little.

The trade-off: a step of a speech encoder depends on the audio around it, so the scores of a window differ slightly
from those of the same seconds in a file of their own; in return a clip with windows costs hardly more than the clip.

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
"""Number of windows that cover each moment by default."""

Span = tuple[float, float]
"""Start and end in seconds."""


@dataclass(frozen=True)
class Windows:
    """Windows of length ``seconds``, one every ``hop`` seconds."""

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
        until: steps before this time belong to it: ``end``; infinity in the last window.
        text: the text feature of its words; ``None`` takes that of the whole clip.
    """

    start: float
    end: float
    until: float
    text: Feature | None = None


def windows_of(seconds: float | None, hop: float | None = None) -> Windows | None:
    """Checked windows; without ``hop`` one begins every quarter of their length.

    Raises:
        SettingsError: a length is not above 0, windows would leave gaps, or a hop is given without a length.
    """
    if seconds is None:
        if hop is not None:
            raise SettingsError(f"a hop of {hop:g} s without windows; give the length of a window, e.g. --windows 4s")
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
    """The windows of a clip of a given length, without text features."""
    spans = windows.spans(length)
    return [WindowSpan(start, end, end if n < len(spans) else math.inf) for n, (start, end) in enumerate(spans, 1)]


def cut(clip: ClipFeatures, window: WindowSpan, modalities: Iterable[str]) -> ClipFeatures:
    """The features of some modalities in a window; steps at its start belong to it, steps at its end do not."""
    wanted = {feature.modality: feature for feature in clip.features if feature.modality in set(modalities)}
    parts = tuple(_part(feature, window) for feature in wanted.values())
    return ClipFeatures(clip.clip, window.end - window.start, parts)


def _part(feature: Feature, window: WindowSpan) -> Feature:
    """A feature in a window: the window's own text, the steps in it, or the one vector of the whole clip."""
    if window.text is not None and window.text.modality == feature.modality:
        return window.text
    return _within(feature, window) if find_modality(feature.modality).sequence else feature


def _within(feature: Feature, window: WindowSpan) -> Feature:
    """The steps of a feature within a window, without copying; absent when there are none."""
    if feature.values is None or feature.seconds is None:
        return feature
    edges = np.array([window.start, window.until], np.float32)
    first, last = np.searchsorted(feature.seconds, edges)
    if first == last:
        return replace(feature, values=None, seconds=None, status="absent", reason="nothing of it in this window")
    return replace(feature, values=feature.values[first:last], seconds=feature.seconds[first:last])
