"""Evaluation of a model on a split, as plain records; rendering is done elsewhere.

All metrics are over all rated clips of a split at once. Intervals are bootstrap intervals over whole participants where
participants are known, else over clips (and then too narrow, as a note says). The scores are those of ``predict``: the
mean over the seeds of the model, clipped to the rating scale.

Shapes: ``K`` models, ``N`` clips, ``M`` modalities, ``E`` emotions.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mien.data.splits import labels_of
from mien.errors import DataError
from mien.evaluation.model_inputs import check_features, gather_inputs
from mien.evaluation.notes import leak_notes, undefined_notes
from mien.evaluation.results import Coverage, Evaluation, LevelCoverage, TargetResult
from mien.evaluation.seen_clips import Selection, select_clips
from mien.evaluation.subgroups import by_group, interval_notes, participants_of
from mien.features.store import Store
from mien.metrics import (
    Interval,
    bootstrap_pearson,
    concordance,
    count_clusters,
    interval,
    mean_absolute_error,
    mean_defined,
    over_emotions,
    pearson,
    root_mean_square_error,
)
from mien.model.bundle import Bundle
from mien.model.inputs import ClipDataset
from mien.schema import Clip, Manifest
from mien.subsets import all_subsets, subset_name
from mien.wording import plural

Array = npt.NDArray[np.float64]


SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of clips that lack a modality in robustness curves."""


@dataclass(frozen=True)
class ScoredSplit:
    """Rated clips of a split with their scores.

    Attributes:
        selection: how the clips were chosen, and which of them the model has seen.
        clips: in the order of the manifest.
        inputs: their features in memory.
        labels: ``(N, E)``.
        scores: ``(K, N, E)``, of the regression, not clipped.
        mean: ``(N, E)`` mean over the models, clipped to the rating scale, as in ``predict``.
        present: ``(N, M)``.
        absent: by clip, its missing modalities with the reason (``"text: no speech; motion: no face"``).
    """

    selection: Selection
    clips: tuple[Clip, ...]
    inputs: ClipDataset
    labels: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]
    present: npt.NDArray[np.bool_]
    absent: tuple[str, ...]

    @property
    def clusters(self) -> list[str] | None:
        """Participants, if known for every clip."""
        return participants_of(self.clips)


def score_split(bundle: Bundle, manifest: Manifest, store: Store, split: str | None) -> ScoredSplit:
    """Score the rated clips of a split, by default those that ``select_clips`` chooses.

    Raises:
        DataError: the split has no rated clip, the targets are not those of the model, or files were replaced since
            extraction.
        ModelError: the features were made in a different way than those of the training.
        StoreError: features are damaged.
    """
    check_targets(bundle, manifest)
    return score_selection(bundle, store, select_clips(bundle, manifest, store, split))


def check_targets(bundle: Bundle, manifest: Manifest) -> None:
    """Check that the data are rated for the targets of the model.

    Raises:
        DataError: they are not.
    """
    if manifest.targets != bundle.targets:
        raise DataError(
            f"{manifest.source}: rates {', '.join(manifest.targets)}, but the model scores {', '.join(bundle.targets)}"
        )


def score_selection(bundle: Bundle, store: Store, selection: Selection) -> ScoredSplit:
    """Score some rated clips.

    Raises:
        DataError, ModelError, StoreError: as ``score_split``.
    """
    clips = selection.clips
    check_features(bundle, store)
    ids = [clip.id for clip in clips]
    packed = gather_inputs(bundle, store, clips)
    labels = labels_of(clips, len(bundle.targets))
    inputs = bundle.clips(packed, labels)
    present = np.stack([inputs.present(name).cpu().numpy() for name in bundle.modalities], -1)
    absent = tuple(_absent(store, clip, bundle.modalities, here) for clip, here in zip(ids, present, strict=True))
    scores = bundle.score_each(inputs)
    return ScoredSplit(selection, clips, inputs, labels, scores, bundle.bounded(scores.mean(0)), present, absent)


def _absent(store: Store, clip: str, modalities: tuple[str, ...], present: npt.NDArray[np.bool_]) -> str:
    """Missing modalities of a clip, with reasons."""
    rows = ((name, store.row(clip, name)) for name, here in zip(modalities, present, strict=True) if not here)
    return "; ".join(f"{name}: {row.reason if row else 'never extracted'}" for name, row in rows)


def evaluate(
    bundle: Bundle,
    manifest: Manifest,
    store: Store,
    split: str | None = None,
    resamples: int = 10_000,
    subsets: bool = True,
    seed: int = 0,
) -> Evaluation:
    """Evaluate a model on a split.

    Args:
        bundle: the model.
        manifest: rated clips.
        store: their features.
        split: ``train``, ``valid``, ``test``, another split of the manifest, or ``all``; by default the validation
            clips of the model's own run.
        resamples: of the bootstrap.
        subsets: also evaluate every subset of modalities, and robustness to missing ones.
        seed: of the bootstrap and of the choice of clips that lose a modality.

    Raises:
        DataError, ModelError: as ``score_split``.
    """
    scored = score_split(bundle, manifest, store, split)
    targets, mean_r = evaluate_targets(bundle.targets, scored.mean, scored.labels, scored.clusters, resamples, seed)
    r = np.array([target.r.value for target in targets])
    with_subsets = subsets and len(bundle.modalities) > 1
    raw = bundle.score_subsets(scored.inputs, all_subsets(bundle.modalities)) if with_subsets else {}
    predictions = {names: bundle.bounded(scores) for names, scores in raw.items()}
    by_subset = {subset_name(names): pearson(scores, scored.labels) for names, scores in predictions.items()}
    alone = pearson(bundle.bounded(scored.scores), scored.labels)
    by_model = {f"model {k} alone": found for k, found in enumerate(alone, 1)}
    return Evaluation(
        split=scored.selection.split,
        clips=len(scored.clips),
        resampled="participants" if scored.clusters else "clips",
        targets=targets,
        mean_r=mean_r,
        defined=int(np.isfinite(r).sum()),
        mean_ccc=float(mean_defined([target.ccc for target in targets])),
        seeds=mean_defined(np.array([*by_model.values()])),
        subsets={name: float(mean_defined(found)) for name, found in by_subset.items()},
        missing=missing_curves(predictions, scored.labels, seed) if with_subsets else {},
        shares=SHARES,
        coverage=_coverage(bundle, scored),
        table=_table(bundle, scored),
        notes=_notes(bundle, scored, r, {**by_subset, **by_model}),
        groups=by_group(scored.mean, scored.labels, scored.clips, resamples, seed),
        modalities=bundle.modalities,
        trained_on=len(scored.selection.trained_on),
        validated_on=len(scored.selection.validated_on),
    )


def evaluate_targets(
    names: Sequence[str],
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    people: Sequence[str] | None,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[tuple[TargetResult, ...], Interval]:
    """Metrics of each emotion, and the mean r over emotions for which it is defined, the same in every resample.

    Args:
        names: of the emotions.
        scores, labels: ``(N, E)``.
        people: participant of each clip; ``None`` resamples clips.
        resamples, seed: of the bootstrap.
    """
    mean, known = np.asarray(scores, np.float32), np.asarray(labels, np.float32)
    r, ccc = pearson(mean, known), concordance(mean, known)
    drawn, clusters = bootstrap_pearson(mean, known, people, resamples, seed), count_clusters(known, people)
    mae, rmse = mean_absolute_error(mean, known), root_mean_square_error(mean, known)
    targets = tuple(
        TargetResult(
            name,
            int((~np.isnan(known[:, e])).sum()),
            interval(float(r[e]), drawn[:, e], int(clusters[e])),
            float(ccc[e]),
            float(mae[e]),
            float(rmse[e]),
            _why_undefined(mean[:, e], known[:, e]) if np.isnan(r[e]) else "",
            int(clusters[e]) if people else None,
        )
        for e, name in enumerate(names)
    )
    return targets, interval(*over_emotions(r, drawn, clusters))


def missing_curves(
    predictions: Mapping[tuple[str, ...], npt.NDArray[np.float32]], labels: npt.NDArray[np.float32], seed: int
) -> dict[str, Array]:
    """Mean r when a random share of the clips lacks a modality, by modality, for each of ``SHARES``.

    Args:
        predictions: scores ``(N, E)`` by subset: all modalities, and all but each one.
        labels: ``(N, E)``.
        seed: of the choice of clips; those of a smaller share are among those of a larger one.
    """
    draw = np.random.default_rng(seed).random(len(labels))
    every = max(predictions, key=len)
    curves = {}
    for name in every:
        without = predictions[tuple(other for other in every if other != name)]
        mixed = (np.where((draw < share)[:, None], without, predictions[every]) for share in SHARES)
        curves[name] = np.array([float(mean_defined(pearson(scores, labels))) for scores in mixed])
    return curves


def _coverage(bundle: Bundle, scored: ScoredSplit) -> Coverage | None:
    if not bundle.half_widths:
        return None
    ends = bundle.intervals(scored.mean, scored.present)
    known = ~np.isnan(scored.labels) & ~np.isnan(ends[0])  # an infinite interval is the whole scale, as in predict
    low, high = map(bundle.bounded, ends)
    inside = (scored.labels >= low) & (scored.labels <= high) & known
    with np.errstate(invalid="ignore"):  # an emotion without a rating has no coverage and no width
        found, width = (np.where(known, x, 0).sum(0) / known.sum(0) for x in (inside, high - low))
    level = float(bundle.provenance["intervals"]["level"])
    calibrating = len(scored.selection.validated_on)
    levels = coverage_by_level(scored.mean, scored.labels, np.where(known, [low, high], np.nan), bundle.scale)
    return Coverage(level, tuple(map(float, found)), tuple(map(float, width)), calibrating, levels)


def coverage_by_level(
    scores: npt.ArrayLike, ratings: npt.ArrayLike, ends: npt.ArrayLike, scale: tuple[float, float], parts: int = 5
) -> tuple[LevelCoverage, ...]:
    """Coverage by level of the score, and of the rating: in equal parts of the rating scale, over all emotions.

    Args:
        scores, ratings: ``(N, E)``.
        ends: ``(2, N, E)``, ``nan`` without a rating or an interval.
        scale: of the ratings.
        parts: into which it is divided.
    """
    low, high = np.asarray(ends)
    known = ~np.isnan(low)
    inside = (ratings >= low) & (ratings <= high)
    edges = np.linspace(*scale, parts + 1)
    made = []
    for of, values in (("score", np.asarray(scores)), ("rating", np.asarray(ratings))):
        place = np.digitize(values, edges[1:-1])
        for n, (begin, end) in enumerate(itertools.pairwise(edges.tolist())):
            here = known & (place == n)
            rated = int(here.sum())
            share, width = (float(x[here].mean()) if rated else None for x in (inside, high - low))
            made.append(LevelCoverage(of, begin, end, rated, share, width))
    return tuple(made)


def _table(bundle: Bundle, scored: ScoredSplit) -> pa.Table:
    """The data from which all metrics can be recomputed."""
    columns: dict[str, object] = {
        "clip": [clip.id for clip in scored.clips],
        "participant": [clip.participant for clip in scored.clips],
        "present": [
            " ".join(n for n, here in zip(bundle.modalities, row, strict=True) if here) for row in scored.present
        ],
        "absent": scored.absent,
    }
    columns |= {f"rated {target}": scored.labels[:, e] for e, target in enumerate(bundle.targets)}
    columns |= {f"predicted {target}": scored.mean[:, e] for e, target in enumerate(bundle.targets)}
    return pa.table(columns)


def _notes(bundle: Bundle, scored: ScoredSplit, r: Array, parts: Mapping[str, Array]) -> tuple[str, ...]:
    notes = [*leak_notes(scored.selection), *scored.selection.notes]
    if bundle.random_weights:
        notes.append("made with random backbones: these numbers mean nothing")
    if bundle.provenance.get("data", {}).get("synthetic"):
        notes.append("trained on synthetic people: for trying out")
    if banner := bundle.provenance.get("banner"):
        notes.append(banner)
    raw = scored.scores.mean(0)
    if outside := int((raw != scored.mean).sum()):
        low, high = bundle.scale
        notes.append(
            f"{outside} of {raw.size} scores were outside the rating scale [{low:g}, {high:g}] and were clipped to it, "
            "as in mien predict"
        )
    notes += interval_notes([clip.participant for clip in scored.clips], scored.labels)
    if (undefined := int(np.isnan(r).sum())) > 0:
        notes.append(f"r is undefined for {undefined} of {len(r)} emotions; the mean is over the others")
    notes += undefined_notes(parts, bundle.targets, r)
    for m, name in enumerate(bundle.modalities):
        without = np.flatnonzero(~scored.present[:, m])
        if len(without):
            first = scored.clips[int(without[0])].id
            notes.append(f"{name}: missing from {len(without)} of {len(scored.clips)} clips, first {first}")
    empty = np.flatnonzero(~scored.present.any(-1))
    if len(empty):
        first = scored.clips[int(empty[0])].id
        notes.append(f"{plural(len(empty), 'clip')} without any modality, scored with a constant, first {first}")
    return tuple(notes)


def _why_undefined(predicted: npt.NDArray[np.float32], labels: npt.NDArray[np.float32]) -> str:
    known = labels[~np.isnan(labels)]
    if len(known) < 2:
        return f"only {plural(len(known), 'rated clip')}"
    if known.min() == known.max():
        return f"all {len(known)} ratings are {known[0]:g}"
    return "the prediction is the same for all clips" if np.isfinite(predicted).all() else "a prediction is not finite"
