"""K LSTMs at once: a loop over steps, with one batched product for all models in each.

``torch.nn.LSTM`` is faster for one model, but K of them would run one after the other. It is the reference in tests.

Source: Hochreiter and Schmidhuber 1997, with forget gates.
Shapes: ``K`` models, ``B`` batch, ``S`` steps, ``W`` width of a step, ``N`` width of the state.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mien.modalities.stacked import Linear, RngStreams


class LSTM(nn.Module):
    """K LSTMs of one layer: ``(K, B, S, W)`` → states ``(K, B, S, N)``; one bias per gate, where torch has two."""

    def __init__(self, rng: RngStreams, width: int, state: int) -> None:
        super().__init__()
        self.input = Linear(rng, width, 4 * state)  # gates: input, forget, cell, output
        self.recurrent = nn.Parameter((rng.uniform(state, 4 * state) * 2 - 1) / math.sqrt(state))  # (K, N, 4 N)

    def forward(
        self, x: Float[Tensor, "K B S W"], mask: Bool[Tensor, "B S"], backward: bool = False
    ) -> Float[Tensor, "K B S N"]:
        """The state after every step; padding does not change it, so the last state is that of the true length.

        Args:
            x: the steps.
            mask: false for padding.
            backward: run from the last step to the first; padding then comes first, and its states are zeros.
        """
        gates = self.input(x.flatten(1, 2)).unflatten(1, x.shape[1:3]).unbind(2)  # S of (K, B, 4 N)
        valid = mask[..., None].unbind(1)
        state = cell = gates[0].new_zeros((*gates[0].shape[:2], self.recurrent.shape[1]))
        states = [state] * len(gates)
        for s in reversed(range(len(gates))) if backward else range(len(gates)):
            input_gate, forget_gate, candidate, output_gate = torch.baddbmm(gates[s], state, self.recurrent).chunk(
                4, -1
            )
            updated = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(candidate)
            cell = torch.where(valid[s], updated, cell)
            state = torch.where(valid[s], torch.sigmoid(output_gate) * torch.tanh(updated), state)
            states[s] = state
        return torch.stack(states, 2)
