"""Kept inputs: a second extraction with other backbones, from the videos and from what was kept of them."""

import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from time import process_time

import cv2
import numpy as np
import numpy.typing as npt
from material import SCRATCH, corpus
from section import Section, Table, at_least

import mien
from mien.config import read_settings
from mien.features.kept_inputs import KeptInputs
from mien.features.packed_crops import pack_crops
from mien.schema import Manifest

ALL = "text,audio,vision,motion"
LIMIT = "on a CPU the vision backbone takes most of the time of an extraction, and it has to run again"


def measure(quick: bool) -> Section:
    manifest = mien.read_manifest(corpus(4 if quick else 20))
    root = SCRATCH / "inputs"
    shutil.rmtree(root, ignore_errors=True)
    first = _seconds(manifest, root / "kept", ALL, keep_inputs=True)
    rows, ratios = [], {}
    for names in ("text", "motion", "audio", "vision", ALL):
        new = _seconds(manifest, root / f"{names}-new", names)
        kept = _seconds(manifest, root / f"{names}-kept", names, inputs=root / "kept")
        ratios[names] = new / max(kept, 1e-3)
        shown = "all four" if names == ALL else names
        rows.append((shown, f"{new:.1f}", f"{kept:.2f}", f"{ratios[names]:.1f}"))
    size = sum(path.stat().st_size for path in (root / "kept" / "inputs").rglob("*.safetensors"))
    text = (
        f"Features of {len(manifest.clips)} stand-in videos with the weights `small`, in CPU seconds of this and the "
        f"decoder process, with loading. Keeping the inputs took {first:.1f} s and {size / 1e6:.1f} MB."
    )
    targets = [
        at_least("another text backbone on kept inputs", 3, ratios["text"]),
        at_least("all four backbones on kept inputs", 3, ratios[ALL], LIMIT),
    ]
    crops = _crops(root / "kept", manifest)
    head = ("", "from videos, s", "from kept inputs, s", "ratio")
    packed = Table(
        ("lossless", "kB per crop", "ms to write"), [_packed(name, way, crops) for name, way in WAYS.items()]
    )
    more = f"Storage of {len(crops)} of their crops of 224 × 224:"
    return Section("Kept inputs", [text, Table(head, rows), more, packed], targets)


def _seconds(
    manifest: Manifest, out: Path, names: str, *, keep_inputs: bool = False, inputs: Path | None = None
) -> float:
    """CPU seconds of an extraction."""
    settings = read_settings(overrides=["weights=small", f"modalities=[{names}]"])
    before = _cpu()
    done = mien.extract(manifest, out, settings, progress=False, keep_inputs=keep_inputs, inputs=inputs)
    assert not done.failed and done.made == len(manifest.clips)
    return _cpu() - before


def _cpu() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


Crop = npt.NDArray[np.uint8]


def _png(crops: Crop) -> int:
    return sum(len(cv2.imencode(".png", crop[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]) for crop in crops)


def _webp(crops: Crop) -> int:
    return sum(len(cv2.imencode(".webp", crop[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])[1]) for crop in crops)


WAYS: dict[str, Callable[[Crop], int]] = {
    "PNG, fastest (OpenCV)": _png,
    "WebP (OpenCV)": _webp,
    "Zstandard of differences": lambda crops: pack_crops(crops)[0].size,
}


def _crops(store: Path, manifest: Manifest) -> Crop:
    """The first crops of each clip."""
    kept = KeptInputs(store)
    found = (kept.read(clip.id, "vision") for clip in manifest.clips)
    return np.concatenate([media.faces.crops[0:4] for media in found if media is not None and media.faces is not None])


def _packed(name: str, way: Callable[[Crop], int], crops: Crop) -> tuple[str, str, str]:
    begin = process_time()
    size = way(crops)
    return name, f"{size / len(crops) / 1000:.1f}", f"{1000 * (process_time() - begin) / len(crops):.2f}"
