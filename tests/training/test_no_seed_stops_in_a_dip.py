"""Made data on which validation r of most seeds peaks within three epochs, falls, and rises far above that later.

Three components carry the labels: a loud, noisy one, learned at once; one that misleads, as the faces and voices of few
people do, since it is true of the training clips only; and a quiet, exact one, learned over dozens of epochs, which
makes the misleading one superfluous. Whether a seed survives the dip depends on the patience and the plateau rule
alone, so these are the defaults and all else is fixed here.

If the defaults change: they need a patience that outlasts a dip of some ten epochs, and a plateau rule that does not
reduce the rate to nothing within it. The data must not be made easier to fit defaults that fail.
"""

from functools import cache

import numpy as np
import pytest
import torch

from mien.config import FitSettings, Settings, read_settings
from mien.model.inputs import ClipDataset, PackedSteps
from mien.model.network import Unimodal, variants
from mien.training.dips import dip_notes, stopped_in_a_dip
from mien.training.fit import fit
from mien.training.schedule import History
from mien.training.state import TrainingJob

WIDTH, E, EPOCHS, RISE = 48, 6, 40, 0.1
FIXED = ["stage1.embedding=32", "stage1.lr=4e-3", "stage1.dropout=0.1", "seeds=[0,1,2]"]
FIXED += ["stage1.weight_decay=0.01", "stage1.batch_size=256", "stage1.clip_norm=1.0"]
OLD = {"patience": 6, "plateau_patience": 2}


def clips(count: int, train: bool) -> ClipDataset:
    basis = np.linalg.qr(np.random.default_rng(5).normal(size=(WIDTH, WIDTH)))[0]
    rng = np.random.default_rng([count, train])
    rated = rng.normal(size=(count, E))
    loud, quiet = rated + 1.2 * rng.normal(size=(count, E)), rated + 0.1 * rng.normal(size=(count, E))
    misleading = rated + 0.8 * rng.normal(size=(count, E)) if train else rng.normal(size=(count, E))
    rest = 0.01 * rng.normal(size=(count, WIDTH - 3 * E))
    features = np.concatenate([loud, 0.5 * misleading, 0.2 * quiet, rest], 1) @ basis
    steps = PackedSteps(torch.tensor(features).float(), torch.arange(count), torch.ones(count, dtype=torch.long))
    return ClipDataset({"text": steps}, torch.tensor(0.5 + 0.15 * rated).float(), torch.float32)


@cache
def trained(stage: FitSettings) -> History:
    """The course of three seeds with the patience and the plateau rule of these settings."""
    settings = read_settings(overrides=FIXED)
    names = ("patience", "schedule", "plateau_factor", "plateau_patience")
    stopping = settings.stage1.model_copy(update={name: getattr(stage, name) for name in names})
    models = variants(settings, stopping)
    module = Unimodal("text", WIDTH, E, stopping, models)
    job = TrainingJob("made", module, module.groups(), models, clips(300, True), clips(200, False), stopping, EPOCHS)
    list(fit(job))
    assert job.history is not None
    return job.history


def changed(**values: int) -> FitSettings:
    return FitSettings(**{"patience": 0, "plateau_patience": 1000, **values})  # type: ignore[arg-type]


def first_peak() -> np.ndarray:
    """``(K,)`` the highest r of the first three epochs."""
    return trained(changed()).r[:3].max(0)


def test_the_made_data_have_a_dip() -> None:
    r = trained(changed()).r
    assert (r[1:6].min(0) < first_peak() - 0.05).sum() >= 2
    assert (r[-1] > first_peak() + 2 * RISE).all()


def survivors(stage: FitSettings) -> np.ndarray:
    return np.nanmax(trained(stage).r, 0) > first_peak() + RISE


def test_seeds_stop_in_it_with_a_patience_of_6_and_a_plateau_of_2_and_are_named() -> None:
    made = trained(changed(**OLD))
    stopped, risen = stopped_in_a_dip(made)
    assert len(stopped) == 2 and survivors(changed(**OLD)).sum() == 1 and survivors(changed(**OLD))[risen].all()
    assert (made.best[stopped] <= 3).all()
    (note,) = dip_notes("stage 2", "stage2", made, (10, 11, 12))
    assert note.startswith(f"stage 2: seeds {10 + stopped[0]}, {10 + stopped[1]} stopped at epoch")
    assert "1 of 3 seeds went on to .9" in note and note.endswith("raise stage2.patience (and stage2.plateau_patience)")


@pytest.mark.parametrize("name", ["stage1", "stage2"])
def test_no_seed_stops_in_it_with_the_defaults(name: str) -> None:
    stage = getattr(Settings(), name)
    assert survivors(stage).all()
    assert stopped_in_a_dip(trained(stage)) == ([], [])
