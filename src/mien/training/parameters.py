"""The trainable parameters of K models as one matrix with a row per model, and AdamW over its rows.

Clipping, averaging, keeping the best and saving are then one line each, and frozen parameters are those not in the
matrix. Each row of a parameter group is a parameter group of a fused ``torch.optim.AdamW``, so every model has its own
learning rate and weight decay.

Shapes: ``K`` models, ``P`` trainable parameters per model.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mien.model.network import ModelSpec, ParamGroup


def describe_groups(groups: tuple[ParamGroup, ...], lr: float) -> list[str]:
    """One line per parameter group: name, parameters per model, learning rate or frozen."""
    return [
        f"  {group.name:16} {group.size:>10,} parameters  " + (f"lr {lr * group.rate:.1e}" if group.rate else "frozen")
        for group in groups
    ]


def keep_models(module: nn.Module, places: Tensor) -> None:
    """Keep only the models at ``places`` in a stacked module; all its parameters and buffers have a row per model."""
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = tensor.data[places]


class ParameterMatrix:
    """Trainable parameters ``values (K, P)`` and their gradients ``gradients (K, P)``; modules hold views of them."""

    def __init__(self, groups: Sequence[ParamGroup]) -> None:
        """Move the parameters of trainable groups into the matrix; freeze the others.

        Groups that are not stacked belong to the only model.
        """
        for group in groups:
            for parameter in group.parameters:
                parameter.requires_grad_(group.rate > 0)
        self.groups = [group for group in groups if group.rate > 0]
        first = self.groups[0].parameters[0]
        models = {len(group.parameters[0]) for group in self.groups if group.stacked} or {1}
        assert len(models) == 1 and (models == {1} or all(group.stacked for group in self.groups))
        size = sum(group.size for group in self.groups)
        self.values = torch.empty((*models, size), dtype=first.dtype, device=first.device)
        self.gradients = torch.zeros_like(self.values)
        self.columns: list[slice] = []
        self._parameters: list[nn.Parameter] = []
        end = 0
        for group in self.groups:
            begin = end
            for parameter in group.parameters:
                end = self._adopt(parameter, end)
            self.columns.append(slice(begin, end))

    def _adopt(self, parameter: nn.Parameter, begin: int) -> int:
        models = len(self.values)
        end = begin + parameter.numel() // models
        self.values[:, begin:end] = parameter.detach().reshape(models, -1)
        parameter.data = self.values[:, begin:end].view(parameter.shape)
        self._parameters.append(parameter)
        return end

    def differentiate(self, losses: Tensor) -> None:
        """Set ``gradients`` to those of the losses ``(K,)``; no model's loss depends on another's row."""
        parts = torch.autograd.grad(losses.sum(), self._parameters, materialize_grads=True)
        torch.cat([part.reshape(len(self.values), -1) for part in parts], 1, out=self.gradients)

    def clip(self, norm: float) -> Tensor:
        """Clip each model's gradient to ``norm`` (0: no clipping); returns the norms before, ``(K,)``."""
        before = torch.linalg.vector_norm(self.gradients, dim=1)
        if norm:
            self.gradients *= (norm / (before + 1e-6)).clamp(max=1)[:, None]
        return before


class Optimiser:
    """AdamW over the rows of a ``ParameterMatrix``."""

    def __init__(self, matrix: ParameterMatrix, models: Sequence[ModelSpec]) -> None:
        self.matrix = matrix
        self._rows: list[Tensor] = []
        self._rates: list[tuple[int, float]] = []
        groups = []
        for k, model in enumerate(models):
            for group, columns in zip(matrix.groups, matrix.columns, strict=True):
                row = matrix.values[k, columns]
                row.grad = matrix.gradients[k, columns]
                decay = model.weight_decay if group.decays else 0.0
                groups.append({"params": [row], "lr": model.lr * group.rate, "weight_decay": decay})
                self._rows.append(row)
                self._rates.append((k, model.lr * group.rate))
        self._adamw = torch.optim.AdamW(groups, fused=True)

    def step(self, factor: Sequence[float]) -> None:
        """One step of every model at ``factor[k]`` times its learning rate."""
        for group, (k, rate) in zip(self._adamw.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor[k]
        self._adamw.step()

    def state(self) -> dict[str, Tensor]:
        """Both moments as ``(K, P)``, and the number of steps."""
        if not self._adamw.state:
            return {}
        states = [self._adamw.state[row] for row in self._rows]
        wide = len(self.matrix.groups)
        moments = {
            name: torch.stack([torch.cat([s[name] for s in states[k : k + wide]]) for k in range(0, len(states), wide)])
            for name in ("exp_avg", "exp_avg_sq")
        }
        return moments | {"step": states[0]["step"].reshape(1)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Restore a ``state``."""
        places = [(k, columns) for k in range(len(self.matrix.values)) for columns in self.matrix.columns]
        for row, (k, columns) in zip(self._rows, places, strict=True):
            self._adamw.state[row] = {
                "step": state["step"][0].clone(),
                "exp_avg": state["exp_avg"][k, columns].clone(),
                "exp_avg_sq": state["exp_avg_sq"][k, columns].clone(),
            }
