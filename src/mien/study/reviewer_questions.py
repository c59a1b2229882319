"""Questions of reviewers about a two-stage system, answered from the cells of a study where it has them.

The questions are those that reviews of multimodal challenge papers raise: two stages or one, adapted or frozen
encoders, each modality alone, ablations of the recipe, the exact split, and how settings were chosen.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mien.data.splits import Split
from mien.storage.files import key_of
from mien.study.plan import Cell
from mien.study.results import Difference, Results
from mien.study.wording import ends, favours_trained, instead_of, spread
from mien.wording import plural

NOT_ASKED = "Not part of this study."


@dataclass(frozen=True)
class Answer:
    """A question and the study's answer."""

    question: str
    answer: str


def review_questions(results: Results, split: Split, tuned: str) -> list[Answer]:
    """All questions with their answers.

    Args:
        results: the study.
        split: of its reference.
        tuned: how the recipe's settings were chosen, as text.
    """
    return [
        Answer("Two stages, or joint training from scratch?", _compared(results, _is("joint"))),
        Answer("Adapted encoders, or frozen ones with only the regressor trained?", _compared(results, _is("frozen"))),
        Answer("Trained stages, or a linear regression on pooled backbone features?", _compared(results, _is_ridge)),
        Answer("How good is each modality alone?", _alone(results)),
        Answer("Does modality dropout help?", _compared(results, _without_dropout)),
        Answer("Which split, exactly?", _split(results, split)),
        Answer("How were the settings chosen?", _chosen(results, tuned)),
    ]


PairFilter = Callable[[Cell, Cell], bool]


def _is(adaptation: str) -> PairFilter:
    """Pairs that differ only in the adaptation of the encoders."""
    return lambda cell, other: _differs(cell, other, {"adaptation": adaptation})


def _without_dropout(cell: Cell, other: Cell) -> bool:
    return _differs(cell, other, {"modality_dropout": 0.0})


def _is_ridge(cell: Cell, other: Cell) -> bool:
    return cell.method == "ridge" and other.method == "train" and cell.settings.modalities == other.settings.modalities


def _differs(cell: Cell, other: Cell, change: dict[str, str | float]) -> bool:
    """Whether the change of stage 2 changes something and turns ``other`` into ``cell``."""
    changed = other.settings.model_copy(update={"stage2": other.settings.stage2.model_copy(update=change)})
    return cell.method == other.method and cell.settings == changed != other.settings


def _compared(results: Results, asked_for: PairFilter) -> str:
    """The pair at the reference in full, and a summary of the other pairs."""
    known = {(d.cell.labels, d.other.labels): d for row in results.steps.values() for d in row}
    pairs = [d for d in known.values() if asked_for(d.cell, d.other)]
    if not pairs:
        return NOT_ASKED
    at_reference = next((d for d in pairs if d.other.labels == results.plan.reference.labels), pairs[0])
    sentence = f"{instead_of(at_reference)}: {_both(at_reference)}, {at_reference.verdict}."
    if len(pairs) == 1:
        return sentence
    counts = ", ".join(f"{word} in {sum(d.verdict == word for d in pairs)}" for word in ("better", "worse", "open"))
    differences = [d.seeds.value for d in pairs]
    extent = f"from {min(differences):+z.4f} to {max(differences):+z.4f} over seeds"
    return f"{sentence} Over {len(pairs)} pairs, all else equal: {counts}; {extent}."


def _both(d: Difference) -> str:
    q = d.q
    corrected = "" if math.isnan(q) else f" (q = {q:.2g})"
    return (
        f"{d.seeds.value:+z.4f} {ends(d.seeds)} over seeds, {d.clips.value:+z.4f} {ends(d.clips)} over clips{corrected}"
    )


def _alone(results: Results) -> str:
    home = {axis: label for axis, label in results.plan.reference.labels if axis != "modalities"}
    found = [
        o for o in results.outcomes
        if not o.failed and len(o.cell.settings.modalities) == 1
        and {axis: label for axis, label in o.cell.labels if axis != "modalities"} == home
    ]  # fmt: skip
    if not found:
        return NOT_ASKED
    lines = [
        f"{o.cell.settings.modalities[0]} {spread(o)} ("
        + ", ".join(f"{name} {value:z.3f}" for name, value in zip(results.targets, np.mean(o.r, 0), strict=True)) + ")"
        for o in sorted(found, key=lambda o: -o.ensemble.value)
    ]  # fmt: skip
    return "; ".join(lines) + "."


def _split(results: Results, split: Split) -> str:
    if len({cell.settings.split.model_dump_json() for cell in results.plan.cells}) > 1:
        return "The split is varied in this study; split.json has that of the reference."
    people = "participants are unknown"
    if split.participants is not None:
        other = plural(split.participants[1], "participant")
        people = f"{split.participants[0]} and {other}, {len(split.shared)} on both sides"
    sides = ([clip.id for clip in side] for side in (split.train, split.valid))
    return (
        f"{split.rule}: {plural(len(split.train), 'clip')} for training, {len(split.valid)} for validation, none on "
        f"both sides; {people}. split.json names every clip; the key of both lists is {key_of(*sides)}."
    )


def _chosen(results: Results, tuned: str) -> str:
    stage = results.plan.reference.settings.stage2
    early = f"after {stage.patience} epochs without a better validation r"
    ended = early if stage.patience else "after a fixed number of epochs"
    changed = ", ".join(f"{name} = {value}" for name, value in results.plan.changes.items())
    measured = (
        "the epoch with the best validation r is evaluated, which makes the r of trained cells slightly optimistic. "
        "Nothing else was chosen on the validation clips." + favours_trained(results)
    )
    if results.plan.reference.settings.train.select == "inner":
        ended = ended.replace("validation r", "r")
        measured = (
            "the epoch with the best r on an inner split of the training clips is evaluated. Nothing was chosen on the "
            "validation clips."
        )
    return (
        f"{tuned}{f' Changed for all cells of this study: {changed}.' if changed else ''} Cells differ only in "
        f"the settings that their labels name. Training stopped {ended}, and {measured}"
    )
