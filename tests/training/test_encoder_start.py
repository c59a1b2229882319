"""What an encoder with a center subtracts: found in the training clips, and kept wherever the encoder goes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mien.config import Settings, read_settings
from mien.data.splits import split_clips
from mien.errors import SettingsError
from mien.model.file_rows import FileRows
from mien.model.inputs import PackedSteps
from mien.model.model_folder import load_bundle
from mien.model.network import Multimodal, Unimodal, encoders_of
from mien.study.cells import EncoderJob, StudyContext
from mien.study.keys import without_new_defaults
from mien.training import train
from mien.training.encoder_start import center
from mien.training.split_data import SplitData
from tests.training.planted import planted

QUICK = [
    *("seeds=[0, 1]", "modalities=[text, vision]", "stage1.embedding=8", "stage2.hidden=8", "stage1.epochs=2"),
    *("stage2.epochs=2", "compute.precision=float32", "stage1.centered=[vision]"),
]


def packed(*clips: list[list[float]], layers: int = 0) -> PackedSteps:
    has = torch.tensor([len(clip) for clip in clips])
    return PackedSteps(torch.tensor([step for clip in clips for step in clip]), has.cumsum(0) - has, has, layers)


def test_a_center_leaves_of_the_mean_what_clips_differ_by() -> None:
    """Means of the clips with steps: (10, 4), (10, 0), (10, 2), (10, 2). Their mean is (10, 2), and the mean square of
    the distances from it (4 + 4 + 0 + 0) / 4 = 2. The second layer, (1, 0), (0, 0), (-1, 0), (0, 0), has no mean."""
    clips = [[[10.0, 4.0]], [[9.0, 0.0], [11.0, 0.0]], [], [[10.0, 2.0]], [[10.0, 3.0], [10.0, 1.0]]]
    mean, length = torch.tensor([10.0, 2.0]), 104**0.5
    expected = mean * (1 - 2**0.5 / length)
    torch.testing.assert_close(center(packed(*clips)).float(), expected)
    second = iter([1.0, 0.0, 0.0, -1.0, 0.0, 0.0])
    beside = [[[*step, next(second), 0.0] for step in clip] for clip in clips]
    torch.testing.assert_close(center(packed(*beside, layers=2)).float(), torch.cat([expected, torch.zeros(2)]))


def test_a_center_of_features_in_a_file_is_that_of_those_in_memory(tmp_path: Path) -> None:
    manifest, store = planted(tmp_path / "store")
    split = split_clips(manifest, read_settings().split)
    found = []
    for gigabytes in ("null", "1e-6"):
        settings = read_settings(overrides=[*QUICK, f"compute.memory_gigabytes={gigabytes}"])
        found.append(SplitData(store, split, 6, settings).clips("fit", ("vision",)).modalities["vision"])
    assert isinstance(found[0].values, Tensor) and isinstance(found[1].values, FileRows)
    assert torch.equal(center(found[0]), center(found[1]))


class Faces:
    """Clips whose vision has the same large offset, so that there is something to subtract."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest, self.store = planted(root / "store", train=64, valid=32, offset=8.0)
        self.run = self.train("run")

    def train(self, name: str, *more: str) -> Path:
        train(self.manifest, self.store, self.settings(*more), self.root / name)
        return self.root / name

    def settings(self, *more: str) -> Settings:
        return read_settings(overrides=[*QUICK, *more])

    def center(self, side: str, *more: str) -> Tensor:
        settings = self.settings(*more)
        data = SplitData(self.store, split_clips(self.manifest, settings.split), 6, settings)
        return center(data.clips(side, ("vision",)).modalities["vision"]).float()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Faces:
    return Faces(tmp_path_factory.mktemp("faces"))


def center_in(model: Path, modality: str = "vision") -> Tensor | None:
    """``(F,)`` of all the models of a bundle."""
    module = load_bundle(model).module
    assert isinstance(module, Unimodal | Multimodal)
    found = encoders_of(module)[modality].center
    assert found is None or all(torch.equal(found[0], one) for one in found)
    return None if found is None else found[0]


def test_an_encoder_that_is_told_has_the_center_of_the_training_clips(faces: Faces) -> None:
    expected = faces.center("train")
    assert expected.abs().min() > 2 and not torch.equal(expected, faces.center("all"))
    for model in (faces.run, faces.run / "stage1" / "vision"):
        found = center_in(model)
        assert found is not None
        torch.testing.assert_close(found, expected)
    assert center_in(faces.run, "text") is None


def test_a_refit_has_the_center_of_all_clips_and_an_inner_split_that_of_its_own(faces: Faces) -> None:
    how = ("train.select=inner", "train.refit=true")
    run = faces.train("refit", *how)
    for model, side in ((run / "stage1" / "vision", "fit"), (run, "all")):
        found = center_in(model)
        assert found is not None
        torch.testing.assert_close(found, faces.center(side, *how))


def test_joint_training_has_a_center_too(faces: Faces) -> None:
    found = center_in(faces.train("joint", "stage2.adaptation=joint"))
    assert found is not None
    torch.testing.assert_close(found, faces.center("train"))


@pytest.mark.parametrize("more", [(), ("stage2.adaptation=joint",)])
def test_an_encoder_of_another_run_keeps_its_center(faces: Faces, more: tuple[str, ...], tmp_path: Path) -> None:
    few = tuple(clip for i, clip in enumerate(faces.manifest.clips) if clip.split == "valid" or i >= 32)
    others = replace(faces.manifest, clips=few)
    settings = faces.settings(f"stage1.vision.from={faces.run}", "stage1.vision.use=start", *more)
    train(others, faces.store, settings, tmp_path / "run")
    found, theirs = center_in(tmp_path / "run"), center_in(faces.run)
    assert found is not None and theirs is not None and torch.equal(found, theirs)


def test_an_encoder_fits_a_run_that_centers_as_its_own_did(faces: Faces, tmp_path: Path) -> None:
    settings = faces.settings(f"stage1.vision.from={faces.run}", "stage1.centered=[]")
    with pytest.raises(SettingsError, match="its vision encoder has a center, but that of this run has none"):
        train(faces.manifest, faces.store, settings, tmp_path / "run")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("stage1.centered=[visoin]",), "no modality 'visoin'; did you mean 'vision'"),
        (("stage2.head=temporal", "stage2.adaptation=joint"), "no encoders below it to center: remove stage1.centered"),
    ],
)
def test_a_center_that_no_encoder_would_have_is_refused(
    faces: Faces, tmp_path: Path, more: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        train(faces.manifest, faces.store, faces.settings(*more), tmp_path / "run")


def test_a_study_keeps_the_keys_of_what_has_no_center(faces: Faces, tmp_path: Path) -> None:
    context = StudyContext(faces.manifest, faces.store.root, tmp_path)
    centered, plain = faces.settings(), faces.settings("stage1.centered=[]")
    folders = [context.encoder_folder(EncoderJob("vision", settings)) for settings in (centered, plain)]
    assert folders[0] != folders[1]
    assert "centered" not in without_new_defaults(plain.stage1)


def test_a_modality_is_read_from_another_store_from_then_on(faces: Faces, tmp_path: Path) -> None:
    """As after its backbone was trained: what was read of the first store is not kept."""
    _, other = planted(tmp_path / "other", train=64, valid=32, seed=5)
    data = SplitData(faces.store, split_clips(faces.manifest, faces.settings().split), 6, faces.settings())
    before = {name: data.clips("train", (name,)).modalities[name].values for name in ("text", "vision")}
    data.read_from(other, ["vision"])
    now = {name: data.clips("train", (name,)).modalities[name].values for name in ("text", "vision")}
    assert now["text"] is before["text"]
    expected = other.gather("vision", [clip.id for clip in data.side("train")]).values
    assert isinstance(now["vision"], Tensor) and np.array_equal(now["vision"].half().numpy(), expected[:])
