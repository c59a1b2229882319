"""Effect of the engines on the scores: a model trained on float32 features, evaluated on those of every engine.

Each video is decoded once for the backbones of all engines, so that only the arithmetic differs. Results are kept in
``build/bench``, so an interrupted run continues.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from backbones import PLAIN, WAYS, compute_of
from material import SCRATCH, WORKERS, corpus
from section import Section, Table, at_most

from mien import api
from mien.compute.device import resolve_compute
from mien.config import Settings, read_settings
from mien.data.manifest import read_manifest
from mien.features.worker import Extraction, plan
from mien.features.writer import StoreWriter
from mien.media.load_media import MediaEngines, load_media
from mien.modalities import MODALITIES
from mien.modalities.base import Absent, Backbone, Modality
from mien.scale import Failed, run
from mien.schema import Clip, ClipFeatures, Feature, Media

VERSIONS = "-".join(f"{name}{modality.version}" for name, modality in MODALITIES.items())
"""Features of other versions of the code are not reused."""

QUICK = ["stage1.epochs=5", "stage1.motion_epochs=5", "stage2.epochs=5"]


@dataclass(frozen=True)
class AllWays:
    """Creates the function that computes the features of a clip with every engine."""

    extraction: Extraction

    def __call__(self) -> Callable[[Clip], dict[str, ClipFeatures]]:
        torch.set_num_threads(self.extraction.threads)
        settings, weights = self.extraction.settings, dict(self.extraction.weights)
        engines = MediaEngines({role: one.path for role, one in weights.items()}, settings, self.extraction.threads)
        loaded = {way: _loaded(way, weights) for way in WAYS}

        def compute(clip: Clip) -> dict[str, ClipFeatures]:
            media = load_media(clip, set(MODALITIES), engines, settings)
            return {way: _features(media, backbones) for way, backbones in loaded.items()}

        return compute


def _loaded(way: str, weights: dict) -> dict[str, Backbone]:
    compute = resolve_compute(compute_of(way))
    return {
        name: modality.load(weights[modality.backbone_role].path if modality.backbone_role else None, compute)
        for name, modality in MODALITIES.items()
    }


def _features(media: Media, backbones: dict[str, Backbone]) -> ClipFeatures:
    made = [feature for name, backbone in backbones.items() for feature in _feature(MODALITIES[name], backbone, media)]
    return ClipFeatures(media.clip.id, media.seconds, tuple(made), media.transcript)


def _feature(modality: Modality, backbone: Backbone, media: Media) -> list[Feature]:
    prepared = modality.prepare(media)
    if isinstance(prepared, Absent):
        return [Feature(name, "bench", "bench", status="absent", reason=prepared.reason) for name in modality.features]
    return [
        Feature(name, "bench", "bench", output.values.astype(np.float16), output.seconds)
        for name, output in backbone(prepared).items()
    ]


def extract(folder: Path, stores: dict[str, Path]) -> None:
    """Add the missing clips to the store of each engine."""
    manifest = read_manifest(folder)
    with ExitStack() as stack:
        names = [clip.id for clip in manifest.clips]
        writers = {way: stack.enter_context(StoreWriter(store, names)) for way, store in stores.items()}
        missing = [clip for clip in manifest.clips if not all(writer.known(clip.id) for writer in writers.values())]
        for clip, made in run(AllWays(plan(Settings(), WORKERS)), missing, workers=WORKERS):
            if isinstance(made, Failed):
                raise RuntimeError(f"{clip.id}: {made.reason}")
            for way, writer in writers.items():
                writer.add(made[way])


def measure(quick: bool) -> Section:
    clips = 12 if quick else 160
    folder, home = corpus(clips), SCRATCH / f"precision-{clips}" / VERSIONS
    stores = {way: home / way.replace(" ", "-") for way in WAYS}
    extract(folder, stores)
    api.train(folder, stores[PLAIN], home / "run", read_settings(overrides=QUICK if quick else []), progress=False)
    evaluated = {way: api.evaluate(home / "run", folder, store) for way, store in stores.items()}
    plain = evaluated[PLAIN]
    change = {way: abs(one.mean_r.value - plain.mean_r.value) for way, one in evaluated.items()}
    rows = [(way, f"{one.mean_r.value:.4f}", f"{change[way]:.4f}") for way, one in evaluated.items()]
    limit = f"{plain.clips} rated clips, so that one clip has a large effect"
    targets = [
        at_most(f"scores, {way}: change of mean r", 0.002, change[way], "", limit) for way in WAYS if way != PLAIN
    ]
    text = (
        f"Mean r of one model (five seeds, trained on {PLAIN} features of {clips} stand-in videos) on the "
        f"{plain.clips} validation videos, by the engine that computed their features."
    )
    return Section("Scores", [text, Table(("engine", "mean r", "change"), rows)], targets)
