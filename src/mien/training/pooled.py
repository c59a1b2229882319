"""The out-of-fold scores of a cross-validation in one table, their agreement with the ratings, and its files.

Three things make a pooled r fair. It is of the models' outputs: the maps to ratings (``model/calibration.py``) of some
folds may be missing or steeper than those of others, where few clips choose the epochs. The people held out raise the
mean rating of the others when their own is low, and a model learns that mean: so the outputs of a fold are taken
relative to the mean output for the clips that trained its models (their ``level``). And folds share most of their
training clips, so the bootstrap interval, which takes the scores for independent of each other, is widened by Nadeau
and Bengio's factor. ``docs/log.md`` has the simulations.

Sources: B. Parker, S. Guenter, J. Bedo, BMC Bioinformatics 8 (2007) 326 (pooled scores are biased by the means of the
folds); C. Nadeau, Y. Bengio, Machine Learning 52 (2003) 239; S. Bates, T. Hastie, R. Tibshirani, JASA 119 (2024) 1434
(intervals of cross-validation that ignore shared training clips are too narrow).
Shapes: ``N`` clips, ``E`` emotions.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mien.config import Settings
from mien.evaluation.evaluate import evaluate_targets
from mien.evaluation.model_inputs import gather_inputs
from mien.evaluation.results import TargetResult
from mien.evaluation.seen_clips import run_split
from mien.evaluation.subgroups import interval_notes, participants_of
from mien.features.store import Store
from mien.metrics import Interval, mean_defined, pearson
from mien.model.model_folder import load_bundle
from mien.schema import Clip, Manifest
from mien.scores.tables import write_table
from mien.storage.bounded import read_parquet
from mien.storage.documents import plain
from mien.storage.files import write_json

FORMAT, VERSION = "mien-cross-validation", 1


@dataclass(frozen=True)
class FoldResult:
    """Agreement on the clips that one fold held out.

    Attributes:
        fold: counted from 0.
        clips, people: held out; ``people`` is ``None`` unless known for every clip of the data.
        r: ``(E,)`` Pearson of the outputs; ``nan`` where undefined, as with a single clip.
        mean_r: over the emotions for which it is defined.
        level: ``(E,)`` mean output for the clips that trained the models.
    """

    fold: int
    clips: int
    people: int | None
    r: npt.NDArray[np.float64]
    mean_r: float
    level: npt.NDArray[np.float64]


@dataclass(frozen=True)
class CrossValidation:
    """The result of a nested cross-validation.

    Attributes:
        folder: with ``predictions.parquet`` and ``results.json``.
        targets: metrics of the pooled out-of-fold scores by emotion; r, with its interval, is of the models' outputs
            relative to the ``level`` of their fold.
        mean_r: mean r over the emotions for which it is defined, with its interval.
        clips: rated clips.
        people: participants; ``None`` unless known for every clip.
        resampled: ``participants`` or ``clips``: the unit of the bootstrap.
        folds: r of each fold.
        table: a row per clip: ``clip``, ``participant``, ``fold``, ``rated Joy`` …, ``predicted Joy`` …,
            ``output Joy`` …, what the models put out before it was mapped to ratings and clipped.
        notes: caveats, one line each.
    """

    folder: Path
    targets: tuple[TargetResult, ...]
    mean_r: Interval
    clips: int
    people: int | None
    resampled: str
    folds: tuple[FoldResult, ...]
    table: pa.Table
    notes: tuple[str, ...]


def fold_folder(out: Path, fold: int) -> Path:
    """The run folder of a fold."""
    return out / "folds" / str(fold)


class Outputs(NamedTuple):
    """Outputs of the models of a fold, not mapped to ratings; the mean over the models.

    Attributes:
        held_out: ``(N, E)``, for the clips that the fold holds out.
        level: ``(E,)``, the mean over the clips that trained the models.
    """

    held_out: npt.NDArray[np.float32]
    level: npt.NDArray[np.float64]


def outputs_of(out: Path, fold: int, store: Store, manifest: Manifest, held_out: Sequence[Clip]) -> Outputs:
    """The outputs of the models of a fold."""
    bundle = load_bundle(fold_folder(out, fold))
    known = run_split(bundle)
    assert known is not None, "a fold lies in its run folder"
    unmapped = replace(bundle, calibration={})
    trained = [clip for clip in manifest.clips if clip.id in known.train]
    found, level = (unmapped.score(gather_inputs(bundle, store, clips)) for clips in (held_out, trained))
    return Outputs(found, level.mean(0, np.float64))


def widened(found: Interval, folds: int) -> Interval:
    """An interval of independent clips, widened for folds that share training clips.

    The variance of a mean over K folds is 1 + K / (K - 1) times that of as many independent clips.

    >>> round(widened(Interval(0.5, 0.45, 0.55), 5).low, 3)  # .5 - .05 * sqrt(1 + 5 / 4)
    0.425
    """
    factor = np.sqrt(1 + folds / (folds - 1))
    ends = (found.value + factor * (end - found.value) for end in (found.low, found.high))
    return Interval(found.value, *(float(np.clip(end, -1, 1)) for end in ends))


def pooled(
    manifest: Manifest,
    out: Path,
    held_out: Sequence[Sequence[Clip]],
    outputs: Sequence[Outputs],
    notes: list[str],
) -> CrossValidation:
    """The out-of-fold scores of all folds in one table, and their agreement with the ratings."""
    tables = [read_parquet(fold_folder(out, fold) / "predictions.parquet") for fold in range(len(held_out))]
    kinds = {"rated": "rated", "fused": "predicted"}
    parts = [
        pa.table(
            {
                "clip": table["clip"].cast(pa.string()),
                "participant": table["participant"].cast(pa.string()),
                "fold": pa.array([fold] * table.num_rows, pa.int64()),
                **{f"{to} {name}": table[f"{of} {name}"] for of, to in kinds.items() for name in manifest.targets},
                **{f"output {name}": output for name, output in zip(manifest.targets, found.T, strict=True)},
            }
        )
        for fold, (table, (found, _)) in enumerate(zip(tables, outputs, strict=True))
    ]
    table = pa.concat_tables(parts)
    scores, rated, output = (
        np.stack([table[f"{kind} {name}"].to_numpy(zero_copy_only=False) for name in manifest.targets], -1)
        for kind in ("predicted", "rated", "output")
    )
    clips = [clip for fold in held_out for clip in fold]
    assert [clip.id for clip in clips] == table["clip"].to_pylist(), "a fold scored other clips than it holds out"
    people = participants_of(clips)
    fold_of = np.array(table["fold"])
    scored, _ = evaluate_targets(manifest.targets, scores, rated, people)
    levels = np.stack([one.level for one in outputs])
    relative, mean_r = evaluate_targets(manifest.targets, output - levels[fold_of], rated, people)
    folds = len(held_out)
    targets = tuple(replace(one, r=widened(other.r, folds)) for one, other in zip(scored, relative, strict=True))
    notes = [*notes, *interval_notes([clip.participant for clip in clips], rated)]
    results = [
        _fold(fold, held, output[fold_of == fold], rated[fold_of == fold], people is not None, levels[fold])
        for fold, held in enumerate(held_out)
    ]
    return CrossValidation(
        out, targets, widened(mean_r, folds), len(clips), len(set(people)) if people else None,
        "participants" if people else "clips", tuple(results), table, tuple(notes),
    )  # fmt: skip


def _fold(
    fold: int,
    clips: Sequence[Clip],
    output: npt.NDArray,
    rated: npt.NDArray,
    known: bool,
    level: npt.NDArray[np.float64],
) -> FoldResult:
    r = pearson(output, rated)
    people = len({clip.participant for clip in clips}) if known else None
    return FoldResult(fold, len(clips), people, r, float(mean_defined(r)), level)


def write_results(result: CrossValidation, manifest: Manifest, nested: Settings) -> None:
    """Write ``predictions.parquet``, ``predictions.csv`` and ``results.json``."""
    for suffix in ("parquet", "csv"):
        write_table(result.table, result.folder / f"predictions.{suffix}")
    record = {
        "format": FORMAT,
        "version": VERSION,
        "data": manifest.source.name,
        "clips": result.clips,
        "people": result.people,
        "resampled": result.resampled,
        "mean_r": asdict(result.mean_r),
        "targets": [asdict(target) for target in result.targets],
        "folds": [asdict(fold) for fold in result.folds],
        "notes": result.notes,
        "settings": nested.model_dump(mode="json"),
    }
    write_json(result.folder / "results.json", plain(record))
