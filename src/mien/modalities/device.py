"""What backbones, training and scoring run on."""

import importlib.util
from typing import Literal

import torch

from mien.config import ComputeSettings
from mien.errors import DependencyMissing, SettingsError

Engine = Literal["torch", "openvino"]


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
