"""Why a clip got its scores: what each modality added to them, and which moments the encoders looked at.

A model can be asked what it would say if a clip lacked some of its modalities. With four of them that is 16 questions,
and since every clip is embedded once, all are asked and nothing is estimated.

    left out    score − score without the modality                       what it adds to all the others
    Shapley     the mean of what it adds, over all orders of coming      adds up: nothing + Σ = score

Where two modalities say the same, leaving out either changes little, and the Shapley values share it between them.

Source: L. Shapley, "A value for n-person games" (1953); for models: Lundberg and Lee, NeurIPS 2017.
Shapes: ``E`` emotions.
"""

from collections.abc import Mapping, Sequence
from math import comb

import numpy as np
import numpy.typing as npt

from mien.inference.score import Ready, ready
from mien.model.bundle import Bundle
from mien.model.step_weights import step_seconds, step_weights
from mien.schema import Attention, Attribution, ClipFeatures
from mien.subsets import all_subsets

Answers = Mapping[frozenset[str], npt.NDArray[np.floating]]
"""Scores ``(E,)`` by what is present."""


def explain(bundle: Bundle, made: ClipFeatures, this: Ready | None = None) -> Attribution:
    """What moved the scores of a clip, exactly: every subset of what it has is scored.

    Args:
        bundle: the model.
        made: the features of the clip.
        this: the same clip, where it is packed already.

    Raises:
        ModelError: features are of another width than the model was trained on.
    """
    this = this or ready(bundle, [made])
    clips, (present,) = this.clips, this.present
    scored = bundle.score_subsets(clips, [(), *all_subsets(present)])
    answers = {frozenset(subset): scores[0].astype(np.float64) for subset, scores in scored.items()}
    everything = answers[frozenset(present)]
    leave_one_out = {name: everything - answers[frozenset(present) - {name}] for name in present}

    def by_target(values: npt.NDArray[np.floating]) -> dict[str, float]:
        return dict(zip(bundle.targets, values.tolist(), strict=True))

    seconds = {f.modality: f.seconds for f in made.features if f.seconds is not None}
    longest = bundle.settings.stage1.longest_steps
    return Attribution(
        baseline=by_target(answers[frozenset()]),
        shapley={name: by_target(values) for name, values in shapley(present, answers).items()},
        leave_one_out={name: by_target(values) for name, values in leave_one_out.items()},
        attention={
            name: Attention(tuple(step_seconds(seconds[name], longest).tolist()), tuple(weights.tolist()))
            for name, (weights,) in step_weights(bundle.module, clips).items()
            if name in present
        },
    )


def shapley(players: Sequence[str], answers: Answers) -> dict[str, npt.NDArray[np.float64]]:
    """Shapley values ``(E,)`` of each of ``players``.

    Args:
        players: those that are there.
        answers: the scores of every subset of them, the empty one included.

    Returns:
        Values that add up to the scores of all minus the scores of none. Source: Shapley 1953, equation (13): the mean
        over sizes of the mean over subsets of that size.

    >>> answers = {frozenset(): [0.0], frozenset("a"): [1.0], frozenset("b"): [2.0], frozenset("ab"): [5.0]}
    >>> values = shapley("ab", {who: np.array(said) for who, said in answers.items()})
    >>> {who: value.tolist() for who, value in values.items()}  # a adds 1 when first and 3 when second
    {'a': [2.0], 'b': [3.0]}
    """
    count = len(players)
    values = {}
    for name in players:
        others = [who for who in players if who != name]
        values[name] = sum(
            (answers[without | {name}] - answers[without]) / (count * comb(count - 1, len(without)))
            for without in map(frozenset, [(), *all_subsets(others)])
        )
    return values
