"""Comparison of two models on the same clips."""

from mien.errors import DataError
from mien.evaluation.evaluate import check_targets, score_selection
from mien.evaluation.notes import leak_notes
from mien.evaluation.seen_clips import Selection, select_clips
from mien.features.store import Store
from mien.metrics import PairedTest, paired_test
from mien.model.bundle import Bundle
from mien.schema import Manifest


class Comparison(dict[str, PairedTest]):
    """Paired tests by emotion, and ``mean`` for the score of the challenge.

    Attributes:
        notes: on clips that a model has seen, one line each.
    """

    notes: tuple[str, ...] = ()


def compare(
    first: Bundle,
    second: Bundle,
    manifest: Manifest,
    stores: tuple[Store, Store],
    split: str | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Is the second model better than the first, on the same clips and the same resamples of them?

    Args:
        first, second: the models.
        manifest: rated clips.
        stores: features for each model.
        split: as in ``evaluate``; by default the clips that are validation clips of both runs.
        resamples, seed: of the bootstrap.

    Raises:
        DataError: as ``score_split``, or the runs have no validation clip in common.
        ModelError: as ``score_split``.
    """
    a, b = (
        score_selection(model, store, selection)
        for model, store, selection in zip(
            (first, second), stores, _common(first, second, manifest, stores, split), strict=True
        )
    )
    p, q = a.mean, b.mean
    results = Comparison()
    notes = ((name, note) for name, part in (("first", a), ("second", b)) for note in leak_notes(part.selection))
    results.notes = tuple(f"{name} model: {note}" for name, note in notes)
    for e, name in enumerate(first.targets):
        one = [e]
        results[name] = paired_test(p[:, one], q[:, one], a.labels[:, one], a.clusters, resamples, seed)
    results["mean"] = paired_test(p, q, a.labels, a.clusters, resamples, seed)
    return results


def _common(
    first: Bundle, second: Bundle, manifest: Manifest, stores: tuple[Store, Store], split: str | None
) -> tuple[Selection, Selection]:
    """The same clips for both models."""
    for model in (first, second):
        check_targets(model, manifest)
    a, b = (select_clips(model, manifest, store, split) for model, store in zip((first, second), stores, strict=True))
    common = {clip.id for clip in a.clips} & {clip.id for clip in b.clips}
    if not common:
        raise DataError(
            f"{manifest.source}: the two runs have no validation clip in common; name clips that neither model was "
            "trained on with --split"
        )
    return a.among(common), b.among(common)
