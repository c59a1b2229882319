"""The record of a modality: how a clip becomes a sequence of vectors, and how the sequence is encoded.

    prepare    Media → inputs in order of time, or the reason why they are missing   pure, needs no weights
    load       weights folder → backbone                                             frozen, in eval mode
    load_layers  the same, but the backbone also gives the states of its layers      for ``backbone.<name>: layers``
    load_affect  the same, but it also gives its states with values of affect        for ``backbone.affect``
    training   how its upper blocks are trained                                      ``top_k``, ``lora``, ``full``
    backbone   inputs → (T, F) and the time of each step                             run once per clip
    encoder    (B, T, F), lengths → (B, D)                                           trained, the same for all
    embedding  settings of stage 1 → D
    epochs     settings of stage 1 → passes over the training clips

A record and not a base class: a modality has no state, and two of them differ in a few functions. No other code refers
to a modality by name.

Shapes: ``B`` batch, ``T`` steps, ``L`` layers, ``F`` backbone width, ``D`` encoder width.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from mien.compute.device import Compute
from mien.compute.loading import transformers
from mien.config import BackboneSettings, MediaSettings, Stage1Settings
from mien.errors import WeightsError
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
        layers: the layers that are side by side in ``values``, in order; empty for a single sequence.
    """

    values: npt.NDArray[np.floating]
    seconds: npt.NDArray[np.float32]
    remark: str = ""
    layers: tuple[int, ...] = ()


@runtime_checkable
class Backbone(Protocol):
    """A frozen backbone: prepared inputs of one clip → steps by feature name (``text`` also gives ``tokens``)."""

    def __call__(self, prepared: Prepared) -> Mapping[str, Output]:
        """The steps of one clip."""
        ...


Entering = Callable[[Sequence[Prepared]], Iterator[npt.NDArray[np.float16]]]
"""Inputs of clips → the states that enter a block: ``(T, F)``, or ``(T, tokens, F)`` where each step is an image."""

Pool = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Last states ``(B, T, F)``, mask ``(B, T)`` → steps ``(B, S, F)``; for images, ``(B, tokens, F)`` → ``(B, F)``."""


@dataclass(frozen=True)
class Training:
    """How the upper blocks of a modality's backbone are trained.

    Attributes:
        enter: weights folder, compute and number of a block → ``Entering``; what is below that block is frozen.
        pool: weights folder → ``Pool``, as in extraction.
    """

    enter: Callable[[Path, Compute, int], Entering]
    pool: Callable[[Path], Pool]


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
        load_layers: as ``load``, but the backbone also gives the states of some layers, side by side, as the feature
            ``<name>_layers``; ``None`` if it has no layers. The layers are ascending numbers: 0 is the embedding of
            the input, the highest the last layer, which is the main feature.
        load_affect: as ``load``, but the backbone also gives its steps with values of affect appended, as the feature
            ``<name>_affect``; ``None`` if no backbone of the modality has these.
        training: how its backbone is trained; ``None`` if it has none.
        steps_per_second: the rate of its steps, where it has layers; to estimate their size.
        centered_layers: whether an encoder of layers has a center without being told (``stage1.centered``): for states
            that hardly differ from clip to clip, of which an encoder else learns little.
        last_layer_lead: how much better than the last layer another has to read before learned weights of layers start
            in its favour, in standard errors of the difference in r (``training/layer_start.py``).
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
    load_layers: Callable[[Path | None, Compute, tuple[int, ...]], Backbone] | None = None
    load_affect: Callable[[Path | None, Compute], Backbone] | None = None
    training: Training | None = None
    steps_per_second: Callable[[MediaSettings], float] = lambda _: 0.0
    centered_layers: bool = False
    last_layer_lead: float = 0.0
    sequence: bool = True
    embedding: Callable[[Stage1Settings], int] = lambda stage: stage.embedding
    epochs: Callable[[Stage1Settings], int] = lambda stage: stage.epochs

    def main_feature(self, backbone: BackboneSettings) -> str:
        """The stored sequence that a model reads: the modality's name, or the feature with its layers or affect."""
        if self.load_affect and backbone.affect:
            return f"{self.name}_affect"
        return f"{self.name}_layers" if self.load_layers and backbone.reads_layers(self.name) else self.name

    def stored_features(self, backbone: BackboneSettings) -> tuple[str, ...]:
        """Names of the sequences that an extraction with these settings stores."""
        return tuple(dict.fromkeys((*self.features, self.main_feature(backbone))))

    def arithmetic(self, compute: Compute) -> str:
        """The engine and precision that its features depend on; without a backbone, the engine does not matter."""
        return compute.arithmetic if self.backbone_role else compute.precision


UNUSED = ("pooler", "masked_spec_embed")
"""Parts of models that no feature depends on; many published weights lack them."""


def pretrained(kind: str, folder: Path | None, compute: Compute) -> Any:
    """A frozen transformers model from a folder, in eval mode, on the device; ``kind`` is the name of its class.

    Raises:
        WeightsError: tensors of its architecture are missing.
    """
    assert folder is not None, "a backbone needs weights"
    with transformers() as library:
        library.utils.logging.disable_progress_bar()  # for a file that loads in a second
        library.utils.logging.set_verbosity_error()  # what matters is checked below
        model, found = getattr(library, kind).from_pretrained(
            folder, dtype=compute.dtype, use_safetensors=True, output_loading_info=True
        )
    missing = sorted(name for name in found["missing_keys"] if not any(part in name for part in UNUSED))
    if missing:  # transformers would leave them random
        raise WeightsError(f"{folder}: lacks {len(missing)} tensors of its architecture, first {missing[0]}")
    return model.eval().to(compute.device)


def slices(length: int, size: int) -> Iterator[slice]:
    """Consecutive slices that cover ``range(length)``.

    >>> [(s.start, s.stop) for s in slices(5, 2)]
    [(0, 2), (2, 4), (4, 5)]
    """
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


def stack_rows(parts: Iterable[torch.Tensor], max_rows: int) -> npt.NDArray[np.float16]:
    """Concatenate parts into ``(T, …)`` float16, each written into place as it comes.

    A list of parts would need four times the memory at the end, and fragment the heap.

    Args:
        parts: ``(t, F)`` or ``(t, L, F)`` each, at least one.
        max_rows: upper bound on the number of rows; unused rows take no memory.

    >>> stack_rows([torch.ones(2, 3), torch.zeros(1, 3)], 8).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    """
    rows, count = np.empty((0, 0), np.float16), 0
    for part in parts:
        if not count:
            rows = np.empty((max_rows, *part.shape[1:]), np.float16)
        rows[count : count + len(part)] = to_numpy(part)
        count += len(part)
    return rows[:count]


def split_layers(
    name: str, rows: npt.NDArray[np.float16], seconds: npt.NDArray[np.float32], layers: tuple[int, ...]
) -> dict[str, Output]:
    """The features of a backbone that gave some layers: the last layer, and the layers side by side.

    Args:
        name: of the modality.
        rows: ``(T, F)`` without ``layers``; else ``(T, L', F)``: the ``layers`` and then, unless it is among them,
            the last layer.
        seconds: ``(T,)`` float32 time of each step.
        layers: their numbers; ``L`` of them.

    >>> rows = np.array([[[1, 2], [7, 8]]], np.float16)  # layer 0, then the last layer
    >>> made = split_layers("audio", rows, np.zeros(1, np.float32), (0,))
    >>> {name: output.values.tolist() for name, output in made.items()}
    {'audio': [[7.0, 8.0]], 'audio_layers': [[1.0, 2.0]]}
    """
    if not layers:
        return {name: Output(rows, seconds)}
    kept = rows[:, : len(layers)].reshape(len(rows), -1)
    return {name: Output(rows[:, -1], seconds), f"{name}_layers": Output(kept, seconds, layers=layers)}


def to_numpy(values: torch.Tensor) -> npt.NDArray[np.float16]:
    """A tensor of any device as float16."""
    return values.half().cpu().numpy()
