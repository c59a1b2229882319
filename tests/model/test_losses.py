"""Losses are the published formulas, and a rating that is constant in the batch does not make them degenerate."""

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

from mien import metrics
from mien.config import LossSettings
from mien.model.losses import Moments, branch_loss, loss, ramped

CCC = LossSettings(ccc=1.0, mse=0.0)


def batch(seed: int = 0, models: int = 2, clips: int = 32, targets: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(models, clips, targets, generator=generator), torch.rand(clips, targets, generator=generator)


def of_batch(predicted: torch.Tensor, rated: torch.Tensor, settings: LossSettings) -> torch.Tensor:
    moments = Moments.start(len(predicted), rated.shape[1], settings.memory_clips)
    return loss(predicted, rated, moments, settings)


def test_first_batch_is_the_formula() -> None:
    predicted, rated = batch()
    for settings, formula in (
        (CCC, 1 - metrics.concordance(predicted.numpy(), rated.numpy()).mean(-1)),
        (LossSettings(ccc=0, mse=0, pearson=1), 1 - metrics.pearson(predicted.numpy(), rated.numpy()).mean(-1)),
    ):
        np.testing.assert_allclose(of_batch(predicted, rated, settings).numpy(), formula, rtol=1e-4)


def test_mse_is_torchs_own_and_the_mix_is_weighted() -> None:
    predicted, rated = batch()
    only = of_batch(predicted, rated, LossSettings(ccc=0, mse=1))
    torch.testing.assert_close(only[1], mse_loss(predicted[1], rated))
    mixed = of_batch(predicted, rated, LossSettings())
    torch.testing.assert_close(mixed, 0.7 * of_batch(predicted, rated, CCC) + 0.3 * only)


def test_unrated_entries_count_nowhere() -> None:
    predicted, rated = batch()
    holes = rated.clone()
    holes[20:, 1] = torch.nan
    predicted.requires_grad_()
    value = of_batch(predicted, holes, LossSettings(pearson=0.1))
    value.sum().backward()
    assert predicted.grad is not None
    assert torch.equal(predicted.grad[:, 20:, 1], torch.zeros(2, 12))
    assert torch.isfinite(predicted.grad).all()
    one = of_batch(predicted.detach()[:, :20, 1:2], rated[:20, 1:2], CCC)
    alone = of_batch(predicted.detach()[:, :, 1:2], holes[:, 1:2], CCC)
    torch.testing.assert_close(one, alone)


@pytest.mark.parametrize("memory", [0, 1024])
def test_a_constant_rating_gives_gradients_only_with_memory(memory: int) -> None:
    settings = LossSettings(ccc=1.0, mse=0.0, memory_clips=memory)
    moments = Moments.start(1, 1, memory)
    predicted, rated = batch(models=1, clips=16, targets=1)
    loss(predicted, rated, moments, settings)
    predicted = predicted.clone().requires_grad_()
    loss(predicted, torch.zeros(16, 1), moments, settings).sum().backward()
    assert predicted.grad is not None
    # Without memory a batch of zeros has covariance 0 whatever is predicted: ccc = 0 / something, its slope is zero.
    assert bool((predicted.grad.abs() > 1e-6).any()) == (memory > 0)


def test_two_constant_columns_have_a_finite_loss_and_gradient() -> None:
    predicted = torch.zeros(1, 8, 2, requires_grad=True)
    value = of_batch(predicted, torch.zeros(8, 2), LossSettings(ccc=1, mse=1, pearson=1))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert predicted.grad is not None
    assert torch.isfinite(predicted.grad).all()


def test_running_moments_approach_those_of_all_clips() -> None:
    predicted, rated = batch(models=1, clips=4000, targets=1)
    moments = Moments.start(1, 1, 1000)
    for p, y in zip(predicted.split(16, 1), rated.split(16), strict=True):
        running = moments.update(p, y)
    exact = torch.stack([predicted[0].mean(), rated.mean(), (predicted[0] ** 2).mean()])
    torch.testing.assert_close(running[0, :3, 0], exact, atol=0.1, rtol=0)  # deviation / sqrt(1000) is about .03


def test_small_batches_with_memory_point_along_the_gradient_of_all_clips() -> None:
    generator = torch.Generator().manual_seed(0)
    features, truth = torch.randn(2048, 4, generator=generator), torch.randn(4, 1, generator=generator)
    rated = features @ truth + torch.randn(2048, 1, generator=generator)
    weight = torch.randn(4, 1, generator=generator).requires_grad_()
    (whole,) = torch.autograd.grad(of_batch((features @ weight)[None], rated, CCC).sum(), weight)
    angles = {}
    for memory in (0, 1024):
        moments, total = Moments.start(1, 1, memory), torch.zeros(4, 1)
        for x, y in zip(features.split(4), rated.split(4), strict=True):
            value = loss((x @ weight)[None], y, moments, LossSettings(ccc=1.0, mse=0.0, memory_clips=memory))
            total += torch.autograd.grad(value.sum(), weight)[0]
        angles[memory] = torch.cosine_similarity(total.flatten(), whole.flatten(), 0).item()
    assert angles[1024] > 0.995
    assert angles[1024] > angles[0]


def test_branches_are_judged_on_the_clips_that_have_the_modality() -> None:
    predicted = {"text": torch.zeros(2, 3, 1), "audio": torch.ones(2, 3, 1)}
    present = {"text": torch.tensor([True, False, True]), "audio": torch.tensor([False, False, False])}
    rated = torch.tensor([[1.0], [5.0], [torch.nan]])
    # text: (0 - 1)² over the one clip that has it and is rated; audio: nothing to judge
    assert branch_loss(predicted, present, rated).tolist() == [0.5, 0.5]


def test_the_weight_of_r_rises_to_its_full_value_and_stays() -> None:
    settings = LossSettings(ccc=0, mse=1, pearson=0.8, pearson_ramp=4)
    assert [round(ramped(settings, epoch).pearson, 6) for epoch in (0, 1, 3, 9)] == [0.2, 0.4, 0.8, 0.8]
    assert ramped(LossSettings(pearson=0.8), 0).pearson == 0.8
