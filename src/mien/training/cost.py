"""What training a backbone costs, from the sizes of its blocks and the lengths of the clips, before it starts.

    operations   2 per parameter and token forward, 4 backward, and those of attention; half of the backward pass where
                 weights are frozen under additions; once more forward where activations are computed again
    memory       weights, gradients, moments and the best weights of what is trained, 4 bytes each; the activations of
                 the longest batch; the states that enter the blocks

Estimates, to within a factor of two: kernels, padding and the encoder above are left out. Speeds are of training in
bfloat16 as it is measured in practice, a fifth to a third of what is printed on a GPU.

Shapes: ``T`` tokens of a sequence, ``F`` width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SPEEDS: Mapping[str, float] = {"H100": 2.4e14, "RTX 4090": 5e13, "two CPU cores": 2.5e11}
"""Operations per second in training a transformer."""

ACTIVATIONS, CHECKPOINTED = 34, 4
"""Numbers of two bytes per token, block and feature that the backward pass keeps (Korthikanti et al. 2022,
arXiv:2205.05198, equation 2, without attention weights)."""


@dataclass(frozen=True)
class BlockCost:
    """The trained blocks of a backbone.

    Attributes:
        parameters: of all its blocks.
        trained: of these, or of the additions to them.
        blocks: their number.
        width: ``F``.
        lengths: ``T`` of every sequence of the training clips.
        method: ``top_k``, ``lora`` or ``full``.
        checkpoints: whether activations are computed again.
    """

    parameters: int
    trained: int
    blocks: int
    width: int
    lengths: npt.NDArray[np.int64]
    method: str
    checkpoints: bool

    @property
    def operations(self) -> float:
        """Of an epoch, without validation."""
        tokens, squares = float(self.lengths.sum()), float(np.square(self.lengths.astype(float)).sum())
        forward = 2 * self.parameters * tokens + 4 * self.width * self.blocks * squares
        backward = forward * (1 if self.method == "lora" else 2)
        return forward + backward + forward * self.checkpoints

    def gigabytes(self, batch: int) -> float:
        """Memory for training with this many clips in a batch."""
        kept = CHECKPOINTED if self.checkpoints else ACTIVATIONS
        longest = float(np.sort(self.lengths)[-batch:].max(initial=0)) * min(batch, len(self.lengths))
        states = 2.0 * self.width * float(self.lengths.sum())
        weights = 4.0 * (self.parameters + 4 * self.trained)
        return (weights + 2 * kept * longest * self.width * self.blocks + states) / 1e9


def describe_cost(parts: Mapping[str, BlockCost], epochs: int, batch: int) -> list[str]:
    """Lines on the cost of a training: operations of an epoch, memory, and time of all epochs at some speeds.

    >>> part = BlockCost(85_000_000, 85_000_000, 12, 768, np.full(8000, 350), "full", False)
    >>> describe_cost({"audio": part}, epochs=10, batch=32)
    ['cost: 1.5 PFLOP an epoch of 8,000 sequences (audio), about 13 GB; at most 10 epochs take about 64 s on an H100, \
5 min on an RTX 4090, 17 h on two CPU cores']
    """
    operations = sum(part.operations for part in parts.values())
    memory = sum(part.gigabytes(batch) for part in parts.values())
    times = ", ".join(f"{_time(epochs * operations / speed)} on {_article(name)}" for name, speed in SPEEDS.items())
    sequences = sum(len(part.lengths) for part in parts.values())
    return [
        f"cost: {_short(operations / 1e15)} PFLOP an epoch of {sequences:,} sequences ({', '.join(parts)}), about "
        f"{_short(memory)} GB; at most {epochs} epochs take about {times}"
    ]


def sequence_lengths(has: npt.NDArray[np.int64], tokens: int) -> npt.NDArray[np.int64]:
    """The lengths of the sequences in clips of ``has`` steps; of images, ``tokens`` each."""
    present: Sequence[int] = has[has > 0]  # type: ignore[assignment]
    return np.full(int(np.sum(present)) // tokens, tokens) if tokens else np.asarray(present)


def _time(seconds: float) -> str:
    """A duration with its unit.

    >>> [_time(seconds) for seconds in (64, 310, 61200)]
    ['64 s', '5 min', '17 h']
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"


def _article(name: str) -> str:
    return name if name.startswith("two") else f"an {name}"


def _short(value: float) -> str:
    """Two digits.

    >>> [_short(value) for value in (0.0012, 0.16, 3.55, 41.7, 250)]
    ['0.0012', '0.16', '3.5', '42', '250']
    """
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
