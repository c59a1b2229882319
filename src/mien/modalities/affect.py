"""Arousal, dominance and valence of each step of audio, by the regression head of an affect-tuned speech encoder.

    states of the last layer (T, F) → Linear → tanh → Linear → (T, 3), and both side by side → (T, F + 3)

The head was trained on the mean of a clip's states; here it reads each step, as in the source, so that its values
follow the voice. They are about 0 to 1, beside states of any size: a head that normalises the features of a step reads
three numbers among a thousand.

Sources: the head, Wagner et al. 2023, arXiv:2203.07378, whose published weights have it under ``classifier``; its
values beside each step, Hallmen et al. 2024, arXiv:2403.11879, and 2025, arXiv:2504.11460; as a prior of the acoustic
branch, Huang et al. 2026, arXiv:2603.13760.
Shapes: ``T`` steps, ``F`` width of the states.
"""

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor, nn

from mien.compute.device import Compute
from mien.errors import WeightsError

NAMES = ("arousal", "dominance", "valence")
"""The values, in order."""

_PREFIX = "classifier."


class AffectHead(nn.Module):
    """``(…, F)`` states → ``(…, 3)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, len(NAMES))

    def forward(self, states: Float[Tensor, "*steps F"]) -> Float[Tensor, "*steps 3"]:
        """The values of each step."""
        return self.out_proj(torch.tanh(self.dense(states)))


class WithAffect(nn.Module):
    """A speech encoder whose states have the values of its head appended: waveforms → ``(1, T, F + 3)``."""

    def __init__(self, states: nn.Module, head: AffectHead) -> None:
        super().__init__()
        self.states, self.head = states, head

    def forward(self, inputs: Tensor) -> Tensor:
        """States and values, side by side."""
        states = self.states(inputs)
        return torch.cat([states, self.head(states)], -1)


def affect_head(folder: Path, compute: Compute) -> AffectHead:
    """The head in a folder of weights, frozen, on the device.

    Raises:
        WeightsError: there is none that gives three values.
    """
    tensors: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            found = [name for name in opened.keys() if name.startswith(_PREFIX)]  # noqa: SIM118 - not a mapping
            tensors |= {name.removeprefix(_PREFIX): opened.get_tensor(name) for name in found}
    width = tensors["dense.weight"].shape[-1] if "dense.weight" in tensors else 1
    head = AffectHead(width)
    shapes = {name: tensor.shape for name, tensor in head.state_dict().items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
        raise WeightsError(
            f"backbone.affect: no regression head of {', '.join(NAMES)} in {folder}; take an audio backbone that has "
            f"one (that of --weights paper), or set backbone.affect=false"
        )
    head.load_state_dict(tensors)
    return head.to(compute.device, compute.dtype).eval().requires_grad_(False)
