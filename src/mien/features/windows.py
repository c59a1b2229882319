"""Windows: parts of a clip that are scored as clips of their own, cut from the features of the whole clip.

    spans.py     length → (start, end) of each window          in the worker
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

from mien.features.spans import Windows
from mien.modalities import find_modality
from mien.schema import ClipFeatures, Feature


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
