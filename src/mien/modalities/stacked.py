"""Layers that hold K models of one shape at once: every parameter has a leading axis of models.

K models that differ in seed, dropout, learning rate or weight decay then cost little more than one: the features are
read once, and K small matrix products are one batched product. A single model is K = 1.

The trade-off: these few layers instead of ``torch.nn`` under ``vmap``. They are as fast, features that all models share
are not repeated, and random numbers are drawn model by model: model ``k`` has the same initial weights and the same
dropout masks whether it is trained alone or with others, so the results are the same.

Shapes: ``K`` models, ``B`` batch, ``D`` width.
"""

import hashlib
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

_LEVELS = 1 << 16


class RngStreams:
    """One stream of random numbers per model. Modules called without one are in evaluation mode."""

    def __init__(self, seeds: Sequence[int], purpose: str, device: torch.device | str = "cpu") -> None:
        """Streams for models with these seeds; a different ``purpose`` gives different numbers."""
        self.generators = [seeded(seed, purpose, device) for seed in seeds]

    def uniform(self, *shape: int) -> Tensor:
        """``(K, *shape)`` float32, uniform in [0, 1); an empty tensor under ``torch.device("meta")``."""
        if torch.get_default_device().type == "meta":
            return torch.empty((len(self.generators), *shape))
        return torch.stack([torch.rand(shape, generator=g, device=g.device) for g in self.generators])

    def keep(self, drop: Tensor, *shape: int) -> Tensor:
        """``(K, *shape)`` bool: true with probability ``1 - drop[k]``, to within 1/65,536.

        Each 64-bit draw gives four decisions, because drawing dominates the cost of dropout. (Drawn from -2⁶³ on:
        by default ``random_`` leaves the top bit 0, which would bias every fourth decision.)
        """
        count = math.prod(shape)
        draws = [
            torch.empty(-(-count // 4), dtype=torch.int64, device=g.device)
            .random_(-(1 << 63), None, generator=g)
            .view(torch.int16)[:count]
            for g in self.generators
        ]
        limit = (drop * _LEVELS).round().to(torch.int32) - _LEVELS // 2
        return (torch.stack(draws) >= limit[:, None]).view(len(draws), *shape)

    def state(self) -> Tensor:
        """``(K, bytes)`` uint8, for ``restore``."""
        return torch.stack([g.get_state() for g in self.generators])

    def restore(self, state: Tensor) -> None:
        """Continue from a ``state``."""
        for generator, row in zip(self.generators, state, strict=True):
            generator.set_state(row.clone())


def seeded(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded from the seed and its purpose."""
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big", signed=True))


class Linear(nn.Module):
    """K linear maps: ``(K, B, in)`` → ``(K, B, out)``; initialised like ``torch.nn.Linear``."""

    def __init__(self, rng: RngStreams, width: int, out: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(width)
        self.weight = nn.Parameter((rng.uniform(width, out) * 2 - 1) * bound)  # (K, in, out)
        self.bias = nn.Parameter((rng.uniform(1, out) * 2 - 1) * bound)

    def forward(self, x: Float[Tensor, "K B I"]) -> Float[Tensor, "K B O"]:
        """Apply map ``k`` to ``x[k]``."""
        return torch.baddbmm(self.bias, x, self.weight)


class LayerNorm(nn.Module):
    """K layer normalisations, each with its own weight and bias: ``(K, B, D)`` or shared ``(B, D)`` → ``(K, B, D)``."""

    def __init__(self, models: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(models, 1, width))
        self.bias = nn.Parameter(torch.zeros(models, 1, width))

    def forward(self, x: Float[Tensor, "*shared B D"]) -> Float[Tensor, "K B D"]:
        """Normalise over the last axis, then apply each model's weight and bias."""
        return torch.addcmul(self.bias, nn.functional.layer_norm(x, x.shape[-1:]), self.weight)


class Dropout(nn.Module):
    """K dropouts, each with its own rate and random stream; the identity without ``rng``."""

    rate: Tensor

    def __init__(self, rates: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("rate", torch.tensor(rates, dtype=torch.float32), persistent=False)

    def forward(self, x: Float[Tensor, "K B D"], rng: RngStreams | None) -> Float[Tensor, "K B D"]:
        """Zero activations of ``(K, B, D)`` at random and scale the others by ``1 / (1 - rate)``."""
        if rng is None:
            return x
        scale = (1 / (1 - self.rate)).to(x.dtype)[:, None, None]
        return x * (rng.keep(self.rate, *x.shape[1:]) * scale)
