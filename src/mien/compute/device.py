"""Resolves which device, precision, engine, number of threads and backbone workers are used."""

import importlib.util
import os
from dataclasses import dataclass, replace
from typing import Literal

import torch

from mien.config import ComputeSettings
from mien.errors import DependencyMissing, SettingsError
from mien.scale import Cluster, Pool, share_of_cores

Engine = Literal["torch", "openvino"]


@dataclass(frozen=True)
class Compute:
    """Resolved compute settings of the backbones.

    Attributes:
        device: CPU or GPU.
        dtype: of the computation; with ``quantized``, of the part that stays in floating point.
        engine: inference engine.
        quantized: whether matrix products use 8-bit integers.
    """

    device: torch.device
    dtype: torch.dtype
    engine: Engine = "torch"
    quantized: bool = False

    @property
    def precision(self) -> str:
        """``float32`` or ``bfloat16``."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def arithmetic(self) -> str:
        """Engine (unless it is PyTorch) and precision as text: part of the key of every backbone's features.

        >>> Compute(torch.device("cpu"), torch.bfloat16, "openvino", quantized=True).arithmetic
        'openvino int8 bfloat16'
        """
        engine = "" if self.engine == "torch" else f"{self.engine} "
        return f"{engine}{'int8 ' if self.quantized else ''}{self.precision}"


def resolve_compute(settings: ComputeSettings) -> Compute:
    """Resolve ``auto`` to the device, precision and engine of this machine.

    Raises:
        SettingsError, DependencyMissing: the requested engine or precision is not available here.
    """
    device = choose_device(settings)
    engine = choose_engine(settings, device)
    return Compute(device, choose_precision(settings, device), engine, settings.precision == "int8")


def choose_device(compute: ComputeSettings) -> torch.device:
    """The requested device; ``auto`` takes a GPU if there is one.

    Raises:
        SettingsError: CUDA is requested, but this machine or this build of PyTorch has none.
    """
    has_gpu = torch.cuda.is_available()
    if compute.device == "cuda" and not has_gpu:
        built = "finds no GPU" if torch.backends.cuda.is_built() else "is built without CUDA"
        raise SettingsError(
            f"compute.device: cuda was requested, but PyTorch {torch.__version__} {built} here; "
            "use auto or cpu, or install a driver and a PyTorch with CUDA"
        )
    return torch.device("cuda" if has_gpu and compute.device == "auto" else compute.device.replace("auto", "cpu"))


def choose_precision(compute: ComputeSettings, device: torch.device) -> torch.dtype:
    """The requested precision; ``auto`` takes bfloat16 where the hardware supports it, else float32.

    On a CPU without native bfloat16 it would be slower. The floating-point part of ``int8`` is resolved as ``auto``.
    """
    if compute.precision not in ("auto", "int8"):
        return torch.float32 if compute.precision == "float32" else torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    native = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))
    return torch.bfloat16 if native else torch.float32


def choose_engine(compute: ComputeSettings, device: torch.device) -> Engine:
    """The requested engine; ``auto`` takes OpenVINO if it is installed and the device is a CPU.

    Raises:
        SettingsError: OpenVINO or int8 is requested on a GPU, or int8 with PyTorch.
        DependencyMissing: OpenVINO or int8 is requested and not installed.
    """
    quantized = compute.precision == "int8"
    wanted = "compute.precision: int8" if quantized else "compute.engine: openvino"
    if compute.engine == "torch" and quantized:
        raise SettingsError(f"{wanted} needs OpenVINO, but compute.engine is torch; set compute.engine to auto")
    requested = quantized or compute.engine == "openvino"
    if requested and device.type != "cpu":
        raise SettingsError(f"{wanted} runs on a CPU, but compute.device is {device.type}; set it to cpu")
    missing = [name for name in ("openvino", *["nncf"] * quantized) if importlib.util.find_spec(name) is None]
    if requested and missing:
        raise DependencyMissing(f"{wanted} needs {' and '.join(missing)}; pip install 'mien[openvino]'")
    return "openvino" if requested or (compute.engine == "auto" and device.type == "cpu" and not missing) else "torch"


def choose_threads(compute: ComputeSettings, workers: Pool = 0) -> int:
    """Threads per process: the setting, else ``OMP_NUM_THREADS`` of this machine, else a worker's share of the cores.

    Raises:
        SettingsError: ``OMP_NUM_THREADS`` is not a positive whole number.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # the others are for nested threads
    if compute.threads or not threads or isinstance(workers, Cluster):
        return compute.threads or share_of_cores(workers)
    if not threads.isdecimal() or int(threads) < 1:
        raise SettingsError(
            f"OMP_NUM_THREADS = {threads!r}, expected a whole number from 1 on; unset it, or set compute.threads"
        )
    return int(threads)


def choose_backbone_workers(compute: ComputeSettings, workers: Pool) -> Pool:
    """Workers that only run backbones, of clips that ``workers`` decode; 0 when each worker does both.

    On a cluster they are one for each GPU, and ask for no cores of their own there.

    Raises:
        SettingsError: see ``choose_device``.
    """
    wanted, on_gpu = compute.backbone_workers, choose_device(compute).type == "cuda"
    if workers == 0 or wanted == 0 or (wanted is None and not on_gpu):
        return 0
    if isinstance(workers, Cluster):
        return replace(workers, workers=wanted or 0, cores=0 if workers.gpus else workers.cores)
    return wanted or int(workers > 1)
