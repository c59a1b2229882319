"""The upper blocks, run on what enters them, give what the whole backbone gives, for every architecture."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mien.compute.device import Compute
from mien.errors import SettingsError
from mien.modalities import MODALITIES
from mien.modalities.base import Prepared, pretrained
from mien.modalities.blocks import FAMILIES, UpperBlocks
from mien.weights.architecture import ARCHITECTURES
from tests.modalities.clips import media
from tests.weights.own import MODELS, ROLES, make_own

CPU = Compute(torch.device("cpu"), torch.float32)


def padded(parts: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """States of clips, padded with zeros, and their mask."""
    states = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(part).float() for part in parts], batch_first=True)
    return states, torch.arange(states.shape[1]) < torch.tensor([len(part) for part in parts])[:, None]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("architecture", MODELS)
def test_upper_blocks_give_the_features_of_the_whole_backbone(architecture: str, first: int, tmp_path: Path) -> None:
    folder, modality = make_own(tmp_path, architecture), MODALITIES[ROLES[architecture]]
    assert modality.training is not None
    prepared = [modality.prepare(media(seconds)) for seconds in (3.0, 0.7, 1.6)]
    assert all(isinstance(one, Prepared) for one in prepared)
    if architecture == "wavlm" and first:
        with pytest.raises(SettingsError, match="share a position bias"):
            UpperBlocks(pretrained("AutoModel", folder, CPU), first)
        return
    states = list(modality.training.enter(folder, CPU, first)(prepared))
    upper, pool = UpperBlocks(pretrained("AutoModel", folder, CPU), first), modality.training.pool(folder)
    assert len(upper.blocks) == 2 - first
    with torch.inference_mode():
        if modality.name == "vision":
            made = [pool(upper(*padded(list(one))), torch.ones(1)) for one in states]
        else:
            values, mask = padded(states)
            steps = pool(upper(values, mask), mask)
            made = [row[:1] if modality.name == "text" else row[here] for row, here in zip(steps, mask, strict=True)]
    backbone = modality.load(folder, CPU)
    for one, features in zip(prepared, made, strict=True):
        assert isinstance(one, Prepared)
        expected = backbone(one)[modality.name].values
        np.testing.assert_allclose(features.numpy(), expected, atol=2e-3)  # what enters is stored in half precision


def test_every_supported_architecture_is_a_family() -> None:
    assert {kind for kinds in ARCHITECTURES.values() for kind in kinds} == set(FAMILIES)
