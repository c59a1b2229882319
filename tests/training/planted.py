"""A small rated corpus with features that carry a planted linear signal: each modality tells part of every emotion."""

from pathlib import Path

import numpy as np

from mien.features.source_files import SourceFile
from mien.features.store import Store
from mien.features.writer import StoreWriter
from mien.schema import EMOTIONS, Clip, ClipFeatures, Feature, Manifest

WIDTHS = {"text": 24, "audio": 40, "vision": 32, "motion": 10}


def planted(
    root: Path,
    train: int = 160,
    valid: int = 80,
    missing: float = 0.1,
    seed: int = 0,
    steps: int = 12,
    offset: float = 0.0,
    without: tuple[str, ...] = (),
    files: bool = False,
) -> tuple[Manifest, Store]:
    """Clips of about ``(train + valid) / 4`` participants, and a store of their features.

    All features of vision are ``offset`` higher. Of the modalities ``without``, nothing is stored. With ``files``, each
    clip's features come from a file of its own.
    """
    rng = np.random.default_rng(seed)
    count = train + valid
    signal = rng.normal(size=(count, len(WIDTHS), len(EMOTIONS)))  # what each modality knows of each emotion
    weight = np.array([0.8, 0.5, 0.3, 0.2])[:, None]
    raw = (signal * weight).sum(1) + 0.3 * rng.normal(size=(count, len(EMOTIONS)))
    labels = np.clip(0.15 + 0.15 * raw, 0, 1).astype(np.float32)
    maps = {name: rng.normal(size=(len(EMOTIONS), width)) for name, width in WIDTHS.items()}
    ids = [f"{i:05d}" for i in range(count)]
    with StoreWriter(root, ids) as writer:
        for i, clip in enumerate(ids):
            features, origin = [], SourceFile("path", f"{seed}-{i}").text if files else ""
            for m, (name, width) in enumerate(WIDTHS.items()):
                length = 1 if name == "text" else int(rng.integers(1, steps + 1))
                values = signal[i, m] @ maps[name] + 0.5 * rng.normal(size=(length, width))
                values += offset if name == "vision" else 0.0
                gone = rng.random() < missing
                features.append(
                    Feature(name, "k", "planted@1", status="absent", reason="planted", origin=origin)
                    if gone
                    else Feature(
                        name,
                        "k",
                        "planted@1",
                        values.astype(np.float16),
                        np.arange(length, dtype=np.float32),
                        origin=origin,
                    )
                )
            writer.add(ClipFeatures(clip, 1.0, tuple(one for one in features if one.modality not in without)))
    clips = tuple(
        Clip(
            clip,
            Path(f"{clip}.mp4"),
            split="train" if i < train else "valid",
            participant=f"p{i // 4}",
            labels=tuple(float(x) for x in labels[i]),
        )
        for i, clip in enumerate(ids)
    )
    return Manifest(root / "clips.csv", EMOTIONS, clips), Store(root)
