"""What a model folder says of itself, checked before anything is made of it: the folder may be anybody's.

``config.json`` is read into ``Description``, whose counts are bounded; the shapes that follow from it are compared with
what ``model.safetensors`` says that it holds, before any weight is allocated.

Shapes: ``K`` models, ``E`` emotions.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.overrides import TorchFunctionMode

from mien.config import ModalityName, Settings, Width
from mien.model.network import ModelSpec, Multimodal, Unimodal
from mien.storage.bounded import TensorHead

QUANTILES = "quantiles."
"""How the names of the intervals' half-widths begin, among the weights."""

_Name = Annotated[str, Field(min_length=1, max_length=1000)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class _Intervals(_Part):
    """How wide intervals are, and what they were calibrated on."""

    level: Annotated[float, Field(gt=0, lt=1)]
    clips: Annotated[int, Field(ge=0)] | None = None
    calibrated_on: str | None = None


class Provenance(_Part):
    """What a model says of its origin, as far as anything is made of it; the rest is passed on as it is."""

    model_config = ConfigDict(extra="allow")

    intervals: _Intervals | None = None


class Description(_Part):
    """What stands in ``config.json``."""

    kind: Literal["unimodal", "multimodal"]
    targets: Annotated[tuple[_Name, ...], Field(min_length=1, max_length=10_000)]
    widths: Annotated[dict[ModalityName, Width], Field(min_length=1, max_length=100)]
    models: Annotated[tuple[ModelSpec, ...], Field(min_length=1, max_length=10_000)]
    feature_provenance: dict[str, str]
    random_weights: bool
    settings: Settings


class _ShapesOnly(TorchFunctionMode):
    """Scaling first weights leaves their shape as it is; on the ``meta`` device it would load a second of modules."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__.strip("_") in ("mul", "rmul", "sub", "div", "truediv"):
            return next(one for one in args if isinstance(one, torch.Tensor))
        return func(*args, **(kwargs or {}))


def check_heads(description: Description, heads: Mapping[str, TensorHead]) -> None:
    """See that a file of weights says that it holds what its description asks for; nothing is allocated.

    Raises:
        ValueError: it does not; the message says which tensor, what was found and what was expected.
    """
    with torch.device("meta"), _ShapesOnly():
        module = module_of(description)
    wanted = {name: TensorHead("F32", tuple(tensor.shape)) for name, tensor in module.state_dict().items()}
    half = TensorHead("F32", (len(description.targets),))
    wanted |= {name: half for name in heads if name.startswith(QUANTILES)}
    for name in sorted({*wanted, *heads}):
        found, expected = heads.get(name), wanted.get(name)
        if found != expected:
            raise ValueError(f"{name[:200]}: found {_told(found)}, but config.json says {_told(expected)}")


def _told(head: TensorHead | None) -> str:
    return f"{head.dtype} {head.shape}"[:100] if head else "none"


def check_numbers(tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """See that weights are finite, and half-widths of intervals not negative.

    Half-widths may be ``nan`` (there was nothing to calibrate on) or infinite (too few clips for the level).

    Raises:
        ValueError: a tensor is not as it should be; the message names it.
    """
    for name, values in tensors.items():
        half = name.startswith(QUANTILES)
        bad = values < 0 if half else ~np.isfinite(values)
        if bad.any():
            what = "negative" if half else "not finite"
            raise ValueError(f"{name}: {int(bad.sum()):,} of {bad.size:,} numbers are {what}")


def module_of(description: Description) -> Unimodal | Multimodal:
    """An untrained model as described."""
    return make_module(
        description.kind, description.widths, len(description.targets), description.settings, description.models
    )


def make_module(
    kind: str, widths: Mapping[str, int], targets: int, settings: Settings, models: tuple[ModelSpec, ...]
) -> Unimodal | Multimodal:
    """An untrained model of a kind: ``multimodal``, or ``unimodal`` with the one modality of ``widths``."""
    if kind == "multimodal":
        return Multimodal(widths, targets, settings, models)
    (modality, width), *_ = widths.items()
    return Unimodal(modality, width, targets, settings.stage1, models)
