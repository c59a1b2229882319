"""The record of a modality: how a clip becomes a sequence of vectors, and how the sequence is encoded.

    prepare    Media → inputs in order of time, or the reason why they are missing   pure, needs no weights
    load       weights folder → backbone                                             frozen, in eval mode
    backbone   inputs → (T, F) and the time of each step                             run once per clip
    encoder    (B, T, F), lengths → (B, D)                                           trained, the same for all
    embedding  settings of stage 1 → D
    epochs     settings of stage 1 → passes over the training clips

A record and not a base class: a modality has no state, and two of them differ in a few functions. No other code refers
to a modality by name.

Shapes: ``B`` batch, ``T`` steps, ``F`` backbone width, ``D`` encoder width.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from mien.compute.device import Compute
from mien.compute.loading import transformers
from mien.config import Stage1Settings
from mien.schema import Media

InputKind = Literal["text", "audio", "vision", "motion"]


@dataclass(frozen=True)
class Absent:
    """The modality is missing from a clip; ``reason`` is reported to the user."""

    reason: str


@dataclass(frozen=True)
class Prepared:
    """The inputs of a backbone.

    Attributes:
        inputs: the waveform, transcript, rows or crops; crops may be memory-mapped.
        seconds: ``(T,)`` float32 time of each input step, or empty when the backbone makes its own steps.
        remark: a note for the user (``face in 12 of 28 frames``), or empty.
    """

    inputs: Any
    seconds: npt.NDArray[np.float32]
    remark: str = ""


@dataclass(frozen=True)
class Output:
    """Backbone output, with a remark where the input was truncated.

    Attributes:
        values: ``(T, F)`` float16, as stored: an hour of audio has 180,000 steps. Wider types are rounded.
        seconds: ``(T,)`` float32 time of each step.
        remark: a note for the user, or empty.
    """

    values: npt.NDArray[np.floating]
    seconds: npt.NDArray[np.float32]
    remark: str = ""


@runtime_checkable
class Backbone(Protocol):
    """A frozen backbone: prepared inputs of one clip → steps by feature name (``text`` also gives ``tokens``)."""

    def __call__(self, prepared: Prepared) -> Mapping[str, Output]:
        """The steps of one clip."""
        ...


@dataclass(frozen=True)
class Modality:
    """A modality.

    Attributes:
        name: ``text``, ``audio``, ``vision``, ``motion``, or another entry of the table.
        sense: the kind of input that ``prepare`` reads: ``text`` (transcript), ``audio`` (waveform), ``vision`` (crops)
            or ``motion`` (face descriptors). Only what a modality reads is decoded.
        backbone_role: the role of its backbone in a set of weights; ``None`` when ``prepare`` gives the features.
        front_roles: roles of the weights behind the input of ``prepare`` (speech recogniser, face detector).
        settings: names of the settings, as dotted paths, that its features depend on.
        features: names of the stored sequences, the main one first.
        prepare, load: see the module docstring.
        version: raised whenever the same clip and settings give different features.
        source: the publication that the recipe follows.
        sequence: whether a clip has steps in time, which the encoder weighs; else it has a single vector.
        embedding: width of its encoder's output, from the settings of stage 1.
        epochs: maximum number of epochs of its encoder in stage 1, from the same settings.
    """

    name: str
    sense: InputKind
    backbone_role: str | None
    front_roles: tuple[str, ...]
    settings: tuple[str, ...]
    features: tuple[str, ...]
    prepare: Callable[[Media], Prepared | Absent]
    load: Callable[[Path | None, Compute], Backbone]
    version: int
    source: str
    sequence: bool = True
    embedding: Callable[[Stage1Settings], int] = lambda stage: stage.embedding
    epochs: Callable[[Stage1Settings], int] = lambda stage: stage.epochs

    def arithmetic(self, compute: Compute) -> str:
        """The engine and precision that its features depend on; without a backbone, the engine does not matter."""
        return compute.arithmetic if self.backbone_role else compute.precision


def pretrained(kind: str, folder: Path | None, compute: Compute) -> Any:
    """A frozen transformers model from a folder, in eval mode, on the device; ``kind`` is the name of its class."""
    assert folder is not None, "a backbone needs weights"
    with transformers() as library:
        library.utils.logging.disable_progress_bar()  # for a file that loads in a second
        return getattr(library, kind).from_pretrained(folder, dtype=compute.dtype).eval().to(compute.device)


def slices(length: int, size: int) -> Iterator[slice]:
    """Consecutive slices that cover ``range(length)``.

    >>> [(s.start, s.stop) for s in slices(5, 2)]
    [(0, 2), (2, 4), (4, 5)]
    """
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


def stack_rows(parts: Iterable[torch.Tensor], max_rows: int) -> npt.NDArray[np.float16]:
    """Concatenate parts into ``(T, F)`` float16, each written into place as it comes.

    A list of parts would need four times the memory at the end, and fragment the heap.

    Args:
        parts: ``(t, F)`` each, at least one.
        max_rows: upper bound on the number of rows; unused rows take no memory.

    >>> stack_rows([torch.ones(2, 3), torch.zeros(1, 3)], 8).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    """
    rows, count = np.empty((0, 0), np.float16), 0
    for part in parts:
        if not count:
            rows = np.empty((max_rows, part.shape[1]), np.float16)
        rows[count : count + len(part)] = to_numpy(part)
        count += len(part)
    return rows[:count]


def to_numpy(values: torch.Tensor) -> npt.NDArray[np.float16]:
    """A tensor of any device as float16."""
    return values.half().cpu().numpy()
