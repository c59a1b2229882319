"""Cells → predictions. Cells of one shape are trained together, and every finished cell is stored in a folder.

    encoders/<key>/   encoder.safetensors, scores.npy (K, N, E)      a stage-1 model, shared by the cells that use it
    runs/<key>/<seed>/                        a run of ``mien train``, of a cell that trains backbones
    cells/<key>/      scores.npy (K, N, E), result.json              the result of a cell, or why it failed
                      SHA256SUMS                                     in both; damaged results are computed again

A key is made of everything that a result depends on: settings, method, data, features. So studies share cells, a killed
study is resumed, and an extended one computes only the new cells.

Shapes: ``K`` models (seeds) per cell, ``N`` validation clips, ``E`` emotions.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save

from mien.config import EncoderSource, FitSettings, Settings, SplitSettings, Stage1Settings
from mien.data.splits import Split, split_clips
from mien.errors import Damaged, DataError, OutputError
from mien.evaluation.evaluate import SHARES, missing_curves
from mien.evaluation.model_inputs import gather_inputs
from mien.features.store import Store
from mien.metrics import mean_defined, pearson
from mien.modalities import MODALITIES
from mien.modalities.encoder import Encoder
from mien.model.bundle import load_bundle
from mien.model.embeddings import subset_scores
from mien.model.heads import HEADS
from mien.model.inputs import predict_all
from mien.model.network import ModelSpec, Unimodal, variants
from mien.schema import Manifest
from mien.storage.bounded import LARGEST_WEIGHTS, read_npy, read_safetensors
from mien.storage.checksums import SUMS, check_sums, write_sums
from mien.storage.documents import plain
from mien.storage.files import atomic_folder, key_of, read_json, write_json
from mien.study.plan import Cell
from mien.study.ridge import pooled, ridge_scores
from mien.subsets import all_subsets
from mien.training.adapt import adapted_modalities
from mien.training.encoder_sources import Source, find_sources, given_sources, read_source, source_notes
from mien.training.fit import Epoch
from mien.training.run_folder import fingerprint
from mien.training.split_data import SplitData
from mien.training.stage1 import TrainContext, read_by_encoder, train_encoder
from mien.training.stage2 import train_fusion
from mien.training.train import train

Scores = npt.NDArray[np.float32]

VERSION, FROZEN_VERSION = 1, 2
"""Raised when the same cell gives another result."""

NEW_SETTINGS = frozenset({"contrastive", "triplet", "objective"})
"""Settings of a stage that came after the first version of keys; their defaults change nothing."""

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
    """Inputs and output folder of a study; the ``WorkerFactory`` that ``scale.run`` calls in each process.

    Attributes:
        manifest, features: the data and their feature store.
        out: folder of the study.
        threads: per process; 0 keeps the default of torch.
    """

    manifest: Manifest
    features: Path
    out: Path
    threads: int = 0

    def __call__(self) -> Callable[[Work], tuple[str, ...]]:
        """Return the function that does a piece of work and returns why cells failed, a line each."""
        if self.threads:
            torch.set_num_threads(self.threads)
        return Worker(self).do

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
        settings = _dump(cell.settings, {"modalities", "batch_seed"})
        stage2 = _without_new_defaults(cell.settings.stage2) if cell.method == "train" else {}
        seeds = [] if cell.method == "ridge" else list(cell.settings.seeds)
        version = FROZEN_VERSION if stage2.get("adaptation") == "frozen" else VERSION
        names = cell.settings.modalities
        more = (*_inner(cell.settings), *_layers_in(cell.settings, names), *_adapted_in(cell))
        more += (*self._sources_in(cell.settings, names),)
        return self.out / "cells" / key_of(version, cell.method, settings, stage2, seeds, *self.fingerprints, *more)

    def encoder_folder(self, work: EncoderJob) -> Path:
        """Folder of a stage-1 model."""
        settings, names = _dump(work.settings, {"seeds", "batch_seed"}), (work.modality,)
        more = (*_inner(work.settings), *_layers_in(work.settings, names), *self._sources_in(work.settings, names))
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

    def scores(self, cell: Cell) -> Scores:
        """Predictions of a cell that has a result, ``(K, N, E)``."""
        return read_npy(self.folder(cell) / "scores.npy", np.float32, LARGEST_WEIGHTS)

    def damaged(self, cells: Iterable[Cell]) -> int:
        """Number of results that are damaged."""
        return sum(folder.exists() and not is_complete(folder) for folder in map(self.folder, cells))


def _without_new_defaults(stage: FitSettings) -> dict[str, Any]:
    """A stage as a part of a key: settings that older keys did not have are in it only if they are not the default.

    Encoders from other runs are known by their bytes instead (``StudyContext.source``).
    """
    sources = {name for name, field in Stage1Settings.model_fields.items() if field.annotation is EncoderSource}
    return {
        name: value
        for name, value in stage.model_dump(mode="json", exclude=sources).items()
        if name not in NEW_SETTINGS or value != type(stage).model_fields[name].default
    }


def _layers_in(settings: Settings, modalities: Iterable[str]) -> list[dict[str, Any]]:
    """A part of a key: the layers that are read, by modality, and affect; nothing where only last layers are."""
    backbone = settings.backbone
    read: dict[str, Any] = {name: backbone.layers_of(name) for name in modalities if backbone.reads_layers(name)}
    read |= {"affect": True} if backbone.affect else {}
    return [read] if read else []


def _adapted_in(cell: Cell) -> list[dict[str, Any]]:
    """A part of a key: how backbones are trained; nothing where none is."""
    names = adapted_modalities(cell.settings) if cell.method == "train" else ()
    how = {name: getattr(cell.settings.backbone, name) for name in names}
    return [{"backbones": how, "adapt": _without_new_defaults(cell.settings.adapt)}] if how else []


def _dump(settings: Settings, include: set[str]) -> dict[str, Any]:
    """A part of a key: some settings, stage 1 and the split."""
    stage1 = _without_new_defaults(settings.stage1)
    return settings.model_dump(mode="json", include=include) | {"split": _split_key(settings), "stage1": stage1}


def _split_key(settings: Settings) -> dict[str, Any]:
    """A part of a key: the split; that all clips are trained on is not in older keys."""
    few = {"train_clips", "train_clips_seed"}
    return settings.split.model_dump(mode="json", exclude=few if settings.split.train_clips is None else set())


def _data_key(settings: Settings) -> str:
    """Equal for settings that read the same data."""
    layers = _layers_in(settings, MODALITIES)
    return key_of(_split_key(settings), settings.stage1.longest_steps, *_inner(settings), *layers)


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
    """The remaining work: stage-1 trainings, then batches of cells that need them. Failed cells are tried again."""
    by_folder = {context.folder(cell): cell for cell in cells}  # all clips are the same for every draw
    pending = [cell for cell in by_folder.values() if (result := context.result(cell)) is None or result["failed"]]
    encoders: dict[Path, EncoderJob] = {}
    batches: dict[str, list[Cell]] = {}
    for cell in pending:
        if needs_encoders(cell):
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
    from_scratch = stage.adaptation == "joint" or HEADS[stage.head].reads_steps or bool(_adapted_in(cell))
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


class Worker:
    """Does the work of one process; keeps the data that it has read."""

    def __init__(self, context: StudyContext) -> None:
        self.context = context
        self.store = Store(context.features)
        self._split_data: dict[str, SplitData] = {}
        self._sources: dict[Any, tuple[dict[str, Encoder], tuple[str, ...]]] = {}
        self._pooled: dict[tuple[str, str, str], Any] = {}

    def do(self, work: Work) -> tuple[str, ...]:
        """Do a piece of work; returns why cells failed. A failing cell does not stop the others of its batch."""
        if isinstance(work, EncoderJob):
            try:
                self.split_data(work.settings)
            except DataError as error:  # clips that cannot be divided; the cells that need them fail too
                return (f"stage 1 {work.modality}: {error}",)
            self.encoder(work)
            return ()
        try:
            self.cells(work.cells)
        except Exception as error:  # noqa: BLE001 - any error becomes the cell's reason in the table
            first, *others = work.cells
            if others:
                return tuple(reason for part in parts(work) for reason in self.do(part))
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            self._write(first, None, {"failed": reason})
            return (f"{first.name}: {reason}",)
        return ()

    def split_data(self, settings: Settings) -> SplitData:
        """The clips of the split of these settings, in memory."""
        key = _data_key(settings)
        if key not in self._split_data:
            stored = tuple(name for name in MODALITIES if name in self.store.modalities)  # not tokens
            all_modalities = settings.model_copy(update={"modalities": stored})
            split, targets, whole = self.context.split(settings), len(self.context.manifest.targets), None
            if settings.split.train_clips is not None:  # a part of what is in memory
                every = settings.split.model_copy(update={"train_clips": None, "train_clips_seed": 0})
                whole = self.split_data(settings.model_copy(update={"split": every}))
            self._split_data[key] = SplitData(self.store, split, targets, all_modalities, whole)
        return self._split_data[key]

    def modalities(self, settings: Settings) -> tuple[str, ...]:
        """Modalities of the settings that have features."""
        return tuple(name for name in settings.modalities if name in self.split_data(settings).widths)

    def sources(self, settings: Settings) -> tuple[dict[str, Encoder], tuple[str, ...]]:
        """The encoders from other runs, by modality, checked against the features and the split, and notes on them.

        Raises:
            SettingsError, ModelError, DataError: as for a run.
        """
        given, seeds = given_sources(settings, settings.modalities), len(settings.seeds)
        key = (
            _data_key(settings),
            tuple(given.items()),
            settings.stage1.embedding,
            settings.stage1.motion_embedding,
            seeds,
        )
        if key not in self._sources:
            data, context = self.split_data(settings), self.context
            found = find_sources(settings, data, read=context.source)
            notes = source_notes(found, context.manifest, self.store, data.split, data.inner, seeds)
            self._sources[key] = {name: source.encoder for name, source in found.items()}, notes
        return self._sources[key]

    def encoder(self, work: EncoderJob, repeats: int = 1) -> tuple[Unimodal, Scores]:
        """A stage-1 model, with its K models repeated ``repeats`` times, and its predictions; trained if not stored."""
        folder, settings, data = self.context.encoder_folder(work), work.settings, self.split_data(work.settings)
        models = variants(settings, settings.stage1)
        if not is_complete(folder):
            train = data.clips("fit", read_by_encoder(work.modality, settings.stage1, data.widths))
            chosen, valid = (data.clips(part, (work.modality,)) for part in ("select", "valid"))
            train_context = TrainContext(None, data.precision, settings.batch_seed)
            source = self.sources(settings)[0].get(work.modality)
            module, _ = train_encoder(
                work.modality, train, chosen, settings, train_context, _quietly, models, source=source
            )
            with atomic_folder(folder, ENCODER_FILES) as part:
                weights = save({n: v.detach().cpu().contiguous() for n, v in module.state_dict().items()})
                (part / "encoder.safetensors").write_bytes(weights)
                np.save(part / "scores.npy", predict_all(module, valid), allow_pickle=False)
                write_sums(part, "encoder.safetensors", "scores.npy")
        width, targets = data.widths[work.modality], data.n_targets
        layers = data.layers.get(work.modality, 0)
        module = Unimodal(work.modality, width, targets, settings.stage1, models * repeats, layers)
        state = {n: torch.from_numpy(v) for n, v in read_safetensors(folder / "encoder.safetensors")[0].items()}
        module.load_state_dict({n: v.repeat(repeats, *[1] * (v.dim() - 1)) for n, v in state.items()})
        return module.to(data.device), read_npy(folder / "scores.npy", np.float32, LARGEST_WEIGHTS)

    def cells(self, cells: tuple[Cell, ...]) -> None:
        """Compute cells of one shape and store their results."""
        begin = time.monotonic()
        if cells[0].method == "train":
            train_cells = self._train_backbones if _adapted_in(cells[0]) else self._train
            train_cells(cells, begin)
            return
        for cell in cells:
            scores = self._ridge(cell.settings) if cell.method == "ridge" else self._unimodal_mean(cell.settings)
            self._write(cell, scores, {"seconds": time.monotonic() - begin})

    def _train(self, cells: tuple[Cell, ...], begin: float) -> None:
        settings, data = cells[0].settings, self.split_data(cells[0].settings)
        names = self.modalities(settings)
        train, chosen, valid = (data.clips(part, names) for part in ("fit", "select", "valid"))
        models: tuple[ModelSpec, ...] = sum((variants(cell.settings, cell.settings.stage2) for cell in cells), ())
        encoders = {}
        if needs_encoders(cells[0]):
            encoders = {name: self.encoder(EncoderJob(name, settings), len(cells))[0] for name in names}
        epochs: list[Epoch] = []
        module, _ = train_fusion(
            train, chosen, encoders, settings, TrainContext(None, data.precision, settings.batch_seed),
            lambda _, epoch: epochs.append(epoch), models,
            sources=self.sources(settings)[0],
        )  # fmt: skip
        needed = [subset for subset in all_subsets(names) if len(subset) >= len(names) - 1]
        predictions = subset_scores(module, valid, needed)
        seconds = (time.monotonic() - begin) / len(cells)
        for index, cell in enumerate(cells):
            own = slice(index * len(cell.settings.seeds), (index + 1) * len(cell.settings.seeds))
            means = {subset: scores[own].mean(0) for subset, scores in predictions.items()}
            curves = missing_curves(means, data.labels("valid"), seed=0) if len(names) > 1 else {}
            extra = {
                "seconds": seconds,
                "epochs": (1 + np.nan_to_num([epoch.mean_r[own] for epoch in epochs], nan=-1.0).argmax(0)).tolist(),
                "missing": {name: curve.tolist() for name, curve in curves.items()},
                "shares": list(SHARES),
                "notes": self.sources(settings)[1],
                "parameters": sum(p[0].numel() for p in module.parameters()),
            }
            self._write(cell, predictions[names][own], extra)

    def _train_backbones(self, cells: tuple[Cell, ...], begin: float) -> None:
        """A whole run for each seed, since a trained backbone is one model; finished runs are kept."""
        manifest = self.context.manifest
        for cell in cells:
            names, runs = self.modalities(cell.settings), self.context.out / "runs" / self.context.folder(cell).name
            scores: list[dict[tuple[str, ...], Scores]] = []
            epochs = []
            for seed in cell.settings.seeds:
                settings = cell.settings.model_copy(update={"seeds": (seed,), "batch_seed": seed})
                train(manifest, self.store, settings, runs / str(seed))
                bundle = load_bundle(runs / str(seed))
                valid = self.context.split(cell.settings).valid
                clips = bundle.clips(gather_inputs(bundle, self.store, valid))
                needed = [subset for subset in all_subsets(names) if len(subset) >= len(names) - 1]
                scores.append({subset: made[0] for subset, made in subset_scores(bundle.module, clips, needed).items()})
                epochs += bundle.provenance["training"]["epochs"]
            means = {subset: np.mean([one[subset] for one in scores], 0) for subset in scores[0]}
            curves = missing_curves(means, self.split_data(cell.settings).labels("valid"), 0) if len(names) > 1 else {}
            extra = {
                "seconds": time.monotonic() - begin,
                "epochs": epochs,
                "missing": {name: curve.tolist() for name, curve in curves.items()},
                "shares": list(SHARES),
            }
            self._write(cell, np.stack([one[names] for one in scores]), extra)

    def _ridge(self, settings: Settings) -> Scores:
        """Predictions of the ridge baseline, ``(1, N, E)``."""
        data, parts = self.split_data(settings), {}
        key = _data_key(settings)
        for name in self.modalities(settings):
            for part in ("train", "valid"):
                if (key, part, name) not in self._pooled:
                    self._pooled[key, part, name] = pooled(data.clips(part, (name,)).modalities[name])
            parts[name] = (self._pooled[key, "train", name], self._pooled[key, "valid", name])
        return ridge_scores(parts, data.labels("train"))[None]

    def _unimodal_mean(self, settings: Settings) -> Scores:
        """Mean prediction of the stage-1 models over the modalities that each clip has."""
        names, valid = self.modalities(settings), self.split_data(settings).clips("valid", self.modalities(settings))
        present = np.stack([valid.present(name).cpu().numpy() for name in names])  # (M, N)
        present[:, ~present.any(0)] = True  # no modality at all: the biases of all heads
        scores = np.stack([self.encoder(EncoderJob(name, settings))[1] for name in names])  # (M, K, N, E)
        weights = (present / present.sum(0))[:, None, :, None]
        return (scores * weights).sum(0).astype(np.float32)

    def _write(self, cell: Cell, scores: Scores | None, record: Mapping[str, Any]) -> None:
        result: dict[str, Any] = {"failed": "", "cell": cell.name, "method": cell.method, **record}
        if scores is not None:
            labels = self.split_data(cell.settings).labels("valid")
            r = pearson(scores, labels)
            result |= {"r": r.tolist(), "mean_r": mean_defined(r).tolist()}
        result["settings"] = cell.settings.model_dump(mode="json")
        with atomic_folder(self.context.folder(cell), CELL_FILES) as part:
            if scores is not None:
                np.save(part / "scores.npy", scores, allow_pickle=False)
            write_json(part / "result.json", plain(result))
            write_sums(part, "result.json", *(("scores.npy",) if scores is not None else ()))


def _quietly(_: str, __: Epoch) -> None:
    """Epochs of a study are not reported."""


def _inner(settings: Settings) -> list[Any]:
    """Part of a key if an inner split chooses the epochs; else nothing, as in older keys."""
    return [{"inner_ratio": settings.train.inner_ratio}] if settings.train.select == "inner" else []
