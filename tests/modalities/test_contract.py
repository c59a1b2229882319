"""What holds for every modality of the table, and for the one of the tutorial, which is not in it.

The record fits the rest of the package; the same media give the same features; what is absent has a reason; and the
encoder that its fields ask for sees steps, not padding.
"""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.config import ModalityName, Section, Settings, read_settings
from mien.errors import SettingsError
from mien.modalities import MODALITIES, find_modality, get_modalities
from mien.modalities.base import Absent, Modality, Prepared
from mien.modalities.encoder import Steps
from mien.model.network import ModelSpec, Multimodal, Unimodal, variants
from mien.schema import Clip, Media
from mien.weights import SETS, resolve
from tests.modalities.clips import CPU, media

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "prosody.py"
SMALL = read_settings(overrides=["seeds=[0, 1]", "stage1.embedding=6", "stage1.motion_embedding=4", "stage2.hidden=6"])


def example() -> Modality:
    """The modality of the tutorial, whether or not a reader has entered it in the table."""
    spec = importlib.util.spec_from_file_location("prosody", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PROSODY


EVERY = {example().name: example()} | MODALITIES

every_modality = pytest.mark.parametrize("modality", EVERY.values(), ids=EVERY)


@pytest.fixture(autouse=True)
def in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example is entered, as the tutorial says."""
    for name, modality in EVERY.items():
        monkeypatch.setitem(MODALITIES, name, modality)


def backbone(modality: Modality):
    role = modality.backbone_role
    return modality.load(resolve("tiny", [role])[role].path if role else None, CPU)


def some_steps(modality: Modality, width: int = 5) -> Steps:
    """Three clips of a modality: 4 steps, 2 steps, none; or one step where it is no sequence."""
    has = torch.tensor([[4], [2], [0]]) if modality.sequence else torch.tensor([[1], [1], [0]])
    mask = torch.arange(int(has.max())) < has
    values = torch.randn(*mask.shape, width, generator=torch.Generator().manual_seed(0))
    return Steps(values * mask[..., None], mask)


@every_modality
def test_the_record_fits_the_rest_of_the_package(modality: Modality) -> None:
    (pattern,) = (part.pattern for part in ModalityName.__metadata__[0].metadata)  # type: ignore[attr-defined]
    assert re.fullmatch(pattern, modality.name)
    assert find_modality(modality.name) is modality and get_modalities([modality.name]) == (modality,)
    assert modality.features[0] == modality.name
    roles = [role for role in (modality.backbone_role, *modality.front_roles) if role]
    assert set(roles) <= set(SETS["small"])
    for path in modality.settings:
        value = Settings()
        for part in path.split("."):
            assert isinstance(value, Section) and part in type(value).model_fields
            value = getattr(value, part)
    assert modality.source and modality.version >= 1
    assert modality.embedding(SMALL.stage1) >= 1 and modality.epochs(SMALL.stage1) >= 1


@every_modality
def test_the_same_media_give_the_same_bits_and_a_time_for_every_step(modality: Modality) -> None:
    prepared = modality.prepare(media())
    assert isinstance(prepared, Prepared)
    one, two = backbone(modality)(prepared), backbone(modality)(prepared)
    assert tuple(one) == modality.features
    for feature, output in one.items():
        assert output.values.dtype == np.float16
        assert output.values.ndim == 2
        assert np.isfinite(output.values).all()
        assert output.seconds.dtype == np.float32
        assert len(output.seconds) == len(output.values)
        assert np.array_equal(output.values, two[feature].values)
    own = one[modality.name]
    assert (np.diff(own.seconds) > 0).all()
    assert modality.sequence == (len(own.values) > 1)


@every_modality
def test_nothing_to_prepare_keeps_the_reason_that_the_media_give(modality: Modality) -> None:
    nothing = Media(Clip("a", Path("a.mp4")), 2.0, absent={modality.sense: "because"})
    assert modality.prepare(nothing) == Absent("because")


@every_modality
def test_nothing_to_prepare_always_has_a_reason(modality: Modality) -> None:
    absent = modality.prepare(Media(Clip("a", Path("a.mp4")), 2.0))
    assert isinstance(absent, Absent) and absent.reason


@every_modality
def test_its_encoder_is_as_its_record_says_and_padding_does_not_reach_the_score(modality: Modality) -> None:
    models = variants(SMALL, SMALL.stage1)
    model, steps = Unimodal(modality.name, 5, 2, SMALL.stage1, models), some_steps(modality)
    assert model.encoder(steps).shape == (2, 3, modality.embedding(SMALL.stage1))
    assert tuple(model.attending) == ((modality.name,) if modality.sequence else ())
    longer = Steps(torch.nn.functional.pad(steps.values, (0, 0, 0, 7)), torch.nn.functional.pad(steps.mask, (0, 7)))
    torch.testing.assert_close(model({modality.name: longer}), model({modality.name: steps}))
    again = Unimodal(modality.name, 5, 2, SMALL.stage1, models)
    assert torch.equal(again({modality.name: steps}), model({modality.name: steps}))


@every_modality
@pytest.mark.parametrize("head", ["concat", "cross_attention"])
def test_where_it_is_absent_it_cannot_influence_the_fused_score(modality: Modality, head: str) -> None:
    settings = read_settings(overrides=[f"stage2.head={head}", "stage2.hidden=8", "stage1.embedding=6"])
    widths = dict.fromkeys(EVERY, 5)
    model = Multimodal(widths, 2, settings, (ModelSpec(0, 1e-3, 0.0, 0.0),))
    inputs = {name: some_steps(other) for name, other in EVERY.items()}
    gone = torch.zeros_like(inputs[modality.name].mask)
    scores = []
    for filler in (0.0, torch.nan):
        values = torch.full_like(inputs[modality.name].values, filler)
        scores.append(model({**inputs, modality.name: Steps(values, gone)}))
    assert torch.isfinite(scores[0]).all()
    assert torch.equal(scores[0], scores[1])


def test_a_model_of_a_modality_that_is_not_in_the_table_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="no modality 'smell'; known are text, audio"):
        Unimodal("smell", 5, 2, SMALL.stage1, variants(SMALL, SMALL.stage1))
