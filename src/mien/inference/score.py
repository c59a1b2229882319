"""From features to scores: clips or windows are packed for the model and scored from their available modalities.

Shapes: ``N`` clips, ``M`` modalities, ``E`` emotions.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
import torch

from mien.errors import ModelError
from mien.features.store import Packed
from mien.modalities import get_modalities
from mien.model.bundle import Bundle
from mien.model.inputs import ClipDataset
from mien.schema import ClipFeatures


@dataclass(frozen=True)
class ClipScores:
    """Scores and intervals by target, and the available modalities; all ``nan`` if there are none.

    ``clipped`` names the targets with a score outside the rating scale.
    """

    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    present: tuple[str, ...]
    clipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class PackedClips:
    """Model inputs, packed once for scores, windows and attributions, and the available modalities of each clip."""

    clips: ClipDataset
    present: Sequence[tuple[str, ...]]

    def __getitem__(self, rows: slice) -> "PackedClips":
        """Some of the clips, without copying features."""
        index = torch.arange(len(self.present), device=self.clips.labels.device)[rows]
        return PackedClips(self.clips.only(index), self.present[rows])


def as_read(bundle: Bundle, clip: ClipFeatures) -> ClipFeatures:
    """The features of a clip that a model reads, each named after its modality; of a backbone or of its layers."""
    names = {one.main_feature(bundle.settings.backbone): one.name for one in get_modalities(bundle.modalities)}
    read = (replace(f, modality=names[f.modality]) for f in clip.features if f.modality in names)
    return replace(clip, features=tuple(read))


def pack_clips(bundle: Bundle, clips: Sequence[ClipFeatures]) -> PackedClips:
    """Pack clips for a model.

    Raises:
        ModelError: features are of another width than the model was trained on.
    """
    packed = pack(clips, bundle.modalities, bundle.widths)
    return PackedClips(bundle.clips(packed), [present_in(clip, bundle.modalities) for clip in clips])


def score_packed(bundle: Bundle, clips: PackedClips, raw: bool = False) -> list[ClipScores]:
    """Score clips in one batch, each with the intervals for its available modalities.

    Args:
        bundle: the model.
        clips: the clips.
        raw: keep the regression's own numbers; by default scores, and then the ends of their intervals, are clipped
            to the rating scale. That loses no coverage: ratings lie in the scale.
    """
    has = np.array([[name in names for name in bundle.modalities] for names in clips.present])  # (N, M)
    found = bundle.score_each(clips.clips).mean(0)  # (N, E)
    found = np.where(has.any(-1, keepdims=True), found, np.float32(math.nan))
    scores = found if raw else bundle.bounded(found)
    lower, upper = (ends if raw else bundle.bounded(ends) for ends in bundle.intervals(scores, has))
    clipped = (scores != found) & ~np.isnan(found)
    return [
        ClipScores(
            dict(zip(bundle.targets, scores[n].tolist(), strict=True)),
            dict(zip(bundle.targets, zip(lower[n].tolist(), upper[n].tolist(), strict=True), strict=True)),
            names,
            tuple(compress(bundle.targets, clipped[n])),
        )
        for n, names in enumerate(clips.present)
    ]


def score_features(bundle: Bundle, clips: Sequence[ClipFeatures], raw: bool = False) -> list[ClipScores]:
    """Pack clips and score them; ``raw`` as for ``score_packed``.

    Raises:
        ModelError: features are of another width than the model was trained on.
    """
    return score_packed(bundle, pack_clips(bundle, clips), raw)


def present_in(clip: ClipFeatures, modalities: Iterable[str]) -> tuple[str, ...]:
    """The available modalities of a clip, in the order given."""
    has = {feature.modality for feature in clip.features if feature.values is not None}
    return tuple(name for name in modalities if name in has)


def pack(clips: Sequence[ClipFeatures], modalities: Iterable[str], widths: Mapping[str, int]) -> dict[str, Packed]:
    """Concatenate the features of clips, one packed array per modality.

    Raises:
        ModelError: features are of another width than the model was trained on.
    """
    packed = {}
    for name in modalities:
        found = [{f.modality: f.values for f in clip.features}.get(name) for clip in clips]
        values = [np.empty((0, widths[name]), np.float16) if steps is None else steps for steps in found]
        wrong = next((steps.shape[1] for steps in values if steps.shape[1] != widths[name]), None)
        if wrong is not None:
            raise ModelError(f"{name} features are {wrong} wide, but the model was trained on {widths[name]}")
        offsets = np.concatenate([[0], np.cumsum([len(steps) for steps in values])]).astype(np.int64)
        packed[name] = Packed(np.concatenate(values), offsets)
    return packed
