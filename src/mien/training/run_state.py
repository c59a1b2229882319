"""What the parts of a run share: its data, settings and folder, and how a part is logged, read and made a model."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mien.config import Settings
from mien.data.splits import Split
from mien.features.extract import backbones_of
from mien.features.store import Store
from mien.modalities.encoder import Encoder
from mien.model.bundle import Bundle
from mien.model.inputs import ClipDataset
from mien.model.model_folder import load_bundle
from mien.model.network import Multimodal, Unimodal, variants
from mien.schema import Manifest
from mien.training.encoder_sources import Source
from mien.training.fit import Epoch
from mien.training.run_folder import EpochLog
from mien.training.split_data import SplitData
from mien.training.stage1 import EpochCallback, TrainContext

Log = Callable[[str], None]


@dataclass
class RunState:
    """State shared by the parts of a run.

    Attributes:
        sources: encoders from other runs, by modality.
        scores, epochs: of the finished models: validation scores ``(K, N, E)`` and best epochs, by name.
        dips: notes on seeds that stopped too early.
        adapted: files of the backbones that were trained, by role.
    """

    manifest: Manifest
    store: Store
    settings: Settings
    folder: Path
    split: Split
    data: SplitData
    log: Log
    on_epoch: EpochCallback
    sources: Mapping[str, Source] = field(default_factory=dict)
    scores: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    epochs: dict[str, list[int]] = field(default_factory=dict)
    dips: list[str] = field(default_factory=list)
    adapted: dict[str, Path] = field(default_factory=dict)

    def add(self, name: str, bundle: Bundle, valid: ClipDataset) -> None:
        """Keep the validation scores of a finished model, its best epochs, and notes on its training."""
        made = bundle.provenance.get("training", {})
        self.scores[name] = bundle.score_each(valid)
        self.epochs[name] = made.get("epochs", [])
        self.dips += made.get("notes", [])

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities with features, in order."""
        return tuple(self.data.widths)

    @property
    def labels(self) -> npt.NDArray[np.float32]:
        """``(N, E)`` of the validation clips."""
        return self.data.labels("valid")

    @property
    def source_encoders(self) -> dict[str, Encoder]:
        """The encoders from other runs, by modality."""
        return {name: source.encoder for name, source in self.sources.items()}

    def origins(self, modalities: Iterable[str]) -> dict[str, Any]:
        """The part of ``provenance.json`` on encoders from other runs; empty without any."""
        found = {n: self.sources[n].origin.model_dump(mode="json") for n in modalities if n in self.sources}
        return {"encoders": found} if found else {}

    def context(self, folder: Path) -> TrainContext:
        """The context of a stage in ``folder``."""
        return TrainContext(folder / "checkpoint.safetensors", self.data.precision, self.settings.batch_seed)


def read_encoders(run: RunState, part: str, device: torch.device) -> dict[str, Unimodal]:
    """The unimodal models of stage 1, or of the refit, read from their folders."""
    if run.settings.stage2.adaptation == "joint":
        return {}
    encoders = {}
    for name in run.modalities:
        module = load_bundle(run.folder / part / name, device=device).module
        assert isinstance(module, Unimodal)
        encoders[name] = module
    return encoders


def bundle_of(run: RunState, module: Unimodal | Multimodal, modalities: tuple[str, ...]) -> Bundle:
    """A trained module as a model, without intervals and provenance."""
    stage = run.settings.stage2 if isinstance(module, Multimodal) else run.settings.stage1
    stores = {name: run.data.stores[name] for name in modalities}
    made = {name: store.provenance(name) for name, store in stores.items()}
    known = {role: one for store in stores.values() for role, one in backbones_of(store.root).items()}
    own = {role: one for role, one in known.items() if one.name in " ".join(made.values())}
    return Bundle(
        module=module,
        targets=run.manifest.targets,
        widths={name: run.data.widths[name] for name in modalities},
        settings=run.settings,
        models=variants(run.settings, stage),
        feature_provenance=made,
        random_weights=any("random" in maker for maker in made.values())
        or any(run.sources[name].bundle.random_weights for name in modalities if name in run.sources),
        backbones=own,
        adapted={role: run.adapted[role] for role in own if role in run.adapted},
    )


def log_and_call(epoch_log: EpochLog, on_epoch: EpochCallback) -> EpochCallback:
    """A callback that logs an epoch, then calls ``on_epoch``."""

    def report(name: str, epoch: Epoch) -> None:
        epoch_log.add(epoch)
        on_epoch(name, epoch)

    return report


def remove(checkpoint: Path | None) -> None:
    """Delete the checkpoint of a finished part."""
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
