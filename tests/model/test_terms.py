"""Further terms of the loss are the published formulas, K models at once, on the clips that have both modalities."""

import math

import pytest
import torch

from mien.config import read_settings
from mien.model.alignment import TEMPERATURE, Aligned
from mien.model.network import ModelSpec, Unimodal
from mien.model.terms import MARGIN, contrastive, triplet

EVERY = torch.tensor([True, True, True])


def test_contrastive_by_hand() -> None:
    first = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[1.0, 0.0], [3.0, 0.0]]])
    second = torch.tensor([[[5.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    scale = torch.full((2, 1, 1), math.log(3.0))
    # model 0: cosines are 1 of a pair and 0 of others, times ln 3: -ln(3 / (3 + 1)) in either direction;
    # model 1: all cosines are 1, so that one of two is right by chance: ln 2
    expected = torch.tensor([math.log(4 / 3), math.log(2)])
    torch.testing.assert_close(contrastive(first, second, EVERY[:2], scale), expected)


def test_contrastive_is_the_cross_entropy_of_both_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 3, 9, 5, generator=generator)
    scale = torch.tensor([1.0, 7.0, 100.0])[:, None, None]
    found = contrastive(first, second, torch.ones(9, dtype=torch.bool), scale)
    for k in range(3):
        a, b = (torch.nn.functional.normalize(part[k], dim=-1) for part in (first, second))
        both = [torch.nn.functional.cross_entropy(scale[k] * x, torch.arange(9)) for x in (a @ b.T, b @ a.T)]
        torch.testing.assert_close(found[k], sum(both) / 2)


def test_triplets_by_hand() -> None:
    words = torch.tensor([[2.0, 0.0], [0.8, 0.6], [0.0, 1.0]])  # cosines .8 (0, 1), .6 (1, 2), 0 (0, 2)
    crossed = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    # squared distances 2 (0, 1), 2 (1, 2), 0 (0, 2). Clip 0: positive 1, negative 2, 2 - 0 + .2; clip 1: positive 0,
    # negative 2, 2 - 2 + .2; clip 2: positive 1, negative 0, 2 - 0 + .2. As the words: .4 - 2, .4 - .8, .8 - 2 + .2 < 0
    found = triplet(torch.stack([crossed, words]), words, EVERY)
    torch.testing.assert_close(found, torch.tensor([(2.2 + 0.2 + 2.2) / 3, 0.0]))


def slow_triplet(embeddings: torch.Tensor, words: torch.Tensor) -> float:
    """One model, clip by clip."""
    points = torch.nn.functional.normalize(embeddings, dim=-1)
    losses = []
    for i in range(len(words)):
        alike = {j: torch.cosine_similarity(words[i], words[j], 0).item() for j in range(len(words)) if j != i}
        order = sorted(alike, key=lambda j: -alike[j])
        near = (points[i] - points[order[0]]).square().sum()
        for j in order[len(words) // 2 :]:
            if alike[j] < alike[order[0]] - 1e-6:
                losses.append(max(0.0, (near - (points[i] - points[j]).square().sum() + MARGIN).item()))
    return sum(losses) / max(1, len(losses))


@pytest.mark.parametrize("count", [3, 8, 21])
def test_triplets_are_those_of_a_loop_over_clips(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    embeddings, words = torch.randn(2, count, 6, generator=generator), torch.randn(count, 4, generator=generator)
    found = triplet(embeddings, words, torch.ones(count, dtype=torch.bool))
    torch.testing.assert_close(found, torch.tensor([slow_triplet(one, words) for one in embeddings]))


def test_clips_with_the_same_words_are_never_pushed_apart() -> None:
    words = torch.tensor([[1.0, 0.0]]).repeat(5, 1)
    assert triplet(torch.randn(2, 5, 3), words, torch.ones(5, dtype=torch.bool)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("filler", [0.0, 1e6, math.nan])
def test_a_clip_that_lacks_a_modality_counts_in_no_term(filler: float) -> None:
    generator = torch.Generator().manual_seed(1)
    first, second = torch.randn(2, 2, 6, 4, generator=generator)
    words, scale = torch.randn(6, 5, generator=generator), torch.full((2, 1, 1), 3.0)
    both = torch.tensor([True, False, True, True, True, False])
    for part in (first, second, words):
        part[..., ~both, :] = filler
    leaf = first.requires_grad_()
    for found, alone in (
        (contrastive(leaf, second, both, scale), contrastive(first[:, both], second[:, both], both[both], scale)),
        (triplet(leaf, words, both), triplet(first[:, both], words[both], both[both])),
    ):
        torch.testing.assert_close(found, alone)
        (gradient,) = torch.autograd.grad(found.sum(), leaf)
        assert torch.isfinite(gradient).all()
        assert not gradient[:, ~both].any()


def test_too_few_clips_give_no_loss() -> None:
    one = torch.tensor([True, False, False])
    assert contrastive(torch.ones(2, 3, 4), torch.ones(2, 3, 4), one, torch.ones(2, 1, 1)).tolist() == [0.0, 0.0]
    assert triplet(torch.ones(2, 3, 4), torch.ones(3, 4), torch.tensor([True, True, False])).tolist() == [0.0, 0.0]


def test_the_text_encoder_beside_does_not_change_the_first_weights_of_the_model() -> None:
    stage = read_settings(overrides=["stage1.embedding=8", "stage1.motion_embedding=4"]).stage1
    models = (ModelSpec(0, 1e-3, 0.0, 0.4), ModelSpec(1, 1e-3, 0.0, 0.4))
    plain, other = (Unimodal("motion", 5, 2, stage, models) for _ in range(2))
    aligned = Aligned(other, "text", 6, stage, models)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), aligned.unimodal.parameters(), strict=True))
    sizes = {group.name: group.size for group in aligned.groups()}
    assert sum(sizes.values()) == sum(p[0].numel() for p in aligned.parameters())
    torch.testing.assert_close(aligned.log_scale.exp(), torch.full((2, 1, 1), 1 / TEMPERATURE))
    assert {group.name for group in aligned.groups() if not group.decays} == {"temperature"}
