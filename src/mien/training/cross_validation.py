"""Nested cross-validation: every rated clip is scored by models that have seen neither it nor its participant.

    outer folds   whole participants are held out in turn; nothing is chosen on them
    inner split   the other clips train the models, and choose their epochs (``train.select: inner``)

    OUT/folds/0 …             the run of each fold
    OUT/predictions.parquet   a row per clip: its fold, ratings, and out-of-fold scores; also as .csv
    OUT/results.json          pooled r with intervals, r of each fold

The trade-off: r is computed once, over the out-of-fold scores of all clips, because a fold of a few people says little.
``pooled.py`` has the corrections that make it fair. The estimate is of a model trained on two thirds of the clips: an
inner part of all folds but one.

Source: S. Varma, R. Simon, "Bias in error estimation when using cross-validation for model selection", BMC
Bioinformatics 7 (2006) 91.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mien.compute.device import choose_threads
from mien.config import Settings, with_changes
from mien.data.splits import split_clips
from mien.errors import DataError, MienError, OutputError
from mien.features.store import Store
from mien.scale import Failed, run
from mien.schema import Clip, Manifest
from mien.storage.exclusive import exclusive_writer
from mien.training.pooled import CrossValidation, fold_folder, outputs_of, pooled, write_results
from mien.training.run_state import Log
from mien.training.stage1 import EpochCallback
from mien.training.train import train
from mien.wording import plural

FEWEST_TO_TRAIN = 2
"""Participants that a fold must leave for training, so that they can be divided."""


@dataclass(frozen=True)
class FoldTrainer:
    """Trains folds; the ``WorkerFactory`` that ``scale.run`` calls in each process.

    Attributes:
        manifest, features: the data and their feature store.
        settings: of fold 0.
        out: folder of the cross-validation.
        threads: per process; 0 keeps the default of torch.
        log, on_epoch: as for ``train``; only in this process.
    """

    manifest: Manifest
    features: Path
    settings: Settings
    out: Path
    threads: int = 0
    log: Log | None = None
    on_epoch: EpochCallback | None = None

    def __call__(self) -> Callable[[int], tuple[str, ...]]:
        """Return the function that trains a fold and returns notes on what was seen before, and on its trainings."""
        if self.threads:
            torch.set_num_threads(self.threads)
        store = Store(self.features)

        def train_fold(fold: int) -> tuple[str, ...]:
            settings = with_changes(self.settings, {"split.fold": fold}, "cross-validation")
            log = self.log
            progress = None if log is None else lambda line: log(f"fold {fold}: {line}")
            summary = train(self.manifest, store, settings, fold_folder(self.out, fold), progress, self.on_epoch)
            return (*summary.leaks, *summary.dips)

        return train_fold


def cross_validate(
    manifest: Manifest,
    features: Path,
    settings: Settings,
    out: Path,
    folds: int = 5,
    workers: int = 0,
    log: Log | None = None,
    on_epoch: EpochCallback | None = None,
) -> CrossValidation:
    """Train and score every fold, pool the scores, and write the results.

    Args:
        manifest: rated clips; their split is ignored, except that clips of split ``test`` are left out.
        features: the store of their features.
        settings: of the training; ``split.seed`` and ``split.by_participant`` draw the folds, ``train.inner_ratio``
            divides the training clips of each.
        out: the folder; an unfinished cross-validation of the same settings, data and features is continued.
        folds: number of folds, at most one per participant.
        workers: processes, each with a fold at a time; 0 works in this one.
        log: called with log lines.
        on_epoch: called after every epoch, if this process trains.

    Raises:
        DataError: no clip is rated, there are more folds than participants, or a fold leaves too few to train on.
        InUse: another process is writing to the folder.
        MienError: a worker process died; the same call continues.
        ModelError, OutputError: the folder holds something else, or cannot be written.
        StoreError, SettingsError: as for ``train``.
    """
    log_line = log or (lambda _: None)
    nested = _nested(settings, folds)
    held_out = _held_out(manifest, nested, folds)
    notes = _notes(manifest, settings, nested)
    for note in notes:
        log_line(note)
    _check_out(out)
    with exclusive_writer(out):
        threads = choose_threads(settings.compute, workers) if workers or settings.compute.threads else 0
        own = (log, on_epoch) if workers == 0 else (None, None)
        trainer = FoldTrainer(manifest, features, nested, out, threads, *own)
        found_notes: dict[int, tuple[str, ...]] = {}
        for fold, found in run(trainer, range(folds), workers=workers):
            if isinstance(found, Failed):
                raise MienError(f"{fold_folder(out, fold)}: {found.reason}; the same command continues")
            found_notes[fold] = found
            log_line(f"fold {fold}: done, {len(found_notes)} of {folds}")
        notes += _notes_of_folds([found_notes[fold] for fold in range(folds)])
        outputs = [outputs_of(out, fold, Store(features), manifest, held) for fold, held in enumerate(held_out)]
        result = pooled(manifest, out, held_out, outputs, notes)
        write_results(result, manifest, nested)
    return result


def _nested(settings: Settings, folds: int) -> Settings:
    changes = {"split.kind": "kfold", "split.folds": folds, "split.fold": 0}
    changes |= {"train.select": "inner", "train.refit": False}
    return with_changes(settings, changes, "cross-validation")


def _held_out(manifest: Manifest, nested: Settings, folds: int) -> list[tuple[Clip, ...]]:
    """The clips that each fold holds out."""
    apart = nested.split.by_participant
    splits = [split_clips(manifest, nested.split.model_copy(update={"fold": 0}))]
    pool = (*splits[0].train, *splits[0].valid)
    people = {clip.participant if apart and clip.participant else f"clip {clip.id}" for clip in pool}
    unit = "participants" if apart and any(clip.participant for clip in pool) else "rated clips"
    if folds > len(people):
        raise DataError(
            f"{manifest.source}: {len(people)} {unit}, but {folds} folds; every fold needs at least one, so give at "
            f"most {len(people)} with --folds"
        )
    splits += [split_clips(manifest, nested.split.model_copy(update={"fold": fold})) for fold in range(1, folds)]
    for fold, split in enumerate(splits):
        left = {clip.participant if apart and clip.participant else f"clip {clip.id}" for clip in split.train}
        if len(left) < FEWEST_TO_TRAIN:
            raise DataError(
                f"{manifest.source}: fold {fold} leaves {len(left)} of {len(people)} {unit} for training, and at least "
                f"{FEWEST_TO_TRAIN} are needed; rate clips of more people, or give more --folds"
            )
    return [split.valid for split in splits]


def _notes(manifest: Manifest, settings: Settings, nested: Settings) -> list[str]:
    notes = list(split_clips(manifest, nested.split).notes)
    if tests := [clip.id for clip in manifest.clips if clip.split == "test"]:
        notes.append(f"{plural(len(tests), 'clip')} of split test left out, first {tests[0]}")
    if settings.train.refit:
        notes.append("train.refit is left out: every fold is scored by its model before a refit")
    return notes


def _notes_of_folds(notes: Sequence[Sequence[str]]) -> list[str]:
    """Notes on the trainings of each fold; those that all folds have are given once."""
    common = [note for note in notes[0] if all(note in others for others in notes)]
    return common + [f"fold {fold}: {note}" for fold, own in enumerate(notes) for note in own if note not in common]


def _check_out(out: Path) -> None:
    written = [name for name in ("predictions.parquet", "predictions.csv", "results.json") if (out / name).exists()]
    if written and not (out / "folds").is_dir():
        raise OutputError(f"{out}: holds {written[0]}, but no cross-validation; choose another folder with --out")
