"""Features of many clips in memory, and batches from them: no file is read during training.

A modality is packed, clip after clip, in half precision; a batch is gathered into a reused buffer (allocating costs
several times the copy) and padded to its own longest clip. The trade-offs: features take memory, about 1 GB for 8,000
clips of 60 steps of width 1,024, unless they are in a file (``file_rows.py``); a batch is overwritten by the next one.

Shapes: ``N`` clips, ``S`` steps of all clips, ``B`` batch, ``T`` steps of the longest clip in it, ``F`` feature width,
``E`` emotions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mien.errors import ModelError
from mien.features.store import Packed
from mien.modalities.encoder import NO_LAYERS, Steps
from mien.model.file_rows import FileRows

_NARROW = 256
_BATCH_CLIPS = 512
_BATCH_STEPS = 4096
_BATCH_NUMBERS = 32_000_000


@dataclass(frozen=True)
class PackedSteps:
    """One modality of all clips: ``values (S, F)``; clip ``i`` has ``has[i]`` steps from row ``begins[i]``.

    They are in memory, or in a file.

    With ``layers``, ``F`` is so many layers side by side, each normalised.
    """

    values: Tensor | FileRows
    begins: Tensor
    has: Tensor
    layers: int = 0
    buffers: dict[torch.dtype, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def batch(self, index: Tensor, precision: torch.dtype) -> Steps:
        """The clips at ``index``, padded with zeros to the longest; valid until the next call."""
        begins, has = self.begins[index], self.has[index]
        place = torch.arange(max(1, int(has.max())), device=has.device)
        mask = place < has[:, None]  # (B, T)
        if not len(self.values):
            empty = torch.zeros((*mask.shape, self.values.shape[1]), dtype=precision, device=has.device)
            return Steps(empty, mask)
        kept = self.values.dtype
        if isinstance(self.values, FileRows):
            values = self._buffer(mask.numel(), kept, "cpu")
            self.values.read(begins, has, values.view(*mask.shape, -1))
            values = values.to(has.device)
        else:
            rows = torch.where(mask, begins[:, None] + place, 0).flatten()
            values = torch.index_select(self.values, 0, rows, out=self._buffer(len(rows), kept, has.device))
        if kept not in (torch.float32, precision):
            values = self._buffer(len(values), precision, has.device).copy_(values)
        values.index_fill_(0, torch.nonzero(~mask.flatten()).flatten(), 0.0)
        return Steps(values.view(*mask.shape, -1), mask)

    def _buffer(self, rows: int, dtype: torch.dtype, device: torch.device | str) -> Tensor:
        """A ``(rows, F)`` buffer that is reused between batches."""
        found = self.buffers.get(dtype)
        if found is None or len(found) < rows:
            with torch.inference_mode(False):  # else a buffer allocated in evaluation could not be used in training
                found = torch.empty((rows, self.values.shape[1]), dtype=dtype, device=device)
            self.buffers[dtype] = found
        return found[:rows]


class ClipDataset:
    """The clips of a model: features by modality, and labels.

    Attributes:
        labels: ``(N, E)`` float32, ``nan`` where unrated.
        modalities: packed features by name.
        people: ``(N,)`` int64, equal for clips of one participant; ``None`` if these do not matter.
    """

    def __init__(
        self,
        modalities: Mapping[str, PackedSteps],
        labels: Tensor,
        precision: torch.dtype,
        people: Tensor | None = None,
    ) -> None:
        self.modalities = dict(modalities)
        self.labels = labels
        self.precision = precision
        self.people = people

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sizes(self) -> Tensor:
        """``(N,)`` feature values of each clip, over all modalities."""
        return sum(
            (steps.has * steps.values.shape[1] for steps in self.modalities.values()),
            torch.zeros_like(self.labels[:, 0]),
        )

    def batch(self, index: Tensor) -> dict[str, Steps]:
        """The clips at ``index``."""
        return {name: steps.batch(index, self.precision) for name, steps in self.modalities.items()}

    def select_models(self, _: Tensor) -> "ClipDataset":
        """All models read the same."""
        return self

    def present(self, modality: str) -> Tensor:
        """``(N,)`` bool: whether each clip has a modality."""
        return self.modalities[modality].has > 0

    def only(self, index: Tensor) -> "ClipDataset":
        """The clips at ``index``, without copying features."""
        parts = {n: PackedSteps(s.values, s.begins[index], s.has[index], s.layers) for n, s in self.modalities.items()}
        people = None if self.people is None else self.people[index]
        return ClipDataset(parts, self.labels[index], self.precision, people)

    def without(self, names: Sequence[str]) -> "ClipDataset":
        """The same clips without some modalities."""
        parts = {
            n: PackedSteps(s.values, s.begins, torch.zeros_like(s.has), s.layers) if n in names else s
            for n, s in self.modalities.items()
        }
        return ClipDataset(parts, self.labels, self.precision, self.people)

    def by_length(self) -> list[Tensor]:
        """All clips in batches of similar length and bounded size, for evaluation."""
        order = torch.argsort(self.sizes.cpu(), stable=True)
        sizes = self.sizes.cpu()[order].tolist()
        batches, begin = [], 0
        for end in range(1, len(order) + 1):
            full = end - begin == _BATCH_CLIPS or (end < len(order) and sizes[end] * (end - begin + 1) > _BATCH_NUMBERS)
            if full or end == len(order):
                batches.append(order[begin:end].to(self.labels.device))
                begin = end
        return batches


def load_dataset(
    packed: Mapping[str, Packed],
    labels: npt.ArrayLike,
    widths: Mapping[str, int],
    longest: int,
    precision: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    layers: Mapping[str, int] = NO_LAYERS,
) -> ClipDataset:
    """Load features into memory.

    Args:
        packed: by modality; a modality without an entry is missing from all clips.
        labels: ``(N, E)``, ``nan`` where unrated.
        widths: feature width of each modality of the model.
        longest: clips with more steps are averaged to this many (``averaged``).
        precision: of batches; narrow modalities are always float32.
        device: of all tensors.
        layers: of the modalities whose features are several layers side by side, their number; each layer of a step
            is normalised over its features before steps are averaged.

    Raises:
        ModelError: the feature width of a modality differs from that of the model.
    """
    label_tensor = torch.as_tensor(np.asarray(labels), dtype=torch.float32).to(device)
    empty = Packed(np.empty((0, 0), np.float16), np.zeros(len(label_tensor) + 1, np.int64))
    parts = {}
    for name, width in widths.items():
        found = packed.get(name, empty)
        if found.width not in (0, width):
            raise ModelError(
                f"{name}: features are {found.width} wide, but the model reads {width}; extract them again"
            )
        parts[name] = _load(found, width, longest, precision, device, layers.get(name, 0))
    return ClipDataset(parts, label_tensor, precision)


@runtime_checkable
class Data(Protocol):
    """A data set for training and evaluation: ``ClipDataset``, or precomputed embeddings."""

    labels: Tensor

    def __len__(self) -> int: ...
    @property
    def sizes(self) -> Tensor:
        """``(N,)`` size of each clip."""
        ...

    def batch(self, index: Tensor, /) -> Mapping[str, Any]:
        """The clips at ``index``, as input of the module."""
        ...

    def by_length(self) -> list[Tensor]:
        """All clips in batches for evaluation."""
        ...

    def select_models(self, places: Tensor, /) -> "Data":
        """The input of the models at ``places``."""
        ...


def predict_all(
    module: torch.nn.Module, clips: Data, precision: torch.dtype = torch.float32
) -> npt.NDArray[np.float32]:
    """Scores of all clips by all models in evaluation mode, ``(K, N, E)``, in the order of the clips."""
    parts, places = [], clips.by_length()
    with torch.inference_mode(), autocast(clips.labels.device, precision):
        for index in places:
            parts.append(module(clips.batch(index), None).float())
    scores = torch.cat(parts, 1)
    return scores[:, torch.argsort(torch.cat(places))].cpu().numpy()


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Autocast to bfloat16 if that is the precision; else disabled."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == torch.bfloat16)


def kept_dtype(width: int, precision: torch.dtype) -> torch.dtype:
    """How features of a width are kept for batches of a precision."""
    return torch.float32 if width < _NARROW else torch.bfloat16 if precision == torch.bfloat16 else torch.float16


def _load(
    packed: Packed, width: int, longest: int, precision: torch.dtype, device: torch.device | str, layers: int
) -> PackedSteps:
    """Load clip by clip, normalising layers, averaging and converting each, so that no large array exists twice."""
    kept = kept_dtype(width, precision)
    has = np.minimum(packed.lengths, longest)
    begins = np.cumsum(has) - has
    values = torch.empty((int(has.sum()), width), dtype=kept, device=device)
    for begin, count, first, length in zip(begins, has, packed.offsets, packed.lengths, strict=False):
        if count:
            steps = packed.values[first : first + length]
            steps = normalised_layers(steps, layers) if layers else steps
            values[begin : begin + count].copy_(
                torch.from_numpy(steps if count == length else averaged(steps, longest))
            )
    return PackedSteps(values, torch.from_numpy(begins).to(device), torch.from_numpy(has).to(device), layers)


def normalised_layers(steps: npt.NDArray[np.floating], layers: int) -> npt.NDArray[np.float16]:
    """``(T, L F)``, each layer of each step with mean 0 and variance 1 over its features.

    The layers of a backbone differ in scale by factors of ten and more, so a weighted sum would read the largest.

    >>> normalised_layers(np.array([[1, 3, 100, 300]], np.float16), 2).round(3).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """
    made = np.empty(steps.shape, np.float16)
    for begin in range(0, len(steps), _BATCH_STEPS):
        part = torch.from_numpy(steps[begin : begin + _BATCH_STEPS]).float().unflatten(1, (layers, -1))  # (t, L, F)
        made[begin : begin + _BATCH_STEPS] = torch.nn.functional.layer_norm(part, part.shape[-1:]).flatten(1).numpy()
    return made


def averaged(steps: npt.NDArray[np.floating], longest: int) -> npt.NDArray[np.float32]:
    """``(T, F)`` → ``(longest, F)``: means over segments of consecutive steps, equally long to within one step.

    >>> averaged(np.array([[0], [2], [4], [5], [6]], np.float16), 2).ravel().tolist()
    [1.0, 5.0]
    """
    begins = np.arange(longest) * len(steps) // longest
    sums = np.add.reduceat(steps, begins, axis=0, dtype=np.float32)
    return (sums / np.diff(np.append(begins, len(steps)))[:, None]).astype(np.float32)
