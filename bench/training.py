"""How fast training is: the data path, many models at once, the bootstrap. Prints Markdown; run on a quiet machine.

    python bench/training.py            # full size, a few minutes, about 3 GB of scratch
    python bench/training.py --quick    # a tenth

Random features of published widths: only speed is measured here. What accuracy bucketing, bfloat16 and shared batches
cost is measured on the stand-in corpus and noted in docs/log.md.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mien.config import FitSettings, Settings, read_settings
from mien.features.store import Packed
from mien.metrics import bootstrap_pearson, pearson
from mien.model.emotion import Unimodal, Variant
from mien.model.inputs import Clips, load_clips
from mien.training.fit import Job, fit

WIDTH, STEPS, HIDDEN = 768, 58, 256


class Files(Dataset):
    """One .npy per clip, as challenge code does it."""

    def __init__(self, folder: Path, labels: np.ndarray) -> None:
        self.folder, self.labels = folder, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return np.load(self.folder / f"{i}.npy").astype(np.float32), self.labels[i]


class Plain(nn.Module):
    """The same encoder and head, written as everybody would."""

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
    x, mask = torch.zeros(len(batch), longest, WIDTH), torch.zeros(len(batch), longest, dtype=torch.bool)
    for i, (values, _) in enumerate(batch):
        x[i, : len(values)], mask[i, : len(values)] = torch.from_numpy(values), True
    return x, mask, torch.from_numpy(np.stack([labels for _, labels in batch]))


def plain_epoch(folder: Path, labels: np.ndarray) -> float:
    """Seconds of one epoch of one model from files."""
    module = Plain()
    adamw = torch.optim.AdamW(module.parameters(), lr=5e-4)
    begin = time.perf_counter()
    for x, mask, rated in DataLoader(Files(folder, labels), 64, shuffle=True, collate_fn=padded):
        value = nn.functional.mse_loss(module(x, mask), rated)
        adamw.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        adamw.step()
        value.item()
    return time.perf_counter() - begin


def our_epoch(clips: Clips, valid: Clips, models: int, settings: Settings, precision: torch.dtype) -> float:
    """Seconds of one epoch per model, ``models`` at once."""
    variants = tuple(Variant(k, 5e-4, 1e-2, 0.45) for k in range(models))
    stage: FitSettings = settings.stage1
    module = Unimodal("audio", clips.modalities["audio"].values.shape[1], 6, settings.stage1, variants)
    job = Job("bench", module, module.groups(), variants, clips, valid, stage, epochs=2, precision=precision)
    return min(epoch.seconds for epoch in fit(job)) / models


def median(measure: Callable[[], float], times: int = 3) -> float:
    return float(np.median([measure() for _ in range(times)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true")
    count = 800 if parser.parse_args().quick else 8000
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(STEPS * 0.9), 0.5, count), 1, 400).astype(np.int64)
    packed = Packed(
        rng.standard_normal((int(lengths.sum()), WIDTH), np.float32).astype(np.float16),
        np.concatenate([[0], np.cumsum(lengths)]),
    )
    labels = rng.random((count, 6), np.float32)
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, {count} clips, {lengths.sum()} steps, D {WIDTH}"
    )
    print("\n| one encoder with head, batch 64 | s per epoch and model | ratio |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for i in range(count):
            np.save(Path(folder) / f"{i}.npy", packed.values[packed.offsets[i] : packed.offsets[i + 1]])
        plain_epoch(Path(folder), labels)
        floor = median(lambda: plain_epoch(Path(folder), labels))
    print(f"| a .npy per clip, DataLoader, one model | {floor:.2f} | 1 |")
    settings = read_settings(overrides=[f"stage1.embedding={HIDDEN}"])
    for precision in (torch.float32, torch.bfloat16):
        clips = load_clips({"audio": packed}, labels, {"audio": WIDTH}, 1500, precision)
        few = clips.only(torch.arange(2))  # validation is not part of the comparison
        for models in (1, 10):
            seconds = median(lambda c=clips, f=few, k=models, p=precision: our_epoch(c, f, k, settings, p))
            print(
                f"| packed, bucketed, {str(precision)[6:]}, {models} at once | {seconds:.2f} | {floor / seconds:.1f} |"
            )
    print("\n| models of one 256-wide vector, ms per epoch and model | alone | 30 at once | ratio |\n|---|---|---|---|")
    vectors = Packed(rng.standard_normal((count, 256), np.float32).astype(np.float16), np.arange(count + 1))
    clips = load_clips({"audio": vectors}, labels, {"audio": 256}, 1500)
    for hidden, batch in ((64, 256), (256, 64)):
        settings = read_settings(overrides=[f"stage1.embedding={hidden}", f"stage1.batch_size={batch}"])
        few = clips.only(torch.arange(2))
        alone, together = (
            1000 * median(lambda k=k, s=settings, f=few: our_epoch(clips, f, k, s, torch.float32)) for k in (1, 30)
        )
        print(f"| hidden {hidden}, batch {batch} | {alone:.0f} | {together:.0f} | {alone / together:.1f} |")
    bootstrap(rng)


def bootstrap(rng: np.random.Generator) -> None:
    """The clustered bootstrap against the plain loop."""
    rated = rng.random((4588, 6))
    predicted = rated + rng.normal(size=rated.shape)
    person = rng.integers(0, 557, 4588)
    clusters = [f"{p:03d}" for p in person]

    def ours() -> float:
        begin = time.perf_counter()
        bootstrap_pearson(predicted, rated, clusters)
        return time.perf_counter() - begin

    rows = [np.flatnonzero(person == p) for p in range(557)]
    begin = time.perf_counter()
    for _ in range(100):
        picked = np.concatenate([rows[p] for p in rng.integers(0, 557, 557)])
        pearson(predicted[picked], rated[picked])
    plain = 100 * (time.perf_counter() - begin)
    fast = median(ours, 5)
    print("\n| 10,000 participant-clustered resamples of 4,588 x 6 | s |\n|---|---|")
    print(f"| plain loop (100 of them, times 100) | {plain:.1f} |")
    print(f"| matrix product | {fast:.3f} ({plain / fast:.0f} x) |")


if __name__ == "__main__":
    main()
