"""Notes on the data of a study, as a run has them: clips without labels, people on both sides, missing modalities."""

from mien.config import ComputeSettings
from mien.errors import DataError
from mien.features.store import Store
from mien.modalities import MODALITIES
from mien.study.cells import StudyContext
from mien.study.keys import data_key, with_every_clip
from mien.study.plan import Cell, Plan
from mien.training.split_data import SplitData


def data_notes(plan: Plan, context: StudyContext) -> tuple[str, ...]:
    """Notes on the clips of the reference, then those of other splits or inputs that it does not have, with their cell.

    Draws of the training clips have none of their own.
    """
    cells: dict[str, Cell] = {}
    for cell in (plan.reference, *plan.cells):
        every = with_every_clip(cell.settings.split)
        cells.setdefault(data_key(cell.settings.model_copy(update={"split": every})), cell)
    store, found = Store(context.features), dict[str, str]()
    names = tuple(name for name in MODALITIES if any(name in cell.settings.modalities for cell in plan.cells))
    for cell in cells.values():
        for note in _notes(cell, names, store, context):
            found.setdefault(note, note if cell is plan.reference else f"{note} ({cell.name})")
    return tuple(found.values())


def _notes(cell: Cell, names: tuple[str, ...], store: Store, context: StudyContext) -> tuple[str, ...]:
    """Notes on the split of a cell and on modalities with features; a cell without those has failed and says why."""
    settings = cell.settings.model_copy(update={"modalities": names, "compute": ComputeSettings(device="cpu")})
    try:
        split = context.split(settings)
        data = SplitData(store, split, len(context.manifest.targets), settings)
    except DataError:  # the reason of the cells that need it
        return ()
    read = (note for note in data.notes if note.partition(":")[0] in data.widths)
    return (*split.notes, *(data.inner.notes if data.inner else ()), *read)
