"""Batches hold the steps of their clips and nothing else, in whatever precision and however long the clips are."""

import numpy as np
import pytest
import torch

from mien.features.store import Packed
from mien.model.inputs import ClipDataset, averaged, load_dataset

WIDE = 300
"""Wide enough to be kept in half precision."""


def packed(lengths: list[int], width: int = WIDE) -> Packed:
    values = np.random.default_rng(0).standard_normal((sum(lengths), width)).astype(np.float16)
    return Packed(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def clips_of(given: Packed, longest: int = 100, precision: torch.dtype = torch.float32) -> ClipDataset:
    return load_dataset(
        {"audio": given}, np.zeros((len(given.lengths), 6)), {"audio": given.width}, longest, precision
    )  # fmt: skip


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_batch_is_its_clips_padded_with_zeros_even_beside_damaged_numbers(precision: torch.dtype) -> None:
    given = packed([3, 0, 5])
    given.values[0] = np.nan  # where padding is gathered from
    steps = clips_of(given, precision=precision).batch(torch.tensor([2, 1, 0]))["audio"]
    assert steps.mask.sum(1).tolist() == [5, 0, 3]
    assert steps.values.dtype == precision
    assert torch.equal(steps.values[~steps.mask], torch.zeros(7, WIDE, dtype=precision))
    assert torch.equal(steps.values[0], torch.from_numpy(given.values[3:]).to(precision))
    assert torch.equal(steps.values[2, 1:3], torch.from_numpy(given.values[1:3]).to(precision))


def test_nothing_is_left_over_from_an_earlier_longer_batch() -> None:
    given = packed([9, 2, 4])
    clips = clips_of(given)
    clips.batch(torch.tensor([0, 1, 2]))
    steps = clips.batch(torch.tensor([1, 2]))["audio"]
    fresh = clips_of(given).batch(torch.tensor([1, 2]))["audio"]
    assert torch.equal(steps.values, fresh.values)
    assert steps.values.shape == (2, 4, WIDE)


def test_a_batch_can_be_trained_on_after_one_was_judged() -> None:
    clips = clips_of(packed([4, 4]))
    with torch.inference_mode():
        clips.batch(torch.tensor([0, 1]))
    weight = torch.ones(WIDE, requires_grad=True)
    (clips.batch(torch.tensor([0]))["audio"].values @ weight).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize("longest", [1, 3, 6])
def test_long_clips_are_averaged_evenly_and_short_ones_are_whole(longest: int) -> None:
    given = packed([6, 2])
    clips = clips_of(given, longest=longest)
    values = clips.batch(torch.tensor([0]))["audio"].values[0]
    expected = torch.from_numpy(given.values[:6]).float().view(longest, 6 // longest, WIDE).mean(1)
    torch.testing.assert_close(values, expected, atol=1e-3, rtol=0)  # kept in half precision
    assert clips.modalities["audio"].has.tolist() == [longest, min(2, longest)]


def test_stretches_of_unequal_length_have_true_means() -> None:
    steps = np.arange(7, dtype=np.float16)[:, None]
    assert averaged(steps, 3).ravel().tolist() == [0.5, 2.5, 5.0]  # 0-1, 2-3, 4-6
