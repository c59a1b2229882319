"""Features that do not fit into memory: the same training, bit for bit, from a file."""

from pathlib import Path

import numpy as np
import torch

from mien.config import read_settings
from mien.data.splits import split_clips
from mien.model.file_rows import FileRows
from mien.training.split_data import SplitData
from mien.training.train import train
from tests.training.planted import WIDTHS, planted

QUICK = [
    "seeds=[0]",
    "stage1.epochs=2",
    "stage2.epochs=2",
    "stage1.motion_epochs=2",
    "stage1.embedding=32",
    "stage2.hidden=32",
    "compute.precision=float32",
    "stage1.longest_steps=8",
]


def test_training_from_a_file_gives_the_bits_of_training_in_memory(tmp_path: Path) -> None:
    """With an inner split and a refit, so that every side of the data is read."""
    manifest, store = planted(tmp_path / "features", train=64, valid=32)
    settings = [*QUICK, "train.select=inner", "train.refit=true"]
    runs = {}
    for name, bound in (("memory", "null"), ("file", "1e-6")):
        runs[name] = train(
            manifest, store, read_settings(overrides=[*settings, f"compute.memory_gigabytes={bound}"]), tmp_path / name
        )
    for model, r in runs["memory"].r.items():
        assert np.array_equal(r, runs["file"].r[model], equal_nan=True), model
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in runs]
    assert weights[0] == weights[1]
    assert not any("temporary file" in note for note in runs["memory"].notes)
    (note,) = [note for note in runs["file"].notes if "temporary file" in note]
    assert note.startswith("text, audio, vision, motion: ") and "compute.memory_gigabytes is 1e-06" in note


def test_the_smallest_modalities_that_fit_stay_in_memory(tmp_path: Path) -> None:
    """240 clips: motion of 10 columns, text of 24 with one step; audio (40) and vision (32) have up to 8 steps each."""
    manifest, store = planted(tmp_path / "features", missing=0)
    split = split_clips(manifest, read_settings().split)
    every = SplitData(store, split, 6, read_settings(overrides=QUICK))
    sizes = {name: every.clips("all", (name,)).modalities[name].values for name in WIDTHS}
    size = {name: len(values) * values.shape[1] * 4 for name, values in sizes.items()}  # narrow ones are float32
    fits = (size["text"] + size["motion"] + 1) / 1e9
    data = SplitData(store, split, 6, read_settings(overrides=[*QUICK, f"compute.memory_gigabytes={fits}"]))
    assert data.in_file == ("audio", "vision")
    assert isinstance(data.clips("train", ("audio",)).modalities["audio"].values, FileRows)
    assert isinstance(data.clips("train", ("motion",)).modalities["motion"].values, torch.Tensor)


def test_rows_of_a_file_are_those_that_were_appended() -> None:
    values = torch.arange(15_000).reshape(50, 300).bfloat16()
    rows = FileRows(300, torch.bfloat16, torch.device("cpu"))
    rows.append(values[:20])
    rows.append(values[20:])
    part = rows[10:]
    out = torch.zeros((2, 5, 300), dtype=torch.bfloat16)
    part.read(torch.tensor([0, 38]), torch.tensor([5, 2]), out)
    assert torch.equal(out[0], values[10:15])
    assert torch.equal(out[1, :2], values[48:]) and not out[1, 2:].any()
