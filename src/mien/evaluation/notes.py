"""Notes on an evaluation: clips that the model has seen, and means that leave emotions out."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mien.evaluation.seen_clips import Selection


def leak_notes(selection: Selection) -> list[str]:
    """Warnings on clips that the model has seen."""
    notes, count = [], len(selection.clips)
    if seen := selection.trained_on:
        instead = "without --split, the validation clips of the model's run are evaluated"
        if selection.refitted:
            instead = "it was trained again on all rated clips; RUN/stage2 is the model before that"
        notes.append(
            f"the model was trained on {len(seen)} of these {count} clips, first {seen[0]}: results on them "
            f"say nothing about new clips; {instead}"
        )
    if seen := selection.validated_on:
        notes.append(
            f"{len(seen)} of these {count} clips chose the best epoch and calibrated scores and intervals: r and "
            "errors are slightly optimistic, and coverage near its target by construction"
        )
    if unsure := selection.unsure:
        notes.append(
            f"{len(unsure)} of these {count} clips, first {unsure[0]}, have names of clips that the model has seen in "
            "data of another name, and no files to compare: it is unknown whether they are the same"
        )
    return notes


def undefined_notes(
    parts: Mapping[str, npt.NDArray[np.float64]], targets: Sequence[str], whole: npt.NDArray[np.float64]
) -> list[str]:
    """Which means of r leave out emotions that are in the mean of the whole model.

    Args:
        parts: r ``(E,)`` by subset of modalities, and by model.
        targets: names of the emotions.
        whole: ``(E,)`` of the mean of all models with all modalities.

    >>> parts = {"text": np.array([0.4, 0.2]), "motion": np.array([0.1, np.nan])}
    >>> undefined_notes(parts, ["Joy", "Awe"], np.ones(2))[0].partition("; ")[0]
    'r is undefined for some emotions in 1 of 2 subsets and models (first: motion, without Awe)'
    """
    lost = {name: np.isnan(r) & ~np.isnan(whole) for name, r in parts.items()}
    found = [(name, [target for target, gone in zip(targets, at, strict=True) if gone]) for name, at in lost.items()]
    found = [(name, gone) for name, gone in found if gone]
    if not found:
        return []
    name, gone = found[0]
    return [
        f"r is undefined for some emotions in {len(found)} of {len(parts)} subsets and models (first: {name}, without "
        f"{', '.join(gone)}); their means are over the others"
    ]
