"""Made corpora with a planted signal, as many people as wanted: r of a model on very many fresh clips is its true r.

The table in docs/log.md is printed by

    python -m tests.training.simulated optimism 400     # corpora
    python -m tests.training.simulated nested 200
    python -m tests.training.simulated ridge 150
"""

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from mien.config import SplitSettings, read_settings
from mien.data.splits import split_clips
from mien.evaluation.evaluate import evaluate_targets
from mien.features.store import Packed, Store
from mien.features.writer import StoreWriter
from mien.metrics import mean_defined, pearson
from mien.model.model_folder import load_bundle
from mien.schema import EMOTIONS, Clip, ClipFeatures, Feature, Manifest
from mien.training import train
from mien.training.cross_validation import cross_validate
from mien.training.pooled import fold_folder, widened

WIDTH, E = 16, len(EMOTIONS)
MODALITIES = ("text", "vision")
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where corpora and runs lie for a second: a disk would take most of the time."""

SMALL = [
    *("seeds=[0,1]", "modalities=[text,vision]", "stage1.embedding=16", "stage2.hidden=16", "stage1.lr=5e-3"),
    *("stage2.lr=2e-3", "stage1.epochs=20", "stage2.epochs=20", "stage1.patience=0", "stage2.patience=0"),
    *("compute.precision=float32", "stage1.dropout=0.45", "stage2.dropout=0.45"),
    *("stage1.weight_decay=0.01", "stage2.weight_decay=0.01"),
    *("stage1.schedule=plateau", "stage2.schedule=plateau", "stage1.plateau_patience=2", "stage2.plateau_patience=2"),
]
"""Small widths and few epochs, all of which are candidates for the best. What depends on the defaults is set here."""

FAST = [*SMALL, "modalities=[text]", "seeds=[0]", "stage1.lr=2e-2", "stage2.lr=1e-2", "stage1.dropout=0.1"]
FAST += ["stage2.dropout=0.1", "stage1.epochs=12", "stage2.epochs=12"]

SETS = 20
"""Validation sets per training, where they have no influence on it."""


@dataclass(frozen=True)
class Clips:
    """Drawn clips: features ``(N, F)`` by modality, labels ``(N, E)``, the person of each ``(N,)``."""

    features: dict[str, np.ndarray]
    labels: np.ndarray
    who: np.ndarray


@dataclass(frozen=True)
class World:
    """A distribution of people and of their clips.

    Attributes:
        signal: how much of the labels' variance the features carry.
        alike: share of the variance that is between people.
        seed: of the directions of the signal.
    """

    signal: float = 0.15
    alike: float = 0.3
    seed: int = 0

    def draw(self, people: int, clips: int, rng: np.random.Generator) -> Clips:
        """Clips of so many people, about the same number of each."""
        directions = np.random.default_rng(self.seed).normal(size=(len(MODALITIES), E, WIDTH)) / np.sqrt(E)
        who = np.arange(clips) % people

        def normal(width: int) -> np.ndarray:
            between, within = rng.normal(size=(people, width)), rng.normal(size=(clips, width))
            return np.sqrt(self.alike) * between[who] + np.sqrt(1 - self.alike) * within

        known, unknown = normal(E), normal(E)
        raw = np.sqrt(self.signal) * known + np.sqrt(1 - self.signal) * unknown
        features = {m: known @ directions[i] + normal(WIDTH) for i, m in enumerate(MODALITIES)}
        return Clips(features, np.clip(0.5 + 0.15 * raw, 0, 1).astype(np.float32), who)


def stored(clips: Clips, root: Path, train_people: int | None) -> tuple[Manifest, Store]:
    """A manifest of the clips, in which the first people are for training, and the store of their features."""
    ids, time = [f"{i:05d}" for i in range(len(clips.who))], np.zeros(1, np.float32)
    features = [
        ClipFeatures(
            name,
            1.0,
            tuple(Feature(m, "k", "made@1", clips.features[m][i : i + 1].astype(np.float16), time) for m in MODALITIES),
        )
        for i, name in enumerate(ids)
    ]
    with StoreWriter(root, ids) as writer:
        for first in range(0, len(ids), 256):
            writer.add_shard(features[first : first + 256])
    rows = tuple(
        Clip(
            name,
            Path(f"{name}.mp4"),
            split="train" if train_people is None or person < train_people else "valid",
            participant=f"p{person}",
            labels=tuple(map(float, y)),
        )
        for name, person, y in zip(ids, clips.who, clips.labels, strict=True)
    )
    return Manifest(root / "clips.csv", EMOTIONS, rows), Store(root)


def r_of(model: Path, clips: Clips) -> float:
    """Mean r over the emotions of a model, as users get its scores, on drawn clips."""
    bundle = load_bundle(model)
    offsets = np.arange(len(clips.who) + 1)
    scores = bundle.score({m: Packed(x.astype(np.float16), offsets) for m, x in clips.features.items()})
    return float(mean_defined(pearson(bundle.bounded(scores), clips.labels)))


def ridge_scores(fitted: Clips, other: Clips) -> np.ndarray:
    """Scores of a ridge regression, relative to the mean of the clips that it was fitted to."""
    x, z = (np.hstack([clips.features[m] for m in MODALITIES]) for clips in (fitted, other))
    mean, y = x.mean(0), fitted.labels - fitted.labels.mean(0)
    return (z - mean) @ np.linalg.solve((x - mean).T @ (x - mean) + 10 * np.eye(x.shape[1]), (x - mean).T @ y)


def ridge_r(fitted: Clips, *others: Clips) -> list[float]:
    """Mean r of a ridge regression, of which nothing was chosen on anything: the r of an honest model."""
    return [float(pearson(ridge_scores(fitted, clips), clips.labels).mean()) for clips in others]


def fresh_clips(world: World, seed: int) -> Clips:
    """Clips of 600 people who are in no corpus; others for each corpus, so that the error of so many averages out."""
    return world.draw(600, 4200, np.random.default_rng([seed, 99]))


def part(clips: Clips, chosen: np.ndarray) -> Clips:
    """Some of the clips."""
    return Clips({m: x[chosen] for m, x in clips.features.items()}, clips.labels[chosen], clips.who[chosen])


def optimism(
    corpora: int, world: World, select: str, sets: int = 1, small: list[str] = SMALL
) -> Iterator[tuple[float, float]]:
    """By corpus: reported r minus true r of a model whose epochs were chosen on ``select``, and the same of a ridge.

    161 clips of 23 people for training, about 7 a person; 58 clips of 8 people for validation, ``sets`` times. Many
    sets are possible where validation clips have no influence on training, and then r is their mean.
    """
    for seed in range(corpora):
        people, fresh = 23 + 8 * sets, fresh_clips(world, seed)
        clips = world.draw(people, 161 + 58 * sets, np.random.default_rng([seed, 1]))
        held_out = np.flatnonzero(clips.who >= 23)
        groups = [held_out[(clips.who[held_out] - 23) // 8 == group] for group in range(sets)]
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            manifest, store = stored(clips, Path(folder) / "store", 23)
            out = Path(folder) / "run"
            reported = train(manifest, store, read_settings(overrides=[*small, f"train.select={select}"]), out)
            table, true = pq.read_table(out / "predictions.parquet"), r_of(out, fresh)
        scores = np.stack([table[f"fused {name}"].to_numpy() for name in EMOTIONS], -1)
        place = {int(name): row for row, name in enumerate(table["clip"].to_pylist())}
        found = [float(pearson(scores[[place[i] for i in group]], clips.labels[group]).mean()) for group in groups]
        assert sets > 1 or abs(found[0] - reported.mean_r["ensemble"]) < 1e-6
        *on_valid, own = ridge_r(part(clips, clips.who < 23), *(part(clips, group) for group in groups), fresh)
        yield float(np.mean(found)) - true, float(np.mean(on_valid)) - own


def nested(corpora: int, people: int, world: World, folds: int = 4) -> Iterator[tuple[float, bool, float]]:
    """By corpus: pooled r minus the mean true r of the folds' models, whether its interval misses that, and the
    difference of a ridge in the same folds.

    Eight clips a person.
    """
    for seed in range(corpora):
        fresh = fresh_clips(world, seed)
        clips = world.draw(people, 8 * people, np.random.default_rng([seed, people]))
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            out = Path(folder) / "cv"
            manifest, store = stored(clips, Path(folder) / "store", None)
            made = cross_validate(manifest, store.root, read_settings(overrides=FAST), out, folds)
            true = float(np.mean([r_of(fold_folder(out, fold), fresh) for fold in range(folds)]))
        misses = not made.mean_r.low <= true <= made.mean_r.high
        yield made.mean_r.value - true, misses, _pooled_ridge(made.table, clips, fresh, folds)


def _pooled_ridge(table, clips: Clips, fresh: Clips, folds: int) -> float:
    fold_of = np.empty(len(clips.who), int)
    fold_of[[int(name) for name in table["clip"].to_pylist()]] = table["fold"].to_numpy()
    scores, true = np.empty_like(clips.labels), []
    for fold in range(folds):
        own = part(clips, fold_of != fold)
        scores[fold_of == fold] = ridge_scores(own, part(clips, fold_of == fold))
        true += ridge_r(own, fresh)
    return float(pearson(scores, clips.labels).mean()) - float(np.mean(true))


def ridge_folds(
    corpora: int, people: int, world: World, folds: int, resamples: int = 1000
) -> Iterator[tuple[float, float, bool, bool, bool]]:
    """What pooling costs, without networks: by corpus, pooled r minus true r of a ridge by its scores as they are, and
    relative to the level of each fold; whether the interval of the first misses, and those of the second, as it is and
    widened."""
    for seed in range(corpora):
        clips, fresh = world.draw(people, 8 * people, np.random.default_rng([seed, people])), fresh_clips(world, seed)
        named = [Clip(str(i), Path("x"), participant=f"p{p}", labels=(0.0,)) for i, p in enumerate(clips.who)]
        manifest = Manifest(Path("x"), ("x",), tuple(named))
        relative, level, true = np.empty_like(clips.labels), np.empty_like(clips.labels), []
        for fold in range(folds):
            held = {
                clip.id for clip in split_clips(manifest, SplitSettings(kind="kfold", folds=folds, fold=fold)).valid
            }
            out = np.array([clip.id in held for clip in named])
            own, others = part(clips, ~out), part(clips, out)
            relative[out], level[out] = ridge_scores(own, others), own.labels.mean(0)
            true += ridge_r(own, fresh)
        truth, who = float(np.mean(true)), [f"p{person}" for person in clips.who]
        names = ("x",) * E
        (_, raw), (_, fair) = (
            evaluate_targets(names, scores, clips.labels, who, resamples, seed)
            for scores in (relative + level, relative)
        )
        missed = [not found.low <= truth <= found.high for found in (raw, fair, widened(fair, folds))]
        yield raw.value - truth, fair.value - truth, missed[0], missed[1], missed[2]


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean over corpora and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def _print(names: list[str], values: np.ndarray) -> None:
    for name, column in zip(names, values.T, strict=True):
        mean, error = mean_and_error(column)
        print(f"| {name} | {len(values)} | {mean:+.4f} ± {error:.4f} |", flush=True)


if __name__ == "__main__":
    count = int(sys.argv[2])
    if sys.argv[1] == "optimism":
        for select, sets in (("valid", 1), ("inner", SETS)):
            rows = np.array(list(optimism(count, World(), select, sets)))
            _print([select, f"ridge beside {select}"], rows)
            _print([f"{select} - ridge"], rows[:, :1] - rows[:, 1:])
    elif sys.argv[1] == "ridge":
        for who, folds in ((20, 5), (8, 4)):
            rows = np.array(list(ridge_folds(count, who, World(signal=0.4), folds)), float)
            _print([f"{who} people, scores as they are", f"{who} people, relative to the level"], rows[:, :2])
            print("coverage as they are, relative, widened:", *(1 - rows[:, 2:].mean(0)).round(3))
    else:
        for who in map(int, sys.argv[3:] or ("20", "8")):
            rows = np.array(list(nested(count, who, World(signal=0.4))), float)
            print(f"{who} people: coverage {1 - rows[:, 1].mean():.3f}")
            _print(
                ["pooled", "ridge", "pooled - ridge"], np.stack([rows[:, 0], rows[:, 2], rows[:, 0] - rows[:, 2]], -1)
            )
