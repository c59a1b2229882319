"""The order of batches: random, yet each batch of clips of similar length.

Clips are shuffled, cut into pools of several batches, sorted by size within a pool and cut into batches, which are then
shuffled: nearly no padding, and nearly the randomness of a plain shuffle. The trade-off is how large a pool is; with
few batches per epoch it shrinks to one batch, a plain shuffle, since there sorting would always put the same clips
together. A small set is cut into smaller batches, so that an epoch is some steps at least. All models of a run see the
same batches: that is what makes K models cheap.
"""

import torch
from torch import Tensor

_POOL, _FEWEST = 16, 8
"""Batches in a pool, and in an epoch at least."""


def batch_order(sizes: Tensor, batch: int, generator: torch.Generator) -> list[Tensor]:
    """One epoch of batches.

    Args:
        sizes: ``(N,)`` what each clip costs.
        batch: clips per batch, at most; the last one may be smaller.
        generator: a CPU generator; equal states give equal orders.

    Returns:
        Index tensors (CPU) that together hold every clip once.
    """
    count = len(sizes)
    batch = min(batch, -(-count // _FEWEST))
    shuffled = torch.randperm(count, generator=generator)
    pool = batch * max(1, min(_POOL, count // (8 * batch)))
    sorted_pools = [part[torch.argsort(sizes[part], stable=True)] for part in shuffled.split(pool)]
    batches = [piece for part in sorted_pools for piece in part.split(batch)]
    return [batches[place] for place in torch.randperm(len(batches), generator=generator).tolist()]
