"""The clips of both sides of a split, read from the store once for any number of trainings: into memory, or what does
not fit there (``compute.memory_gigabytes``) into a temporary file.

train ─┬─ fit      trains the weights           without an inner split: all of train
       └─ select   chooses the epochs           without an inner split: valid
valid              is evaluated
all                train and valid, for a refit
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from mien.compute.device import choose_device, choose_precision
from mien.config import Settings
from mien.data.splits import Split, inner_split, labels_of
from mien.errors import DataError
from mien.features.layers import StoredInput, gather, inputs_of, is_without_layers
from mien.features.store import Store
from mien.modalities import get_modalities
from mien.model.file_rows import FileRows
from mien.model.inputs import ClipDataset, PackedSteps, kept_dtype, load_dataset
from mien.schema import Clip
from mien.storage.files import in_bytes

Side = Literal["train", "valid", "fit", "select", "all"]

PART_CLIPS = 64
"""Clips that are in memory at once while a modality is written to a file."""


class SplitData:
    """Features and labels of a split; a modality is read when first needed, and kept.

    Attributes:
        split: the clips of each side.
        inner: the training clips, divided again; ``None`` if the validation clips choose the epochs.
        widths: width of what is read by modality, of modalities that at least one clip of ``fit`` has.
        inputs: what is read of the store by modality.
        layers: of the modalities that are read as layers, their number.
        stores: where each modality is read from; the store that was given, unless its backbone was trained.
        notes: modalities missing from training clips, with counts, one line each.
        device: of all tensors.
        precision: of batches.
        in_file: modalities that are in a file and not in memory.
    """

    def __init__(
        self, store: Store, split: Split, n_targets: int, settings: Settings, whole: "SplitData | None" = None
    ) -> None:
        """Read the widths only.

        Args:
            store: of the features.
            split: the clips of each side.
            n_targets: number of labels.
            settings: modalities, layers, inner split, device and precision.
            whole: the same validation clips with more training clips, in whose memory those of this split are.

        Raises:
            DataError: the store has no features of the training clips or lacks layers that the settings name, or the
                training clips cannot be divided.
            SettingsError: a modality does not exist.
        """
        self.store, self.split, self.n_targets, self.whole = store, split, n_targets, whole
        inner = settings.train.select == "inner"
        self.inner = inner_split(split, settings.split, settings.train.inner_ratio) if inner else None
        self.longest = settings.stage1.longest_steps
        get_modalities((*settings.modalities, *settings.stage1.centered))
        inputs = inputs_of(store, settings.backbone, settings.modalities)
        self.widths, self.notes = feature_widths(store, inputs, self.inner or split)
        self.inputs = {name: inputs[name] for name in self.widths}
        self.notes += tuple(
            f"{name}: its features were imported or synthesised, and have no layers: the only one is read"
            for name in self.widths
            if is_without_layers(settings.backbone, inputs, name)
        )
        self.stores = dict.fromkeys(self.inputs, store)
        self.layers = {name: len(read.layers) for name, read in self.inputs.items() if read.layers}
        self.device = choose_device(settings.compute)
        self.precision = choose_precision(settings.compute, self.device)
        self._stored: dict[tuple[Side, str], PackedSteps] = {}
        gigabytes = None if whole is not None else settings.compute.memory_gigabytes
        sizes = {name: self._bytes(name) for name in self.inputs}
        self.in_file = () if gigabytes is None else _beyond(sizes, gigabytes * 1e9)
        if self.in_file:
            self.notes += (
                f"{', '.join(self.in_file)}: {in_bytes(sum(sizes[name] for name in self.in_file))} of features read "
                f"from a temporary file, because all take {in_bytes(sum(sizes.values()))} and "
                f"compute.memory_gigabytes is {gigabytes:g}",
            )

    def read_from(self, store: Store, names: Collection[str]) -> None:
        """Read some modalities from another store from now on."""
        self.stores |= dict.fromkeys(names, store)
        self._stored = {key: steps for key, steps in self._stored.items() if key[1] not in names}

    def labels(self, side: Side) -> npt.NDArray[np.float32]:
        """``(N, E)`` labels of the clips of a side, ``nan`` where unrated."""
        return labels_of(self.side(side), self.n_targets)

    def clips(self, side: Side, modalities: tuple[str, ...]) -> ClipDataset:
        """The clips of a side with some of their modalities."""
        parts = {name: self._steps(side, name) for name in modalities}
        names = [clip.participant or f"clip {clip.id}" for clip in self.side(side)]
        people = torch.from_numpy(np.unique(names, return_inverse=True)[1]).to(self.device)
        return ClipDataset(parts, torch.as_tensor(self.labels(side), device=self.device), self.precision, people)

    def side(self, side: Side) -> tuple[Clip, ...]:
        """The clips of a side."""
        divided = self.inner or self.split
        return {
            "train": self.split.train,
            "valid": self.split.valid,
            "fit": divided.train,
            "select": divided.valid,
            "all": (*self.split.train, *self.split.valid),
        }[side]

    def _steps(self, side: Side, name: str) -> PackedSteps:
        """One modality of a side; only training and validation clips have memory of their own."""
        if side in ("fit", "select"):
            if self.inner is None:
                return self._steps("train" if side == "fit" else "valid", name)
            return self._part(self._steps("train", name), self.split.train, self.side(side))
        if self.whole is not None and side == "train":
            return self._part(self.whole._steps("train", name), self.whole.split.train, self.split.train)
        if self.whole is not None and side == "valid":
            return self.whole._steps("valid", name)
        if (side, name) not in self._stored:
            self._stored[side, name] = self._joined(name) if side == "all" else self._read(side, name)
        return self._stored[side, name]

    def _part(self, steps: PackedSteps, clips: Sequence[Clip], part: Sequence[Clip]) -> PackedSteps:
        """Some of the clips in a tensor, which they share."""
        row = {clip.id: place for place, clip in enumerate(clips)}
        places = torch.tensor([row[clip.id] for clip in part], device=self.device)
        return PackedSteps(steps.values, steps.begins[places], steps.has[places], steps.layers)

    def _read(self, side: Side, name: str) -> PackedSteps:
        clips = [clip.id for clip in self.side(side)]
        if name not in self.in_file:
            return self._load(clips, name, self.device)
        values = FileRows(self.widths[name], kept_dtype(self.widths[name], self.precision), self.device)
        lengths = []
        for first in range(0, len(clips), PART_CLIPS):
            part = self._load(clips[first : first + PART_CLIPS], name, torch.device("cpu"))
            assert isinstance(part.values, torch.Tensor)
            values.append(part.values)
            lengths.append(part.has)
            self.stores[name].release()
        has = torch.cat(lengths).to(self.device)
        return PackedSteps(values, has.cumsum(0) - has, has, self.layers.get(name, 0))

    def _load(self, clips: Sequence[str], name: str, device: torch.device) -> PackedSteps:
        """One modality of some clips, in memory."""
        packed = {name: gather(self.stores[name], self.inputs[name], name, clips)}
        labels, width = np.empty((len(clips), self.n_targets), np.float32), {name: self.widths[name]}
        read = load_dataset(packed, labels, width, self.longest, self.precision, device, self.layers)
        return read.modalities[name]

    def _bytes(self, name: str) -> int:
        """What the features of training and validation clips take in memory."""
        rows = (self.stores[name].row(clip.id, self.inputs[name].feature) for clip in self.side("all"))
        steps = sum(min(row.steps, self.longest) for row in rows if row)
        return steps * self.widths[name] * kept_dtype(self.widths[name], self.precision).itemsize

    def _joined(self, name: str) -> PackedSteps:
        """Training and validation clips in one tensor, of which both sides are then parts."""
        train, valid = self._steps("train", name), self._steps("valid", name)
        first = len(train.values)
        if isinstance(train.values, FileRows):
            assert isinstance(valid.values, FileRows)
            values = train.values.joined(valid.values)
        else:
            assert isinstance(valid.values, torch.Tensor)
            values = torch.cat([train.values, valid.values])
        self._stored["train", name] = PackedSteps(values[:first], train.begins, train.has, train.layers)
        self._stored["valid", name] = PackedSteps(values[first:], valid.begins, valid.has, train.layers)
        begins, has = torch.cat([train.begins, valid.begins + first]), torch.cat([train.has, valid.has])
        return PackedSteps(values, begins, has, train.layers)


def _beyond(sizes: Mapping[str, int], most: float) -> tuple[str, ...]:
    """The modalities that do not fit into so many bytes beside all smaller ones."""
    taken, beyond = 0, []
    for name in sorted(sizes, key=lambda name: sizes[name]):
        taken += sizes[name]
        if taken > most:
            beyond.append(name)
    return tuple(name for name in sizes if name in beyond)


def feature_widths(
    store: Store, inputs: Mapping[str, StoredInput], split: Split
) -> tuple[Mapping[str, int], tuple[str, ...]]:
    """Widths of what is read of the modalities that at least one training clip has, and notes on the others.

    Raises:
        DataError: there are none.
    """
    widths, notes = {}, []
    for name, read in inputs.items():
        rows = {clip.id: store.row(clip.id, read.feature) for clip in split.train}
        width = next((row.width for row in rows.values() if row and row.steps), 0)
        without = [clip for clip, row in rows.items() if not (row and row.steps)]
        if width:
            widths[name] = read.width(width)
        if without and width:
            notes.append(f"{name}: missing from {len(without)} of {len(rows)} training clips, first {without[0]}")
        elif without:
            notes.append(f"{name}: no training clip has it; left out")
    if not widths:
        raise DataError(f"{store.root}: no features of the training clips; extract them first with: mien extract")
    return widths, tuple(notes)
