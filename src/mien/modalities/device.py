"""What backbones, training and scoring run on."""

import torch

from mien.config import ComputeSettings


def choose_device(compute: ComputeSettings) -> torch.device:
    """The device asked for; ``auto`` takes a GPU when there is one."""
    if compute.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(compute.device)


def choose_precision(compute: ComputeSettings, device: torch.device) -> torch.dtype:
    """The precision asked for; ``auto`` takes bfloat16 where the device computes in it, else float32.

    On a processor without bfloat16 arithmetic it would be slower.
    """
    if compute.precision != "auto":
        return torch.float32 if compute.precision == "float32" else torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    native = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))
    return torch.bfloat16 if native else torch.float32
