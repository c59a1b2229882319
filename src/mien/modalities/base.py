"""What a modality is: one frozen record that says how a clip becomes a sequence of vectors, and how that is encoded.

    prepare    Media → inputs in order of time, or the reason why there are none     pure, needs no weights
    load       weights folder → backbone                                             frozen, in eval mode
    backbone   inputs → (T, F) and the time of each step                             run once for each clip
    encoder    (B, T, F), lengths → (B, D)                                           trained, the same for all
    embedding  settings of stage 1 → D
    epochs     settings of stage 1 → passes over the training clips

A record and not a base class: a modality has no state, and what differs between two of them are a few functions.
Nothing else in the package knows a modality by its name.

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

Sense = Literal["text", "audio", "vision", "motion"]


@dataclass(frozen=True)
class Absent:
    """A clip has nothing for this modality; ``reason`` is told to the user."""

    reason: str


@dataclass(frozen=True)
class Prepared:
    """What a backbone is to read.

    Attributes:
        inputs: the sound, the text, the rows or the pictures; pictures may be sliced from the disk.
        seconds: ``(T,)`` float32 time of each input step, or empty when the backbone makes its own steps.
        remark: what was odd (``face in 12 of 28 frames``), else empty.
    """

    inputs: Any
    seconds: npt.NDArray[np.float32]
    remark: str = ""


@dataclass(frozen=True)
class Output:
    """Backbone output, with a remark when something was cut.

    Attributes:
        values: ``(T, F)`` float16, as they are stored: an hour of sound has 180,000 steps. What is wider is rounded.
        seconds: ``(T,)`` float32 time of each step.
        remark: what was cut, else empty.
    """

    values: npt.NDArray[np.floating]
    seconds: npt.NDArray[np.float32]
    remark: str = ""


@runtime_checkable
class Backbone(Protocol):
    """A frozen backbone: prepared inputs of one clip → its steps, by feature name (``text`` also gives ``tokens``)."""

    def __call__(self, prepared: Prepared) -> Mapping[str, Output]:
        """The steps of one clip."""
        ...


@dataclass(frozen=True)
class Modality:
    """One way of looking at a person.

    Attributes:
        name: ``text``, ``audio``, ``vision``, ``motion``, or whatever stands in the table.
        sense: what of the media ``prepare`` reads: ``text`` (words), ``audio`` (sound), ``vision`` (crops) or
            ``motion`` (descriptors of faces). Only what somebody reads is decoded.
        backbone_role: the role of its backbone in a set of weights; ``None`` when ``prepare`` gives the features.
        front_roles: roles of the weights that shape what ``prepare`` reads (recogniser, face detector).
        settings: names of the settings, as dotted paths, that its features depend on.
        features: names of the sequences it stores, its own first.
        prepare, load: see the module's head.
        version: raised whenever the same clip and settings give other features.
        source: where the recipe comes from.
        sequence: whether a clip has steps in time, which the encoder weighs; else one vector stands for all of it.
        embedding: width of what its encoder gives, from the settings of stage 1.
        epochs: of its encoder in stage 1, at most, from the same settings.
    """

    name: str
    sense: Sense
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
        """What of the engine and its number formats its features depend on; an engine only runs backbones."""
        return compute.arithmetic if self.backbone_role else compute.precision


def pretrained(kind: str, folder: Path | None, compute: Compute) -> Any:
    """A frozen transformers model from a folder, in eval mode, on its device; ``kind`` is the name of its class."""
    assert folder is not None, "a backbone needs weights"
    with transformers() as library:
        library.utils.logging.disable_progress_bar()  # of reading a file that takes a second
        return getattr(library, kind).from_pretrained(folder, dtype=compute.dtype).eval().to(compute.device)


def slices(length: int, size: int) -> Iterator[slice]:
    """Consecutive slices that cover ``range(length)``.

    >>> [(s.start, s.stop) for s in slices(5, 2)]
    [(0, 2), (2, 4), (4, 5)]
    """
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


def stack_rows(parts: Iterable[torch.Tensor], most: int) -> npt.NDArray[np.float16]:
    """The rows of all parts one under the other, ``(T, F)`` float16, written into one array as they come.

    Kept one by one, they would need four times the memory in the end, and tear holes into the heap on the way.

    Args:
        parts: ``(t, F)`` each, at least one.
        most: no fewer rows than there are in all; what is not used takes no memory.

    >>> gathered([torch.ones(2, 3), torch.zeros(1, 3)], 8).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    """
    rows, count = np.empty((0, 0), np.float16), 0
    for part in parts:
        if not count:
            rows = np.empty((most, part.shape[1]), np.float16)
        rows[count : count + len(part)] = to_numpy(part)
        count += len(part)
    return rows[:count]


def to_numpy(values: torch.Tensor) -> npt.NDArray[np.float16]:
    """A tensor as float16 in memory, wherever it was computed."""
    return values.half().cpu().numpy()
