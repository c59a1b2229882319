"""The shared encoder sees steps, not padding, and each of K models is the model it would be alone."""

import pytest
import torch

from mien.modalities.encoder import Encoder, Steps, mean_pool
from mien.modalities.stacked import Dropout, Linear, RngStreams, seeded

SEEDS = (3, 4)


def encoder(seeds: tuple[int, ...] = SEEDS, attention: bool = True) -> Encoder:
    return Encoder(RngStreams(seeds, "weights"), 5, 4, [0.5] * len(seeds), attention)


def steps(clips: int = 3, longest: int = 6, seed: int = 0) -> Steps:
    values = torch.randn(clips, longest, 5, generator=torch.Generator().manual_seed(seed))
    has = torch.arange(longest, longest - clips, -1)
    mask = torch.arange(longest) < has[:, None]
    return Steps(values * mask[..., None], mask)


@pytest.mark.parametrize("attention", [True, False])
def test_more_padding_does_not_change_the_embedding(attention: bool) -> None:
    given = steps()
    longer = Steps(
        torch.cat([given.values, torch.zeros(3, 4, 5)], 1),
        torch.cat([given.mask, torch.zeros(3, 4, dtype=torch.bool)], 1),
    )
    model = encoder(attention=attention)
    torch.testing.assert_close(model(given), model(longer))


@pytest.mark.parametrize("attention", [True, False])
def test_an_absent_clip_gets_zeros_and_no_gradient_is_lost_on_it(attention: bool) -> None:
    given = steps()
    here = torch.tensor([True, False, True])
    gone = Steps(given.values * here[:, None, None], given.mask & here[:, None])
    model = encoder(attention=attention)
    embedding = model(gone)
    assert torch.equal(embedding[:, 1], torch.zeros(2, 4))
    embedding.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert torch.equal(embedding[:, 0], model(given)[:, 0])


def test_attention_is_the_softmax_average_of_the_steps() -> None:
    model, given = encoder(), steps(clips=1, longest=4)
    assert model.pool is not None
    scores = given.values[0] @ model.pool.query[1]  # (T,)
    expected = torch.softmax(scores, 0) @ given.values[0]
    torch.testing.assert_close(model.pool(given)[1, 0], expected)


def test_mean_pooling_by_hand() -> None:
    given = Steps(torch.tensor([[[1.0], [3.0], [0.0]]]), torch.tensor([[True, True, False]]))
    assert mean_pool(given).item() == 2.0


def test_each_model_is_the_one_it_would_be_alone() -> None:
    together, alone = encoder((3, 4)), encoder((4,))
    torch.testing.assert_close(together(steps())[1], alone(steps())[0])
    chances = [RngStreams(seeds, "dropout") for seeds in ((3, 4), (4,))]
    torch.testing.assert_close(together(steps(), chances[0])[1], alone(steps(), chances[1])[0])


def test_dropout_drops_its_own_share_for_each_model_and_keeps_the_mean() -> None:
    x = torch.ones(3, 200, 200)
    dropped = Dropout([0.0, 0.3, 0.45])(x, RngStreams((0, 1, 2), "d"))
    shares = (dropped == 0).float().mean((1, 2))
    # 40,000 draws: a share's standard error is below .0025
    torch.testing.assert_close(shares, torch.tensor([0.0, 0.3, 0.45]), atol=0.01, rtol=0)
    torch.testing.assert_close(dropped.mean((1, 2)), torch.ones(3), atol=0.02, rtol=0)
    assert shares[0] == 0


def test_without_chance_nothing_is_dropped() -> None:
    x = torch.randn(1, 4, 4)
    assert Dropout([0.9])(x, None) is x


def test_linear_starts_in_the_bounds_of_torchs_own() -> None:
    layer = Linear(RngStreams((0,), "w"), 400, 100)
    assert layer.weight.abs().max() <= 1 / 20  # 1 / sqrt(400)
    # uniform in (-b, b) has deviation b / sqrt(3)
    assert layer.weight.std().item() == pytest.approx(1 / 20 / 3**0.5, rel=0.02)


def test_streams_differ_by_seed_and_purpose_and_continue_from_a_state() -> None:
    draws = [torch.rand(4, generator=seeded(*key)) for key in ((0, "a"), (1, "a"), (0, "b"))]
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    rng = RngStreams((0, 1), "x")
    state = rng.state()
    first = rng.uniform(3)
    rng.restore(state)
    assert torch.equal(first, rng.uniform(3))
