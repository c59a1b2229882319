"""The frozen backbones: PyTorch in float32 and bfloat16, OpenVINO in bfloat16 and 8 bits, on real inputs.

Called as in extraction, one clip at a time, including tokenisation or spectrogram. The set ``small`` has its weights;
``paper`` has random ones: the arithmetic is the same, but the cosines mean little.
"""

import os
import statistics
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from material import paper_folders, videos
from section import Section, Table, Target, at_least
from timing import in_turns, ratio

from mien.compute.device import choose_precision, resolve_compute
from mien.config import ComputeSettings, Settings
from mien.features.worker import plan
from mien.media.load_media import MediaEngines, load_media
from mien.modalities import MODALITIES
from mien.modalities.base import Absent, Prepared

WAYS = {
    "torch float32": ("torch", "float32"),
    "torch bfloat16": ("torch", "bfloat16"),
    "OpenVINO bfloat16": ("openvino", "bfloat16"),
    "OpenVINO int8": ("openvino", "int8"),
}
PLAIN = "torch float32"
AIMS = {"torch bfloat16": 2.0, "OpenVINO bfloat16": 2.6, "OpenVINO int8": 4.0}
COSINES = {"torch bfloat16": 0.999, "OpenVINO bfloat16": 0.999, "OpenVINO int8": 0.99}
JUMPS = "some steps of Whisper jump: rounding nothing but its spectrogram to bfloat16 moves such steps to .997"
ROLES = ("text", "audio", "vision")


def compute_of(way: str) -> ComputeSettings:
    engine, precision = WAYS[way]
    return ComputeSettings.model_validate({"device": "cpu", "engine": engine, "precision": precision})


def prepared_inputs(count: int) -> dict[str, list[Prepared]]:
    """The inputs of the backbones for this many videos, by modality."""
    extraction = plan(Settings())
    engines = MediaEngines({role: weights.path for role, weights in extraction.weights}, Settings())
    prepared: dict[str, list[Prepared]] = {role: [] for role in ROLES}
    for clip in videos(max(count, 6))[:count]:
        media = load_media(clip, set(ROLES), engines, Settings())
        for role in ROLES:
            one = MODALITIES[role].prepare(media)
            if not isinstance(one, Absent):
                prepared[role].append(one)
    return prepared


def cosine(ours: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """``(T,)`` cosine of each step."""
    return (ours * plain).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(plain, axis=1)


def compare(role: str, folder: Path, inputs: list[Prepared], rounds: int) -> tuple[list[str], Mapping, Mapping]:
    """A row of the table; per engine, the speed-up over PyTorch float32 and the cosine with it at every step."""
    loaded = {way: MODALITIES[role].load(folder, resolve_compute(compute_of(way))) for way in WAYS}
    feature = MODALITIES[role].features[-1]
    made = {
        way: [backbone(one)[feature].values.astype(np.float32) for one in inputs] for way, backbone in loaded.items()
    }
    cosines = {
        way: np.concatenate([cosine(a, b) for a, b in zip(values, made[PLAIN], strict=True)])
        for way, values in made.items()
    }
    calls = {way: partial(_all, backbone, inputs) for way, backbone in loaded.items()}
    taken = in_turns(calls, rounds, warm=False)
    ratios = {way: ratio(taken[PLAIN], seconds) for way, seconds in taken.items()}
    cells = [f"{ratios[way]:.1f} ({np.quantile(cosines[way], 0.01):.4f}, {cosines[way].min():.4f})" for way in AIMS]
    return [f"{len(inputs) / statistics.median(taken[PLAIN]):.2f}", *cells], ratios, cosines


def _all(backbone, inputs: list[Prepared]) -> None:
    for one in inputs:
        backbone(one)


def measure(quick: bool) -> Section:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if choose_precision(ComputeSettings(), torch.device("cpu")) != torch.bfloat16:
        text = "Not measured: this processor does not support bfloat16."
        return Section("Backbones", [text])
    inputs = prepared_inputs(2 if quick else 6)
    small = {role: dict(plan(Settings()).weights)[role].path for role in ROLES}
    rows, ratios, cosines = [], [], []
    for name, folders, rounds in (("small", small, 2 if quick else 5), ("paper", paper_folders(), 1 if quick else 3)):
        for role, folder in folders.items():
            few = inputs[role] if name == "small" else inputs[role][:2]
            row, ratio_of, cosines_of = compare(role, folder, few, rounds)
            rows.append((name, role, *row))
            ratios.append(ratio_of)
            cosines += [cosines_of] if name == "small" else []
    threads = torch.get_num_threads()
    parts = [
        "Clips per second in PyTorch float32, then the speed-up of the others, and in brackets the 1st percentile and "
        f"the minimum over steps of the cosine with float32. {threads} threads, one clip at a time, including tokens "
        "and spectrograms. The set `paper` has random weights here.",
        Table(("set", "backbone", PLAIN, *AIMS), rows),
    ]
    return Section("Backbones", parts, targets(ratios, cosines))


def targets(ratios: list[Mapping[str, float]], cosines: list[Mapping[str, np.ndarray]]) -> list[Target]:
    """Median speed-up over all six; agreement of the three with real weights, for 99 % of the steps and for all."""
    limit = "spectrograms and tokens, which no engine speeds up, and the weights, read from memory for each clip"
    middle = {way: statistics.median(ratio_of[way] for ratio_of in ratios) for way in AIMS}
    made = [at_least(f"backbones, {way} against {PLAIN}, median of six", AIMS[way], middle[way], limit) for way in AIMS]
    for way, aim in COSINES.items():
        most, every = (min(float(np.quantile(c[way], q)) for c in cosines) for q in (0.01, 0))
        far = sum(int((c[way] < aim).sum()) for c in cosines)
        what = f"backbones, {way}: cosine with {PLAIN}"
        made.append(Target(f"{what}, 99 steps in 100", f"≥ {aim:g}", f"{most:.4f}", most >= aim, "rounding"))
        made.append(Target(f"{what}, every step", f"≥ {aim:g}", f"{every:.4f}", every >= aim, f"{far} steps; {JUMPS}"))
    return made
