"""Several processes that train one model: a device each, a share of every batch, one gradient.

    torchrun --nproc-per-node 2 -m mien.cli train DATA --features STORE --out RUN --set backbone.text=full

The launcher starts the same command once for each device and numbers the processes by the environment. The first does
the whole work; the others (``follows``) take part in what is shared, and write and print nothing. All hold the same
weights: they start from the same seeds and step along the same gradient, the sum over the processes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as group
from torch import Tensor

from mien.scale import launched


@contextmanager
def together(device: torch.device) -> Iterator[None]:
    """Within it, the launched processes can exchange tensors of ``device``; nothing without a launcher.

    A group that the calling program has made is used, and left to it.
    """
    if launched() == 1 or group.is_initialized():
        yield
        return
    group.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        group.destroy_process_group()


def take_device() -> None:
    """On a machine with several GPUs, let each process use its own."""
    if launched() > 1 and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


def share(size: int, device: torch.device) -> Tensor:
    """The places in a batch of ``size`` clips that this process takes: all, if those are fewer than the processes."""
    first, step = (0, 1) if size < launched() else (_rank(), launched())
    return torch.arange(first, size, step, device=device)


def whole_batch(predicted: Tensor, places: Tensor, size: int) -> Tensor:
    """``(K, B, E)`` predictions of a whole batch, of which this process made those at ``places``.

    Only these have a gradient, so that a loss of the whole batch, a correlation too, has its gradient in the sum over
    the processes.
    """
    if size < launched():
        return torch.lerp(predicted.detach(), predicted, 1 / launched())
    whole = predicted.new_zeros((len(predicted), size, predicted.shape[2])).index_copy(1, places, predicted.detach())
    group.all_reduce(whole)
    return whole.index_copy(1, places, predicted)


def sum_over_processes(values: Tensor) -> None:
    """Replace ``values`` by the sum over the processes."""
    group.all_reduce(values)


def _rank() -> int:
    return int(os.environ["RANK"])
