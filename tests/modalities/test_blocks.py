"""The upper blocks, run on what enters them, give what the whole backbone gives, for every architecture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mien.compute.device import Compute
from mien.errors import SettingsError
from mien.modalities import MODALITIES
from mien.modalities.base import Prepared, pretrained
from mien.modalities.blocks import FAMILIES, UpperBlocks, first_token_only
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


@pytest.mark.parametrize("architecture", [name for name in MODELS if ROLES[name] == "vision"])
def test_the_last_block_of_a_vision_transformer_computes_its_class_token_alone(
    architecture: str, tmp_path: Path
) -> None:
    """Behind the attention; the rest is the same, and so is the class token."""
    folder = make_own(tmp_path, architecture)
    images = torch.rand(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    sizes = {"interpolate_pos_encoding": True} if architecture == "vit" else {}

    def run(model: torch.nn.Module) -> tuple[torch.Tensor, int, int]:
        """Its states, and how many operations it needs, in all and behind the attention of the last block."""
        with torch.inference_mode(), FlopCounterMode(display=False) as counted:
            states = model(images, **sizes).last_hidden_state
        [behind] = [sum(n.values()) for name, n in counted.get_flop_counts().items() if name.endswith("1.mlp")]
        return states, counted.get_total_flops(), behind

    whole, needed, behind = run(pretrained("AutoModel", folder, CPU))
    ours, fewer, left = run(first_token_only(pretrained("AutoModel", folder, CPU)))
    np.testing.assert_allclose(ours[:, 0].numpy(), whole[:, 0].numpy(), atol=1e-5)
    assert left * whole.shape[1] == behind
    assert needed - fewer > behind - left  # the attention's projection too


def test_every_supported_architecture_is_a_family() -> None:
    assert {kind for kinds in ARCHITECTURES.values() for kind in kinds} == set(FAMILIES)
