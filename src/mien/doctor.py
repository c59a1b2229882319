"""Checks this machine for everything that mien uses; findings are plain data, to be printed or tested."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mien.errors import WeightsMissing
from mien.sandbox import file_guard, network_guard
from mien.scale import Cluster, cores
from mien.scale.cluster import connected
from mien.storage.files import cache_folder
from mien.weights import SETS, locate
from mien.weights.cache import cached_repositories, check, fetch_command, folder_of
from mien.weights.licence_note import licence_note


@dataclass(frozen=True)
class Finding:
    """One check: subject, result, what was found, and what to do when it failed."""

    what: str
    fine: bool
    found: str
    remedy: str = ""


EXTRAS = {
    "faster_whisper": ("faster-whisper", "speech", "speech recognition"),
    "onnxruntime": ("onnxruntime", "speech", "voice activity"),
    "ai_edge_litert": ("ai-edge-litert", "faces", "face landmarks"),
    "cv2": ("opencv-python-headless", "faces", "face crops and the full-range detector"),
    "onnx": ("onnx", "small", "conversion of the small vision weights"),
    "openvino": ("openvino", "openvino", "backbones twice as fast on a CPU"),
    "nncf": ("nncf", "openvino", "backbones in 8 bits"),
    "fastapi": ("fastapi", "serve", "mien serve"),
    "sqlalchemy": ("sqlalchemy", "serve", "the queue of mien serve"),
    "uvicorn": ("uvicorn", "serve", "mien serve"),
    "websockets": ("websockets", "serve", "live sessions of mien serve"),
    "pylsl": ("pylsl", "live", "mien live --lsl"),
    "jinja2": ("jinja2", "report", "report pages"),
    "matplotlib": ("matplotlib", "report", "figures of reports"),
    "optuna": ("optuna", "study", "mien tune"),
    "tensorboard": ("tensorboard", "train", "curves of a training"),
    "espeakng_loader": ("espeakng-loader", "synth", "voices of the stand-in corpus"),
    "ray": ("ray", "ray", "--cluster"),
    "obstore": ("obstore", "cloud", "object storage (s3://…)"),
}
"""By module: its package, the extra that installs it, and its purpose."""

NODE_SECONDS = 60.0
"""How long a node of a cluster may take to answer."""

ENCODERS = {"libx264", "aac", "libmp3lame"}
"""Encoders that the stand-in corpus and the conversion of videos for reports need."""


def examine() -> list[Finding]:
    """Check processor, disk, guards, libraries, optional packages and weights."""
    return [*_machine(), *_guards(), *_libraries(), *_extras(), *_weights(), *_own_weights()]


def check_nodes(address: str | None) -> list[Finding]:
    """A finding per node of a Ray cluster; a node with another version of mien than here cannot be used.

    Raises:
        DependencyMissing: Ray is not installed.
        MienError: the cluster cannot be reached.
    """
    with connected(Cluster(address)) as ray:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        probe = ray.remote(num_cpus=0, max_retries=0)(describe_node)
        asked = [
            probe.options(scheduling_strategy=strategy(node["NodeID"], soft=False)).remote() for node in nodes
        ]  # fmt: skip
        return [_node(ray, node, answer) for node, answer in zip(nodes, asked, strict=True)]


def describe_node() -> tuple[str, str, str]:
    """What this machine has: the version of mien, its guards, and the sets of weights in its cache."""
    missing = [
        f"{what} guard off ({why})" for what, why in (("network", network_guard()), ("file", file_guard())) if why
    ]
    whole = [name for name, roles in SETS.items() if name != "tiny" and all(map(_is_cached, roles.values()))]
    return importlib.metadata.version("mien"), f"weights {', '.join(whole) or 'none'}", "; ".join(missing)


def _node(ray: Any, node: dict[str, Any], answer: Any) -> Finding:
    """A node by what its probe answered, within ``NODE_SECONDS``."""
    name, has = f"node {node['NodeManagerAddress']}", node["Resources"]
    size = f"{has.get('CPU', 0):g} cores, {has.get('GPU', 0):g} GPUs"
    try:
        version, weights, guards = ray.get(answer, timeout=NODE_SECONDS)
    except (ray.exceptions.RayError, TimeoutError) as error:
        reason = str(error).strip().splitlines()[-1][:200] if str(error) else type(error).__name__
        return Finding(name, False, f"{size}; mien cannot run: {reason}", "install mien[ray] on it, as here")
    here = importlib.metadata.version("mien")
    found = "; ".join(filter(None, (f"mien {version}", size, weights, guards)))
    return Finding(name, version == here, found, f"install mien {here} on it, as here")


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
    writable = os.access(existing, os.W_OK)
    found = f"{cache}, {free:.0f} GB free" if writable else f"{cache} cannot be written"
    yield Finding("cache", writable and free > 2, found, "set MIEN_CACHE to a folder with 2 GB free")


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
    from av.codec import codecs_available  # noqa: PLC0415

    versions = {name: importlib.metadata.version(name) for name in ("mien", "torch", "transformers", "av")}
    for name, version in versions.items():
        yield Finding(name, True, version)
    inside = ", ".join(
        f"{name} {'.'.join(map(str, av.library_versions[name]))}" for name in ("libavcodec", "libavformat")
    )
    yield Finding("codecs of av", True, f"{inside}; no ffmpeg program is needed")
    lacking = sorted(ENCODERS - codecs_available)
    found = f"av lacks {', '.join(lacking)}" if lacking else ", ".join(sorted(ENCODERS))
    yield Finding("encoders", not lacking, found, "pip install --force-reinstall --only-binary=av av")


def _extras() -> Iterator[Finding]:
    for module, (package, extra, purpose) in EXTRAS.items():
        try:
            found = importlib.metadata.version(package) if importlib.util.find_spec(module) else ""
        except importlib.metadata.PackageNotFoundError:
            found = "another build"
        yield Finding(package, bool(found), found or f"not installed ({purpose})", f"pip install 'mien[{extra}]'")


def _weights() -> Iterator[Finding]:
    for name, roles in SETS.items():
        if name == "tiny":
            continue  # made locally
        missing = [entry for entry in dict.fromkeys(roles.values()) if not _is_cached(entry)]
        command = f"mien weights fetch {name}"
        if missing and name != "small":
            yield Finding(f"weights {name}", True, f"optional, not in the cache ({command})")
        else:
            found = f"missing {', '.join(missing)}" if missing else "in the cache"
            yield Finding(f"weights {name}", not missing, found, command)


def _own_weights() -> Iterator[Finding]:
    """Repositories of the hub in the cache that are backbones of one's own."""
    for entry in cached_repositories():
        status = check(entry)
        found = f"in the cache, licence: {licence_note(folder_of(entry))}"
        whole = status.state == "whole"
        yield Finding(f"weights {entry.name}", whole, found if whole else status.detail, fetch_command(entry))


def _is_cached(entry: str) -> bool:
    try:
        locate(entry)
    except WeightsMissing:
        return False
    return True
