"""Attribution: how much each modality contributed to the scores of a clip, and how much weight each step has.

A model scores a clip with any subset of its modalities. Four modalities have 16 subsets, and a clip is embedded only
once, so all subsets are scored and the values are exact.

    leave-one-out    score − score without the modality                      contribution beyond all the others
    Shapley          mean contribution over all orders of adding modalities  additive: baseline + Σ = score

Where two modalities are redundant, leaving out either changes little, and the Shapley values are shared between them.

Source: L. Shapley, "A value for n-person games" (1953); for models: Lundberg and Lee, NeurIPS 2017.
Shapes: ``E`` emotions.
"""

from collections.abc import Mapping, Sequence
from math import comb

import numpy as np
import numpy.typing as npt

from mien.inference.score import PackedClips, pack_clips
from mien.model.bundle import Bundle
from mien.model.step_weights import step_seconds, step_weights
from mien.schema import Attention, Attribution, ClipFeatures
from mien.subsets import all_subsets

SubsetScores = Mapping[frozenset[str], npt.NDArray[np.floating]]
"""Scores ``(E,)`` by the set of available modalities."""


def explain(
    bundle: Bundle, features: ClipFeatures, packed: PackedClips | None = None, raw: bool = False
) -> Attribution:
    """Modality contributions to the scores of a clip, exact: every subset of its modalities is scored.

    Args:
        bundle: the model.
        features: of the clip.
        packed: the same clip, if it is packed already.
        raw: contributions to the regression's own numbers; by default to the clipped scores (``score_packed``): the
            scores of every subset are clipped, so that contributions add up to what is shown.

    Raises:
        ModelError: features are of another width than the model was trained on.
    """
    packed = packed or pack_clips(bundle, [features])
    clips, (present,) = packed.clips, packed.present
    scored = bundle.score_subsets(clips, [(), *all_subsets(present)])
    bounded = {subset: scores if raw else bundle.bounded(scores) for subset, scores in scored.items()}
    by_subset = {frozenset(subset): scores[0].astype(np.float64) for subset, scores in bounded.items()}
    full = by_subset[frozenset(present)]
    leave_one_out = {name: full - by_subset[frozenset(present) - {name}] for name in present}

    def by_target(values: npt.NDArray[np.floating]) -> dict[str, float]:
        return dict(zip(bundle.targets, values.tolist(), strict=True))

    seconds = {f.modality: f.seconds for f in features.features if f.seconds is not None}
    longest = bundle.settings.stage1.longest_steps
    return Attribution(
        baseline=by_target(by_subset[frozenset()]),
        shapley={name: by_target(values) for name, values in shapley(present, by_subset).items()},
        leave_one_out={name: by_target(values) for name, values in leave_one_out.items()},
        attention={
            name: Attention(tuple(step_seconds(seconds[name], longest).tolist()), tuple(weights.tolist()))
            for name, (weights,) in step_weights(bundle.module, clips).items()
            if name in present
        },
    )


def shapley(modalities: Sequence[str], by_subset: SubsetScores) -> dict[str, npt.NDArray[np.float64]]:
    """Shapley values ``(E,)`` of each modality.

    Args:
        modalities: the available ones.
        by_subset: the scores of every subset of them, the empty one included.

    Returns:
        Values that add up to the scores of all minus the scores of none. Source: Shapley 1953, equation (13): the mean
        over sizes of the mean over subsets of that size.

    >>> by_subset = {frozenset(): [0.0], frozenset("a"): [1.0], frozenset("b"): [2.0], frozenset("ab"): [5.0]}
    >>> values = shapley("ab", {names: np.array(scores) for names, scores in by_subset.items()})
    >>> {name: value.tolist() for name, value in values.items()}  # a adds 1 when first and 3 when second
    {'a': [2.0], 'b': [3.0]}
    """
    count = len(modalities)
    values = {}
    for name in modalities:
        others = [other for other in modalities if other != name]
        values[name] = sum(
            (by_subset[without | {name}] - by_subset[without]) / (count * comb(count - 1, len(without)))
            for without in map(frozenset, [(), *all_subsets(others)])
        )
    return values
