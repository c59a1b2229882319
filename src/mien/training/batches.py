"""Bucketed batches: random order, clips of similar length together.

Clips are shuffled, cut into pools of several batches, sorted by size within a pool and cut into batches, which are
shuffled again: little padding, and nearly the randomness of a plain shuffle. The trade-off is the size of a pool; with
few batches per epoch it shrinks to one batch, a plain shuffle, because sorting would always put the same clips
together. A small training set is cut into smaller batches, so that an epoch has several steps. All models of a run see
the same batches, which makes K models cheap.
"""

import torch
from torch import Tensor

_POOL_BATCHES, _MIN_BATCHES = 16, 8
"""Batches per pool, and the minimum number of batches per epoch."""


def batch_order(sizes: Tensor, batch: int, generator: torch.Generator) -> list[Tensor]:
    """One epoch of batches.

    Args:
        sizes: ``(N,)`` size of each clip.
        batch: maximum number of clips per batch; the last batch may be smaller.
        generator: a CPU generator; equal states give equal orders.

    Returns:
        Index tensors (CPU) that together contain every clip once.
    """
    count = len(sizes)
    batch = min(batch, -(-count // _MIN_BATCHES))
    shuffled = torch.randperm(count, generator=generator)
    pool = batch * max(1, min(_POOL_BATCHES, count // (8 * batch)))
    sorted_pools = [part[torch.argsort(sizes[part], stable=True)] for part in shuffled.split(pool)]
    batches = [piece for part in sorted_pools for piece in part.split(batch)]
    return [batches[place] for place in torch.randperm(len(batches), generator=generator).tolist()]
