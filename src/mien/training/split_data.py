"""Both sides of a split in memory, read from the store once, however many trainings look at them."""

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
from mien.modalities import named
from mien.model.inputs import ClipDataset, PackedSteps, load_dataset

Side = Literal["train", "valid"]


class SplitData:
    """Features and ratings of a split; a modality is read when it is first asked for, and stays.

    Attributes:
        split: which clips are on which side.
        widths: feature width by modality, of those that at least one training clip has.
        notes: which modalities are missing from how many training clips, one line each.
        device: where everything lives.
        precision: what batches come in.
    """

    def __init__(self, store: Store, split: Split, targets: int, settings: Settings) -> None:
        """Nothing is read yet.

        Raises:
            DataError: the store has no features of the training clips.
        """
        self.store, self.split, self.targets = store, split, targets
        self.longest = settings.stage1.longest_steps
        self.widths, self.notes = feature_widths(store, settings, split)
        self.device = choose_device(settings.compute)
        self.precision = choose_precision(settings.compute, self.device)
        self._read: dict[tuple[Side, str], PackedSteps] = {}

    def rated(self, side: Side) -> npt.NDArray[np.float32]:
        """``(N, E)`` ratings of the clips of a side, ``nan`` where unrated."""
        return labels_of(self._clips(side), self.targets)

    def clips(self, side: Side, modalities: tuple[str, ...]) -> ClipDataset:
        """The clips of a side with some of their modalities."""
        labels, ids = self.rated(side), [clip.id for clip in self._clips(side)]
        for name in modalities:
            if (side, name) not in self._read:
                packed, width = {name: self.store.gather(name, ids)}, {name: self.widths[name]}
                read = load_dataset(packed, labels, width, self.longest, self.precision, self.device)
                self._read[side, name] = read.modalities[name]
        rated = torch.as_tensor(labels, device=self.device)
        return ClipDataset({name: self._read[side, name] for name in modalities}, rated, self.precision)

    def _clips(self, side: Side):
        return self.split.train if side == "train" else self.split.valid


def feature_widths(store: Store, settings: Settings, split: Split) -> tuple[Mapping[str, int], tuple[str, ...]]:
    """Feature widths of the modalities that at least one training clip has, and notes on the others.

    Raises:
        DataError: there are none.
        SettingsError: a modality does not exist.
    """
    named(settings.modalities)
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
