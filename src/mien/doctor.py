"""Checks this machine for everything that mien uses; findings are plain data, to be printed or tested."""

import ctypes.util
import importlib.metadata
import importlib.util
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from mien.errors import WeightsMissing
from mien.sandbox import file_guard, network_guard
from mien.scale import cores
from mien.storage.files import cache_folder
from mien.weights import SETS, locate


@dataclass(frozen=True)
class Finding:
    """One check: subject, result, what was found, and the remedy when it failed."""

    what: str
    fine: bool
    found: str
    remedy: str = ""


EXTRAS = {
    "faster_whisper": ("speech", "speech recognition"),
    "onnxruntime": ("speech", "voice activity"),
    "mediapipe": ("faces", "face landmarks"),
    "onnx": ("small", "conversion of the small vision weights"),
    "openvino": ("openvino", "backbones twice as fast on a processor"),
    "nncf": ("openvino", "backbones in 8 bits"),
    "espeakng_loader": ("synth", "voices of the stand-in corpus"),
}


def examine() -> list[Finding]:
    """Check processor, disk, guards, libraries, optional packages and weights."""
    return [*_machine(), *_guards(), *_libraries(), *_extras(), *_weights()]


def _machine() -> Iterator[Finding]:
    import torch  # noqa: PLC0415 - heavy

    capabilities = torch.cpu.get_capabilities()
    fast = [name for name in ("avx2", "avx512_f", "avx512_bf16", "avx512_vnni", "amx_bf16") if capabilities.get(name)]
    yield Finding("python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Finding("processor", True, f"{cores()} cores, {' '.join(fast) or 'no vector extensions'}")
    cuda = torch.cuda.is_available()
    yield Finding("gpu", True, torch.cuda.get_device_name() if cuda else "none (not needed)")
    yield Finding("backbones", True, f"run by {_backbones()}")
    cache = cache_folder()
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(existing).free / 1e9
    yield Finding("cache", free > 2, f"{cache}, {free:.0f} GB free", "" if free > 2 else "free 2 GB or set MIEN_CACHE")


def _guards() -> Iterator[Finding]:
    """Kernel protection of processes that handle clips (``sandbox.py``)."""
    for what, active, why_not in (
        ("network", "blocked by seccomp in every command but weights", network_guard()),
        ("files", "blocked by Landlock in the decoder process", file_guard()),
    ):
        remedy = "run mien in a container without network, or on Linux 5.13 or newer" if why_not else ""
        yield Finding(f"{what} guard", not why_not, f"off: {why_not}" if why_not else active, remedy)


def _backbones() -> str:
    """The engine and precision that ``auto`` selects on this machine."""
    from mien.compute.device import resolve_compute  # noqa: PLC0415
    from mien.config import ComputeSettings  # noqa: PLC0415 - with torch

    compute = resolve_compute(ComputeSettings())
    return f"{compute.engine}, {compute.precision} (compute.engine, compute.precision)"


def _libraries() -> Iterator[Finding]:
    import av  # noqa: PLC0415

    versions = {name: importlib.metadata.version(name) for name in ("mien", "torch", "transformers", "av")}
    for name, version in versions.items():
        yield Finding(name, True, version)
    versions = ", ".join(f"{name} {'.'.join(map(str, v))}" for name, v in sorted(av.library_versions.items()))
    yield Finding("codecs of av", True, versions)


def _extras() -> Iterator[Finding]:
    for package, (extra, purpose) in EXTRAS.items():
        installed = importlib.util.find_spec(package) is not None
        found = importlib.metadata.version(package.replace("_", "-")) if installed else f"not installed ({purpose})"
        yield Finding(package, installed, found, "" if installed else f"pip install 'mien[{extra}]'")

    for library in ("EGL", "GLESv2"):
        there = platform.system() != "Linux" or ctypes.util.find_library(library) is not None
        remedy = "" if there else "apt install libegl1 libgles2, or the like"
        yield Finding(f"lib{library}", there, "found" if there else "missing (mediapipe needs it)", remedy)


def _weights() -> Iterator[Finding]:
    for name, roles in SETS.items():
        if name == "tiny":
            continue  # made locally
        missing = [entry for entry in dict.fromkeys(roles.values()) if not _is_cached(entry)]
        fine = not missing or name != "small"
        found = f"missing {', '.join(missing)}" if missing else "in the cache"
        yield Finding(f"weights {name}", fine, found, f"mien weights fetch {name}" if missing else "")


def _is_cached(entry: str) -> bool:
    try:
        locate(entry)
    except WeightsMissing:
        return False
    return True
