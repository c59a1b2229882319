"""Training speed: data loading, many models at once, both stages, bootstrap; about 3 GB of scratch space at full size.

Random features of published widths: only speed is measured here. docs/log.md has the effect of bucketing, bfloat16 and
shared batches on accuracy, measured on the stand-in corpus.
"""

import itertools
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from section import Section, Table, at_least
from timing import in_turns, ratio
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mien.compute.device import choose_precision
from mien.config import FitSettings, Settings, read_settings
from mien.features.store import Packed
from mien.metrics import bootstrap_pearson, pearson
from mien.model.inputs import ClipDataset, load_dataset
from mien.model.network import ModelSpec, Multimodal, Unimodal
from mien.training.fit import fit
from mien.training.state import TrainingJob

WIDTH, STEPS, HIDDEN = 768, 58, 256


class Files(Dataset):
    """One .npy per clip, as in typical challenge code."""

    def __init__(self, folder: Path, labels: np.ndarray) -> None:
        self.folder, self.labels = folder, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return np.load(self.folder / f"{i}.npy").astype(np.float32), self.labels[i]


class Plain(nn.Module):
    """The same encoder and head, written in the usual way."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(WIDTH, 1)
        self.trunk = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, HIDDEN), nn.GELU(), nn.Dropout(0.45), nn.LayerNorm(HIDDEN)
        )
        self.head = nn.Sequential(nn.Dropout(0.45), nn.Linear(HIDDEN, 6))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        weights = torch.softmax(self.score(x)[..., 0].masked_fill(~mask, -torch.inf), -1)
        return self.head(self.trunk((weights[..., None] * x).sum(1)))


def padded(batch: list[tuple[np.ndarray, np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    longest = max(len(values) for values, _ in batch)
    x = torch.zeros(len(batch), longest, batch[0][0].shape[1])
    mask = torch.zeros(len(batch), longest, dtype=torch.bool)
    for i, (values, _) in enumerate(batch):
        x[i, : len(values)], mask[i, : len(values)] = torch.from_numpy(values), True
    return x, mask, torch.from_numpy(np.stack([labels for _, labels in batch]))


def plain_epoch(folder: Path, labels: np.ndarray) -> float:
    """Seconds of one epoch of one model from files."""
    module = Plain()
    adamw = torch.optim.AdamW(module.parameters(), lr=5e-4)
    begin = time.perf_counter()
    for x, mask, targets in DataLoader(Files(folder, labels), 64, shuffle=True, collate_fn=padded):
        value = nn.functional.mse_loss(module(x, mask), targets)
        adamw.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        adamw.step()
        value.item()
    return time.perf_counter() - begin


def our_epoch(clips: ClipDataset, valid: ClipDataset, models: int, settings: Settings, precision: torch.dtype) -> float:
    """Seconds of one epoch per model, ``models`` at once."""
    variants = tuple(ModelSpec(k, 5e-4, 1e-2, 0.45) for k in range(models))
    stage: FitSettings = settings.stage1
    module = Unimodal("audio", clips.modalities["audio"].values.shape[1], 6, settings.stage1, variants)
    job = TrainingJob("bench", module, module.groups(), variants, clips, valid, stage, epochs=2, precision=precision)
    return min(epoch.seconds for epoch in fit(job)) / models


SHAPES = {"text": (768, 0.0), "audio": (1024, 50.0), "vision": (768, 4.0), "motion": (23, 10.0)}
"""Feature width, and steps per second (text is one step), as in the feature mode of the stand-in."""
SECONDS = 6.92
SEEDS = 10


class AllFiles(Dataset):
    """One .npy per clip and modality."""

    def __init__(self, folder: Path, names: tuple[str, ...], labels: np.ndarray) -> None:
        self.folder, self.names, self.labels = folder, names, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[list[np.ndarray], np.ndarray]:
        return [np.load(self.folder / n / f"{i}.npy").astype(np.float32) for n in self.names], self.labels[i]


class PlainStages(nn.Module):
    """Encoders and fusion written in the usual way; with one modality, the encoder and its head."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        sizes = {name: 128 if name == "motion" else 384 for name in names}
        self.scores = nn.ModuleList(nn.Linear(SHAPES[n][0], 1) for n in names)
        self.trunks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(SHAPES[n][0]), nn.Linear(SHAPES[n][0], d), nn.GELU(), nn.Dropout(0.45), nn.LayerNorm(d)
            )
            for n, d in sizes.items()
        )
        wide = sum(sizes.values())
        self.head = (
            nn.Sequential(nn.Dropout(0.45), nn.Linear(wide, 6))
            if len(names) == 1
            else nn.Sequential(
                nn.LayerNorm(wide),
                nn.Dropout(0.45),
                nn.Linear(wide, 384),
                nn.GELU(),
                nn.Dropout(0.45),
                nn.Linear(384, 6),
            )
        )

    def forward(self, batch: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        parts = []
        for (x, mask), score, trunk in zip(batch, self.scores, self.trunks, strict=True):
            weights = torch.softmax(score(x)[..., 0].masked_fill(~mask, -torch.inf), -1)
            parts.append(trunk((weights[..., None] * x).sum(1)))
        return self.head(torch.cat(parts, -1))


def padded_all(
    batch: list[tuple[list[np.ndarray], np.ndarray]],
) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], torch.Tensor]:
    columns = [padded([(row[m], labels) for row, labels in batch])[:2] for m in range(len(batch[0][0]))]
    return columns, torch.from_numpy(np.stack([labels for _, labels in batch]))


def plain_stage(folder: Path, names: tuple[str, ...], labels: np.ndarray) -> float:
    """Seconds of one epoch of one model, opening a file per clip and modality."""
    module = PlainStages(names)
    adamw = torch.optim.AdamW(module.parameters(), lr=5e-4)
    begin = time.perf_counter()
    for batch, targets in DataLoader(AllFiles(folder, names, labels), 64, shuffle=True, collate_fn=padded_all):
        value = nn.functional.mse_loss(module(batch), targets)
        adamw.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        adamw.step()
        value.item()
    return time.perf_counter() - begin


def our_stage(clips: ClipDataset, names: tuple[str, ...], precision: torch.dtype) -> float:
    """Seconds of one epoch of ``SEEDS`` models at once, in batches as large as those of the plain loop."""
    settings = read_settings(overrides=["stage1.batch_size=64", "stage2.batch_size=64"])
    part = ClipDataset({name: clips.modalities[name] for name in names}, clips.labels, precision)
    widths = {name: SHAPES[name][0] for name in names}
    stage = settings.stage1 if len(names) == 1 else settings.stage2
    variants = tuple(ModelSpec(k, stage.lr, stage.weight_decay, stage.dropout, 0.3) for k in range(SEEDS))
    if len(names) == 1:
        module = Unimodal(names[0], widths[names[0]], 6, settings.stage1, variants)
        groups = module.groups()
    else:
        module = Multimodal(widths, 6, settings, variants)
        groups = module.groups(settings.stage2)
    few = part.only(torch.arange(2))
    job = TrainingJob("bench", module, groups, variants, part, few, stage, epochs=2, precision=precision)
    return min(epoch.seconds for epoch in fit(job))


def stages(count: int, rng: np.random.Generator) -> Table:
    """Both stages for ten seeds: from a file per clip and modality, one seed after another, and from memory at once."""
    labels = rng.random((count, 6), np.float32)
    seconds = np.clip(rng.lognormal(np.log(SECONDS * 0.9), 0.5, count), 0.5, 60)
    packed, rows = {}, []
    with tempfile.TemporaryDirectory() as scratch:
        for name, (width, rate) in SHAPES.items():
            lengths = np.maximum(1, seconds * rate).astype(np.int64)
            values = rng.standard_normal((int(lengths.sum()), width), np.float32).astype(np.float16)
            packed[name] = Packed(values, np.concatenate([[0], np.cumsum(lengths)]))
            (Path(scratch) / name).mkdir()
            for i, (begin, end) in enumerate(itertools.pairwise(packed[name].offsets.tolist())):
                np.save(Path(scratch) / name / f"{i}.npy", values[begin:end])
        precision = choose_precision(read_settings().compute, torch.device("cpu"))
        clips = load_dataset(packed, labels, {name: width for name, (width, _) in SHAPES.items()}, 1500, precision)
        whole = np.zeros(2)
        for names in (*((name,) for name in SHAPES), tuple(SHAPES)):
            plain_stage(Path(scratch), names, labels[:128])
            plain = SEEDS * plain_stage(Path(scratch), names, labels)
            ours = median(lambda names=names: our_stage(clips, names, precision))
            whole += plain, ours
            what = f"stage 1 {names[0]}" if len(names) == 1 else "stage 2, encoders adapted"
            rows.append((what, f"{plain:.1f}", f"{ours:.2f}", f"{plain / ours:.1f}"))
    rows.append(("together", f"{whole[0]:.1f}", f"{whole[1]:.2f}", f"{whole[0] / whole[1]:.1f}"))
    what = f"an epoch of {SEEDS} seeds, {count} clips, published widths"
    return Table((what, "files, s", "memory, s", "ratio"), rows)


def median(measure: Callable[[], float], times: int = 3) -> float:
    return float(np.median([measure() for _ in range(times)]))


def measure(quick: bool) -> Section:
    count = 800 if quick else 8000
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(STEPS * 0.9), 0.5, count), 1, 400).astype(np.int64)
    packed = Packed(
        rng.standard_normal((int(lengths.sum()), WIDTH), np.float32).astype(np.float16),
        np.concatenate([[0], np.cumsum(lengths)]),
    )
    labels = rng.random((count, 6), np.float32)
    path, best = data_path(packed, labels)
    parts = [
        f"{torch.get_num_threads()} threads, {count} clips, {lengths.sum()} steps, D {WIDTH}.",
        path,
        at_once(count, labels, rng),
        stages(count // 8, rng),
        bootstrap(rng),
    ]
    limit = "the arithmetic of the encoder itself, which is most of an epoch"
    return Section(
        "Training", parts, [at_least("training epoch, one model, from memory against files", 4.0, best, limit)]
    )


def data_path(packed: Packed, labels: np.ndarray) -> tuple[Table, float]:
    """One encoder with its head: files against memory, one model and ten; also the ratio for one at its best.

    The two take turns, so that what else the machine does hits both.
    """
    settings = read_settings(overrides=[f"stage1.embedding={HIDDEN}"])
    ways: dict[str, Callable[[], float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for i in range(len(labels)):
            np.save(Path(folder) / f"{i}.npy", packed.values[packed.offsets[i] : packed.offsets[i + 1]])
        ways["a .npy per clip, DataLoader, one model"] = lambda: plain_epoch(Path(folder), labels)
        for precision in (torch.float32, torch.bfloat16):
            clips = load_dataset({"audio": packed}, labels, {"audio": WIDTH}, 1500, precision)
            few = clips.only(torch.arange(2))  # validation is not part of the comparison
            for models in (1, 10):
                name = f"packed, bucketed, {str(precision)[6:]}, {models} at once"
                ways[name] = partial(our_epoch, clips, few, models, settings, precision)
        taken = in_turns(ways, 3)
    plain = taken["a .npy per clip, DataLoader, one model"]
    ratios = {name: ratio(plain, seconds) for name, seconds in taken.items()}
    rows = [(name, f"{np.median(seconds):.2f}", f"{ratios[name]:.1f}") for name, seconds in taken.items()]
    best = max(value for name, value in ratios.items() if name.endswith(" 1 at once"))
    return Table(("one encoder with head, batch 64", "s per epoch and model", "ratio"), rows), best


def at_once(count: int, labels: np.ndarray, rng: np.random.Generator) -> Table:
    """Thirty small models at once against one alone."""
    vectors = Packed(rng.standard_normal((count, 256), np.float32).astype(np.float16), np.arange(count + 1))
    clips, rows = load_dataset({"audio": vectors}, labels, {"audio": 256}, 1500), []
    few = clips.only(torch.arange(2))
    for hidden, batch in ((64, 256), (256, 64)):
        settings = read_settings(overrides=[f"stage1.embedding={hidden}", f"stage1.batch_size={batch}"])
        alone, together = (
            1000 * median(lambda k=k, s=settings: our_epoch(clips, few, k, s, torch.float32)) for k in (1, 30)
        )
        rows.append((f"hidden {hidden}, batch {batch}", f"{alone:.0f}", f"{together:.0f}", f"{alone / together:.1f}"))
    return Table(("models of one 256-wide vector, ms per epoch and model", "alone", "30 at once", "ratio"), rows)


def bootstrap(rng: np.random.Generator) -> Table:
    """The clustered bootstrap against the plain loop."""
    labels = rng.random((4588, 6))
    predicted = labels + rng.normal(size=labels.shape)
    person = rng.integers(0, 557, 4588)
    clusters = [f"{p:03d}" for p in person]

    def ours() -> float:
        begin = time.perf_counter()
        bootstrap_pearson(predicted, labels, clusters)
        return time.perf_counter() - begin

    rows_of = [np.flatnonzero(person == p) for p in range(557)]
    begin = time.perf_counter()
    for _ in range(100):
        picked = np.concatenate([rows_of[p] for p in rng.integers(0, 557, 557)])
        pearson(predicted[picked], labels[picked])
    plain = 100 * (time.perf_counter() - begin)
    fast = median(ours, 5)
    rows = [
        ("plain loop (100 of them, times 100)", f"{plain:.1f}"),
        ("matrix product", f"{fast:.3f} ({plain / fast:.0f} ×)"),
    ]
    return Table(("10,000 participant-clustered resamples of 4,588 × 6", "s"), rows)
