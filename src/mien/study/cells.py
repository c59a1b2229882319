"""Cells → predictions. Cells of one shape are trained together, and every finished cell is stored in a folder.

    encoders/<key>/   encoder.safetensors, scores.npy (K, N, E)      a stage-1 model, shared by the cells that use it
    runs/<key>/<seed>/                        a run of ``mien train``, of a cell that trains backbones
    cells/<key>/      scores.npy (K, N, E), result.json              the result of a cell, or why it failed
                      SHA256SUMS                                     in both; damaged results are computed again

A key is made of everything that a result depends on: settings, method, data, features. So studies share cells, a killed
study is resumed, and an extended one computes only the new cells.

Shapes: ``K`` models (seeds) per cell, ``N`` validation clips, ``E`` emotions.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.config import EncoderSource, Settings, SplitSettings
from mien.data.source_clips import fingerprint
from mien.data.splits import Split, split_clips
from mien.errors import Damaged, DataError, OutputError
from mien.features.store import Store
from mien.model.heads import HEADS
from mien.schema import Manifest
from mien.storage.bounded import LARGEST_WEIGHTS, read_npy
from mien.storage.checksums import SUMS, check_sums
from mien.storage.files import as_written, key_of, read_json
from mien.study.keys import (
    FROZEN_VERSION,
    VERSION,
    adapted_in,
    dump,
    inner_in,
    layer_start_in,
    layers_in,
    with_every_clip,
    without_new_defaults,
)
from mien.study.plan import Cell
from mien.training.encoder_sources import Source, given_sources, read_source

Scores = npt.NDArray[np.float32]

MODELS_AT_ONCE = 40

CELL_FILES = ("result.json", "scores.npy", SUMS)
WRITTEN = ("report.md", "results.parquet", "study.json", "split.json", "recipe.yaml", "trials.csv", "tuning.json")
ENCODER_FILES = ("encoder.safetensors", "scores.npy", SUMS)


@dataclass(frozen=True)
class EncoderJob:
    """A stage-1 training that cells need."""

    modality: str
    settings: Settings


@dataclass(frozen=True)
class CellBatch:
    """Cells that differ only in rates and seeds, so that they can be trained together."""

    cells: tuple[Cell, ...]


Work = EncoderJob | CellBatch


@dataclass(frozen=True)
class StudyContext:
    """Inputs and output folder of a study, and what it has so far.

    Attributes:
        manifest, features: the data and their feature store.
        out: folder of the study.
    """

    manifest: Manifest
    features: Path
    out: Path

    @cached_property
    def _splits(self) -> dict[SplitSettings, Split]:
        return {}

    @cached_property
    def _read_sources(self) -> dict[tuple[str, EncoderSource], Source]:
        return {}

    @cached_property
    def fingerprints(self) -> tuple[str, str]:
        """Fingerprints of data and features."""
        return fingerprint(self.manifest), Store(self.features).fingerprint()

    def folder(self, cell: Cell) -> Path:
        """Folder of the result of a cell."""
        settings = dump(cell.settings, {"modalities", "batch_seed"})
        stage2 = without_new_defaults(cell.settings.stage2) if cell.method == "train" else {}
        seeds = [] if cell.method == "ridge" else list(cell.settings.seeds)
        version = FROZEN_VERSION if stage2.get("adaptation") == "frozen" else VERSION
        names = cell.settings.modalities
        more = (*inner_in(cell.settings), *layers_in(cell.settings, names), *adapted_in(cell))
        more += () if cell.method == "ridge" else (*layer_start_in(cell.settings, names),)
        more += (*self._sources_in(cell.settings, names),)
        return self.out / "cells" / key_of(version, cell.method, settings, stage2, seeds, *self.fingerprints, *more)

    def encoder_folder(self, work: EncoderJob) -> Path:
        """Folder of a stage-1 model."""
        settings, names = dump(work.settings, {"seeds", "batch_seed"}), (work.modality,)
        more = (*inner_in(work.settings), *layers_in(work.settings, names), *layer_start_in(work.settings, names))
        more += (*self._sources_in(work.settings, names),)
        return self.out / "encoders" / key_of(VERSION, work.modality, settings, *self.fingerprints, *more)

    def source(self, modality: str, given: EncoderSource) -> Source:
        """An encoder of another run, read once."""
        key = (modality, given)
        if key not in self._read_sources:
            self._read_sources[key] = read_source(modality, given)
        return self._read_sources[key]

    def _sources_in(self, settings: Settings, modalities: Iterable[str]) -> list[dict[str, Any]]:
        """A part of a key: the encoders from other runs, by modality; nothing where there are none."""
        given = given_sources(settings, modalities)
        used = {name: [self.source(name, one).origin.sha256, one.use, one.highest_rate] for name, one in given.items()}
        return [used] if used else []

    def split(self, settings: Settings) -> Split:
        """Training and validation clips."""
        if settings.split not in self._splits:
            self._splits[settings.split] = split_clips(self.manifest, settings.split)
        return self._splits[settings.split]

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """The result of a cell; ``None`` if it is not done yet, or damaged."""
        folder = self.folder(cell)
        if not is_complete(folder):
            return None
        result = read_json(folder / "result.json")
        if not isinstance(result, dict) or not isinstance(result.get("failed"), str):
            raise Damaged(f"{folder / 'result.json'}: damaged (not the result of a cell); delete {folder}")
        return result

    def is_done(self, cell: Cell) -> bool:
        """Whether a cell has a result, and did not fail."""
        result = self.result(cell)
        return result is not None and not result["failed"]

    def mean_r(self, cell: Cell) -> float:
        """The mean r over the models of a cell; ``nan`` if it is not done, or if r is not defined."""
        result = self.result(cell)
        if result is None or result["failed"]:
            return float("nan")
        with as_written(self.folder(cell), "delete it and run the same command again"):
            return float(np.mean(np.array(result["mean_r"], float)))

    def scores(self, cell: Cell) -> Scores:
        """Predictions of a cell that has a result, ``(K, N, E)``."""
        return read_npy(self.folder(cell) / "scores.npy", np.float32, LARGEST_WEIGHTS)

    def damaged(self, cells: Iterable[Cell]) -> int:
        """Number of results that are damaged."""
        return sum(folder.exists() and not is_complete(folder) for folder in map(self.folder, cells))


def training_clips(manifest: Manifest, split: SplitSettings) -> Manifest:
    """The training clips of a split only, as an official split, so that a search or trials cannot use the others.

    An official split needs no rated validation clips for it. ``train_clips`` is left to the trials, which draw so many.

    Raises:
        DataError: there are none, or the split cannot be drawn.
    """
    if split.kind == "official":
        clips = tuple(clip for clip in manifest.clips if clip.split == "train")
        if not clips:
            raise DataError(f"{manifest.source}: no clip of split 'train'; name one so, or set split.kind=ratio")
        return replace(manifest, clips=clips)
    train = split_clips(manifest, with_every_clip(split)).train
    return replace(manifest, clips=tuple(replace(clip, split="train") for clip in train))


def check_out(out: Path) -> None:
    """Check that a folder is that of a study or a search, or holds no file that these would replace.

    Raises:
        OutputError: it holds such files of something else.
    """
    existing = [name for name in WRITTEN if (out / name).exists()]
    if existing and not any((out / name).exists() for name in ("cells", "encoders", "trials.log")):
        raise OutputError(
            f"{out}: holds {existing[0]}, but no study or search; choose an empty or a new folder with --out"
        )


def is_complete(folder: Path) -> bool:
    """Whether a result exists and its checksums match.

    Raises:
        DataError: it exists, but cannot be checked.
    """
    if not folder.exists():
        return False
    try:
        check_sums(folder)
    except Damaged:
        return False
    return True


def plan_work(context: StudyContext, cells: Iterable[Cell]) -> tuple[list[EncoderJob], list[CellBatch]]:
    """The remaining work: stage-1 trainings, then batches of cells that need them. Failed cells are tried again.

    A cell with a modality that is not in the store will fail, and so needs no stage 1.
    """
    by_folder = {context.folder(cell): cell for cell in cells}  # all clips are the same for every draw
    pending = [cell for cell in by_folder.values() if not context.is_done(cell)]
    stored = set(Store(context.features).modalities)
    encoders: dict[Path, EncoderJob] = {}
    batches: dict[str, list[Cell]] = {}
    for cell in pending:
        if needs_encoders(cell) and stored.issuperset(cell.settings.modalities):
            jobs = (EncoderJob(name, cell.settings) for name in cell.settings.modalities)
            encoders |= {context.encoder_folder(job): job for job in jobs}
        batches.setdefault(shape(cell), []).append(cell)
    groups = [
        CellBatch(tuple(group[begin : begin + most]))
        for group in batches.values()
        for most in [max(1, MODELS_AT_ONCE // len(group[0].settings.seeds))]
        for begin in range(0, len(group), most)
    ]
    return [work for folder, work in encoders.items() if not is_complete(folder)], groups


def needs_encoders(cell: Cell) -> bool:
    """Whether a cell needs stage-1 models."""
    stage = cell.settings.stage2
    from_scratch = stage.adaptation == "joint" or HEADS[stage.head].reads_steps or bool(adapted_in(cell))
    return cell.method == "unimodal_mean" or (cell.method == "train" and not from_scratch)


def shape(cell: Cell) -> str:
    """Equal for cells that can be trained together: those that differ only in what a ``ModelSpec`` holds."""
    if cell.method != "train":
        return key_of(cell.method, cell.settings.model_dump(mode="json"))
    same = {"lr": 1.0, "weight_decay": 0.0, "dropout": 0.0, "modality_dropout": 0.0}
    stage2 = cell.settings.stage2.model_copy(update=same)
    return key_of(cell.settings.model_copy(update={"stage2": stage2}).model_dump(mode="json"))


def parts(work: Work) -> list[Work]:
    """A piece of work in the smallest pieces that can be done separately."""
    return [CellBatch((cell,)) for cell in work.cells] if isinstance(work, CellBatch) else [work]
