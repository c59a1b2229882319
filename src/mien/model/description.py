"""Validation of a model folder, which may come from an untrusted source.

``config.json`` is read into ``Description``, with bounded counts; the shapes that follow from it are compared with the
header of ``model.safetensors`` before any weight is allocated.

Shapes: ``K`` models, ``E`` emotions.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.overrides import TorchFunctionMode

from mien.config import ModalityName, Settings, Width
from mien.model.encoder_origin import EncoderOrigin
from mien.model.half_widths import MOST_BANDS, HalfWidths
from mien.model.network import ModelSpec, Multimodal, Unimodal
from mien.storage.bounded import TensorHead
from mien.subsets import subset_name
from mien.weights.own import OwnBackbone

QUANTILES = "quantiles."
"""Prefix of the half-widths of intervals among the names of the weights: ``(B, E)``, in older models ``(E,)``."""

EDGES = "edges."
"""Prefix of the edges of their bands, ``(B - 1, E)``, where there are several."""

CALIBRATION = "calibration."
"""Prefix of the maps of scores to ratings among the names of the weights."""

CENTER = ".center"
"""End of the names of what encoders subtract from their input; in models that were saved before, nothing is."""

NO_WEIGHTS = (QUANTILES, EDGES, CALIBRATION)
"""Prefixes of what is no part of the network."""

_Name = Annotated[str, Field(min_length=1, max_length=1000)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class _Intervals(_Part):
    """Level and calibration clips of the prediction intervals."""

    level: Annotated[float, Field(gt=0, lt=1)]
    clips: Annotated[int, Field(ge=0)] | None = None
    calibrated_on: str | None = None


class Provenance(_Part):
    """The part of ``provenance.json`` that is used; the rest is passed on unchanged."""

    model_config = ConfigDict(extra="allow")

    intervals: _Intervals | None = None
    scale: tuple[float, float] | None = None
    encoders: dict[ModalityName, EncoderOrigin] | None = None
    banner: Annotated[str, Field(max_length=1000)] | None = None
    data_terms: Annotated[str, Field(max_length=10_000)] | None = None


class Description(_Part):
    """The contents of ``config.json``."""

    kind: Literal["unimodal", "multimodal"]
    targets: Annotated[tuple[_Name, ...], Field(min_length=1, max_length=10_000)]
    widths: Annotated[dict[ModalityName, Width], Field(min_length=1, max_length=100)]
    models: Annotated[tuple[ModelSpec, ...], Field(min_length=1, max_length=10_000)]
    feature_provenance: dict[str, str]
    random_weights: bool
    settings: Settings
    backbones: dict[str, OwnBackbone] = Field(default_factory=dict)


class _ShapesOnly(TorchFunctionMode):
    """Skips the scaling of initial weights, which on the ``meta`` device would import modules for a second."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__.strip("_") in ("mul", "rmul", "sub", "div", "truediv"):
            return next(one for one in args if isinstance(one, torch.Tensor))
        return func(*args, **(kwargs or {}))


def check_heads(description: Description, heads: Mapping[str, TensorHead]) -> None:
    """Check that the header of a weights file matches a description; nothing is allocated.

    Raises:
        ValueError: it does not; the message gives the tensor, what was found and what was expected.
    """
    with torch.device("meta"), _ShapesOnly():
        module = module_of(description)
    expected = {name: TensorHead("F32", tuple(tensor.shape)) for name, tensor in module.state_dict().items()}
    columns = len(description.targets)
    maps = TensorHead("F32", (2, columns))
    for name in [name for name in heads if name.startswith(QUANTILES)]:
        bands = min(heads[name].shape[0], MOST_BANDS) if len(heads[name].shape) == 2 else 0
        expected[name] = TensorHead("F32", (bands, columns) if bands else (columns,))
        if bands > 1:
            expected[EDGES + name.removeprefix(QUANTILES)] = TensorHead("F32", (bands - 1, columns))
    if any(name.startswith(CALIBRATION) for name in heads):
        whole = f"{CALIBRATION}{subset_name(description.widths)}"
        expected |= {name: maps for name in (whole, *heads) if name.startswith(CALIBRATION)}
    expected = {name: head for name, head in expected.items() if name in heads or not name.endswith(CENTER)}
    for name in sorted({*expected, *heads}):
        found, wanted = heads.get(name), expected.get(name)
        if found != wanted:
            raise ValueError(f"{name[:200]}: found {_shape_text(found)}, but config.json says {_shape_text(wanted)}")


def _shape_text(head: TensorHead | None) -> str:
    return f"{head.dtype} {head.shape}"[:100] if head else "none"


def check_numbers(tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Check that weights are finite, slopes of maps positive, half-widths of intervals not negative, and edges of their
    bands ascending.

    Half-widths may be ``nan`` (no calibration clips) or infinite (too few clips for the level).

    Raises:
        ValueError: a tensor has invalid values; the message names it.
    """
    for name, values in tensors.items():
        if name.startswith(QUANTILES):
            bad, fault = values < 0, "negative"
        elif name.startswith(EDGES):
            bad = np.isnan(values) | np.pad(values[1:] < values[:-1], ((1, 0), (0, 0)))
            fault = "not in ascending order"
        else:
            bad, fault = ~np.isfinite(values), "not finite"
        if bad.any():
            raise ValueError(f"{name}: {int(bad.sum()):,} of {bad.size:,} numbers are {fault}")
        if name.startswith(CALIBRATION) and not (values[0] > 0).all():
            raise ValueError(f"{name}: {int((values[0] <= 0).sum()):,} slopes are not positive, which inverts scores")


def read_half_widths(tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, HalfWidths]:
    """The half-widths of prediction intervals among the tensors of a model, by set of modalities."""
    found = {}
    for name, widths in tensors.items():
        if name.startswith(QUANTILES):
            subset = name.removeprefix(QUANTILES)
            edges = tensors.get(EDGES + subset)
            found[subset] = HalfWidths.constant(widths.reshape(-1)) if edges is None else HalfWidths(widths, edges)
    return found


def module_of(description: Description) -> Unimodal | Multimodal:
    """An untrained model from its description.

    Raises:
        ValueError: the width of a modality is not a multiple of its layers.
    """
    return make_module(
        description.kind, description.widths, len(description.targets), description.settings, description.models
    )


def make_module(
    kind: str, widths: Mapping[str, int], n_targets: int, settings: Settings, models: tuple[ModelSpec, ...]
) -> Unimodal | Multimodal:
    """An untrained model of a kind: ``multimodal``, or ``unimodal`` with the one modality of ``widths``."""
    layers = {name: len(numbers) for name, numbers in read_layers(settings, widths).items()}
    if kind == "multimodal":
        return Multimodal(widths, n_targets, settings, models, layers)
    (modality, width), *_ = widths.items()
    return Unimodal(modality, width, n_targets, settings.stage1, models, layers.get(modality, 0))


def read_layers(settings: Settings, modalities: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The layers that a model reads, by modality that it reads as layers.

    Raises:
        ValueError: the settings do not name them by number, as those of a trained model do.
    """
    found = {}
    for name in modalities:
        if settings.backbone.reads_layers(name):
            layers = settings.backbone.layers_of(name)
            if layers == "all":
                raise ValueError(f"backbone.{name}_layers: expected numbers of layers in a model, found all")
            found[name] = layers
    return found
