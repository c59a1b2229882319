"""What backbones, training and scoring run on."""

import importlib.util
import os
from dataclasses import dataclass
from typing import Literal

import torch

from mien.config import ComputeSettings
from mien.errors import DependencyMissing, SettingsError
from mien.scale import cores

Engine = Literal["torch", "openvino"]


@dataclass(frozen=True)
class Compute:
    """What backbones run on, resolved.

    Attributes:
        device: processor or GPU.
        dtype: number format of the arithmetic; with ``quantized``, of what is left in floating point.
        engine: what runs them.
        quantized: matrix products are of 8-bit integers.
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
        """Engine (unless it is PyTorch) and number formats in words: part of the key of every backbone's features.

        >>> Compute(torch.device("cpu"), torch.bfloat16, "openvino", quantized=True).arithmetic
        'openvino int8 bfloat16'
        """
        engine = "" if self.engine == "torch" else f"{self.engine} "
        return f"{engine}{'int8 ' if self.quantized else ''}{self.precision}"


def resolve_compute(settings: ComputeSettings) -> Compute:
    """The device, number format and engine that ``auto`` stands for on this machine.

    Raises:
        SettingsError, DependencyMissing: an engine or format is asked for that cannot be had here.
    """
    device = choose_device(settings)
    engine = choose_engine(settings, device)
    return Compute(device, choose_precision(settings, device), engine, settings.precision == "int8")


def choose_device(compute: ComputeSettings) -> torch.device:
    """The device asked for; ``auto`` takes a GPU when there is one.

    Raises:
        SettingsError: CUDA is asked for, and this machine or this build of PyTorch has none.
    """
    here = torch.cuda.is_available()
    if compute.device == "cuda" and not here:
        built = "finds no GPU" if torch.backends.cuda.is_built() else "is built without CUDA"
        raise SettingsError(
            f"compute.device: cuda is asked for, but PyTorch {torch.__version__} {built} here; "
            "leave it at auto or take cpu, or install a driver and a PyTorch with CUDA"
        )
    return torch.device("cuda" if here and compute.device == "auto" else compute.device.replace("auto", "cpu"))


def choose_precision(compute: ComputeSettings, device: torch.device) -> torch.dtype:
    """The precision asked for; ``auto`` takes bfloat16 where the device computes in it, else float32.

    On a processor without bfloat16 arithmetic it would be slower. What ``int8`` leaves in floating point is ``auto``.
    """
    if compute.precision not in ("auto", "int8"):
        return torch.float32 if compute.precision == "float32" else torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    native = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))
    return torch.bfloat16 if native else torch.float32


def choose_engine(compute: ComputeSettings, device: torch.device) -> Engine:
    """The engine asked for; ``auto`` takes OpenVINO where it is installed and the device is a processor.

    Raises:
        SettingsError: OpenVINO or its 8 bits are asked for on a GPU, or 8 bits of PyTorch.
        DependencyMissing: they are asked for and not installed.
    """
    quantized = compute.precision == "int8"
    wanted = "compute.precision: int8" if quantized else "compute.engine: openvino"
    if compute.engine == "torch" and quantized:
        raise SettingsError(f"{wanted} is of OpenVINO, but compute.engine is torch; leave the engine at auto")
    asked = quantized or compute.engine == "openvino"
    if asked and device.type != "cpu":
        raise SettingsError(f"{wanted} runs on a processor, but compute.device is {device.type}; take cpu")
    missing = [name for name in ("openvino", *["nncf"] * quantized) if importlib.util.find_spec(name) is None]
    if asked and missing:
        raise DependencyMissing(f"{wanted} needs {' and '.join(missing)}; pip install 'mien[openvino]'")
    return "openvino" if asked or (compute.engine == "auto" and device.type == "cpu" and not missing) else "torch"


def choose_threads(compute: ComputeSettings, workers: int = 0) -> int:
    """Threads of each process: those asked for, else ``OMP_NUM_THREADS``, else a worker's share of the cores.

    Raises:
        SettingsError: ``OMP_NUM_THREADS`` is no number of threads.
    """
    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # the others are for threads of threads
    if compute.threads or not told:
        return compute.threads or max(1, cores() // max(1, workers))
    if not told.isdecimal() or int(told) < 1:
        raise SettingsError(
            f"OMP_NUM_THREADS = {told!r}, expected a whole number from 1 on; unset it, or set compute.threads"
        )
    return int(told)
