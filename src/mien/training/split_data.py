"""The clips of both sides of a split in memory, read from the store once for any number of trainings."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from mien.compute.device import choose_device, choose_precision
from mien.config import Settings
from mien.data.splits import Split, labels_of
from mien.errors import DataError
from mien.features.store import Store
from mien.modalities import get_modalities
from mien.model.inputs import ClipDataset, PackedSteps, load_dataset

Side = Literal["train", "valid"]


class SplitData:
    """Features and labels of a split; a modality is read when first needed, and kept.

    Attributes:
        split: the clips of each side.
        widths: feature width by modality, of modalities that at least one training clip has.
        notes: modalities missing from training clips, with counts, one line each.
        device: of all tensors.
        precision: of batches.
    """

    def __init__(self, store: Store, split: Split, n_targets: int, settings: Settings) -> None:
        """Read the widths only.

        Raises:
            DataError: the store has no features of the training clips.
        """
        self.store, self.split, self.n_targets = store, split, n_targets
        self.longest = settings.stage1.longest_steps
        self.widths, self.notes = feature_widths(store, settings, split)
        self.device = choose_device(settings.compute)
        self.precision = choose_precision(settings.compute, self.device)
        self._read: dict[tuple[Side, str], PackedSteps] = {}

    def labels(self, side: Side) -> npt.NDArray[np.float32]:
        """``(N, E)`` labels of the clips of a side, ``nan`` where unrated."""
        return labels_of(self._clips(side), self.n_targets)

    def clips(self, side: Side, modalities: tuple[str, ...]) -> ClipDataset:
        """The clips of a side with some of their modalities."""
        labels, ids = self.labels(side), [clip.id for clip in self._clips(side)]
        for name in modalities:
            if (side, name) not in self._read:
                packed, width = {name: self.store.gather(name, ids)}, {name: self.widths[name]}
                read = load_dataset(packed, labels, width, self.longest, self.precision, self.device)
                self._read[side, name] = read.modalities[name]
        parts = {name: self._read[side, name] for name in modalities}
        return ClipDataset(parts, torch.as_tensor(labels, device=self.device), self.precision)

    def _clips(self, side: Side):
        return self.split.train if side == "train" else self.split.valid


def feature_widths(store: Store, settings: Settings, split: Split) -> tuple[Mapping[str, int], tuple[str, ...]]:
    """Feature widths of the modalities that at least one training clip has, and notes on the others.

    Raises:
        DataError: there are none.
        SettingsError: a modality does not exist.
    """
    get_modalities(settings.modalities)
    widths, notes = {}, []
    for name in settings.modalities:
        rows = {clip.id: store.row(clip.id, name) for clip in split.train}
        width = next((row.width for row in rows.values() if row and row.steps), 0)
        without = [clip for clip, row in rows.items() if not (row and row.steps)]
        if width:
            widths[name] = width
        if without and width:
            notes.append(f"{name}: missing from {len(without)} of {len(rows)} training clips, first {without[0]}")
        elif without:
            notes.append(f"{name}: no training clip has it; left out")
    if not widths:
        raise DataError(f"{store.root}: no features of the training clips; extract them first with: mien extract")
    return widths, tuple(notes)
