"""The work of one process of a study: trains stage-1 models and cells, and stores their results.

Two processes that need the same stage-1 model at the same time both train it, with the same result; the first to
finish stores it. A study trains those first, and a search those that all its trials share, so this is rare.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from mien.compute.device import choose_threads
from mien.config import ComputeSettings, Settings
from mien.errors import DataError
from mien.evaluation.evaluate import SHARES, missing_curves
from mien.evaluation.model_inputs import gather_inputs
from mien.features.store import Store
from mien.metrics import mean_defined, pearson
from mien.modalities import MODALITIES
from mien.modalities.encoder import Encoder
from mien.model.embeddings import subset_scores
from mien.model.inputs import predict_all
from mien.model.model_folder import load_bundle
from mien.model.network import ModelSpec, Unimodal, variants
from mien.scale import Pool
from mien.storage.bounded import LARGEST_WEIGHTS, read_npy, read_safetensors
from mien.storage.checksums import write_sums
from mien.storage.documents import plain
from mien.storage.files import atomic_folder, write_json
from mien.study.cells import (
    CELL_FILES,
    ENCODER_FILES,
    EncoderJob,
    Scores,
    StudyContext,
    Work,
    is_complete,
    needs_encoders,
    parts,
)
from mien.study.keys import adapted_in, data_key, with_every_clip
from mien.study.plan import Cell
from mien.study.ridge import pooled, ridge_scores
from mien.subsets import all_subsets
from mien.training.encoder_sources import find_sources, given_sources, source_notes
from mien.training.fit import Epoch
from mien.training.leaks import backbone_notes
from mien.training.split_data import SplitData
from mien.training.stage1 import TrainContext, read_by_encoder, train_encoder
from mien.training.stage2 import train_fusion
from mien.training.train import train


@dataclass(frozen=True)
class Workers:
    """The ``WorkerFactory`` that ``scale.run`` calls in each process.

    Attributes:
        context: of the study.
        threads: per process; 0 keeps the default of torch.
    """

    context: StudyContext
    threads: int = 0

    @classmethod
    def of_pool(cls, context: StudyContext, compute: ComputeSettings, pool: Pool) -> "Workers":
        """With the threads of each worker of a pool."""
        return cls(context, choose_threads(compute, pool) if pool or compute.threads else 0)

    def __call__(self) -> Callable[[Work], tuple[str, ...]]:
        """Return the function that does a piece of work and returns why cells failed, a line each."""
        if self.threads:
            torch.set_num_threads(self.threads)
        return Worker(self.context).do


class Worker:
    """Does the work of one process; keeps the data that it has read."""

    def __init__(self, context: StudyContext) -> None:
        self.context = context
        self.store = Store(context.features)
        self._split_data: dict[str, SplitData] = {}
        self._backbone_notes: dict[Any, tuple[str, ...]] = {}
        self._sources: dict[Any, tuple[dict[str, Encoder], tuple[str, ...]]] = {}
        self._pooled: dict[tuple[str, str, str], Any] = {}

    def do(self, work: Work) -> tuple[str, ...]:
        """Do a piece of work; returns why cells failed. A failing cell does not stop the others of its batch."""
        if isinstance(work, EncoderJob):
            try:
                self.modalities(work.settings.model_copy(update={"modalities": (work.modality,)}))
            except DataError as error:  # no features, or clips that cannot be divided; cells that need them fail too
                return (f"stage 1 {work.modality}: {error}",)
            self.encoder(work)
            return ()
        pending = tuple(cell for cell in work.cells if not self.context.is_done(cell))  # a search may repeat a trial
        try:
            if pending:
                self.cells(pending)
        except Exception as error:  # noqa: BLE001 - any error becomes the cell's reason in the table
            first, *others = pending
            if others:
                return tuple(reason for part in parts(work) for reason in self.do(part))
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            self._write(first, None, {"failed": reason})
            return (f"{first.name}: {reason}",)
        return ()

    def split_data(self, settings: Settings) -> SplitData:
        """The clips of the split of these settings, in memory."""
        key = data_key(settings)
        if key not in self._split_data:
            stored = tuple(name for name in MODALITIES if name in self.store.modalities)  # not tokens
            all_modalities = settings.model_copy(update={"modalities": stored})
            split, targets, whole = self.context.split(settings), len(self.context.manifest.targets), None
            if settings.split.train_clips is not None:  # a part of what is in memory
                whole = self.split_data(settings.model_copy(update={"split": with_every_clip(settings.split)}))
            self._split_data[key] = SplitData(self.store, split, targets, all_modalities, whole)
        return self._split_data[key]

    def modalities(self, settings: Settings) -> tuple[str, ...]:
        """Modalities of the settings, all with features: without one, a cell would have the result of another.

        Raises:
            DataError: no training clip has one of them, or the clips cannot be divided.
        """
        widths = self.split_data(settings).widths
        if missing := ", ".join(name for name in settings.modalities if name not in widths):
            raise DataError(
                f"{self.store.root}: no training clip has features of {missing}; extract them with: mien extract, or "
                f"leave {missing} out of modalities"
            )
        return settings.modalities

    def backbone_notes(self, settings: Settings) -> tuple[str, ...]:
        """Notes on the clips that the backbones behind the features were trained on.

        Raises:
            DataError: these are validation clips.
        """
        key = (data_key(settings), names := self.modalities(settings))
        if key not in self._backbone_notes:
            self._backbone_notes[key] = backbone_notes(self.split_data(settings), self.context.manifest, names)
        return self._backbone_notes[key]

    def sources(self, settings: Settings) -> tuple[dict[str, Encoder], tuple[str, ...]]:
        """The encoders from other runs, by modality, checked against the features and the split, and notes on them.

        Raises:
            SettingsError, ModelError, DataError: as for a run.
        """
        given, seeds = given_sources(settings, settings.modalities), len(settings.seeds)
        key = (
            data_key(settings),
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
            with atomic_folder(folder, ENCODER_FILES, keep=is_complete) as part:
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
        notes = self.backbone_notes(cells[0].settings)
        if cells[0].method == "train":
            train_cells = self._train_backbones if adapted_in(cells[0]) else self._train
            train_cells(cells, begin)
            return
        for cell in cells:
            scores = self._ridge(cell.settings) if cell.method == "ridge" else self._unimodal_mean(cell.settings)
            self._write(cell, scores, {"seconds": time.monotonic() - begin, "notes": notes})

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
                "notes": (*self.backbone_notes(settings), *self.sources(settings)[1]),
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
                "notes": self.backbone_notes(cell.settings),
            }
            self._write(cell, np.stack([one[names] for one in scores]), extra)

    def _ridge(self, settings: Settings) -> Scores:
        """Predictions of the ridge baseline, ``(1, N, E)``."""
        data, parts = self.split_data(settings), {}
        key = data_key(settings)
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
        with atomic_folder(self.context.folder(cell), CELL_FILES, lambda _: self.context.is_done(cell)) as part:
            if scores is not None:
                np.save(part / "scores.npy", scores, allow_pickle=False)
            write_json(part / "result.json", plain(result))
            write_sums(part, "result.json", *(("scores.npy",) if scores is not None else ()))


def _quietly(_: str, __: Epoch) -> None:
    """Epochs of a study are not reported."""
