"""Modality dropout keeps one, scales the rest, and what is missing cannot speak."""

import math
from itertools import product

import pytest
import torch

from mien.modalities.stacked import RngStreams
from mien.model.fusion import Embedding, Fusion
from mien.model.modality_mask import FusionSpec, keep_modalities

WIDTHS = {"text": 3, "audio": 4, "vision": 2}


def fusion(missing: str, seeds: tuple[int, ...] = (0, 1), rate: float = 0.3) -> Fusion:
    models = len(seeds)
    return Fusion(FusionSpec(RngStreams(seeds, "w"), WIDTHS, 8, 2, [0.0] * models, [rate] * models, missing))  # type: ignore[arg-type]


def embeddings(present: torch.Tensor, models: int = 2, filler: float = 0.0) -> dict[str, Embedding]:
    generator = torch.Generator().manual_seed(0)
    made = {}
    for m, (name, width) in enumerate(WIDTHS.items()):
        values = torch.randn(models, len(present), width, generator=generator)
        made[name] = Embedding(torch.where(present[:, m, None], values, filler), present[:, m])
    return made


def regressed(model: Fusion, fused: torch.Tensor) -> torch.Tensor:
    layers = model.regressor
    return layers.out(torch.nn.functional.gelu(layers.hidden(layers.norm(fused))))


def test_every_clip_keeps_a_modality_that_it_has() -> None:
    present = torch.tensor(list(product([True, False], repeat=4))).repeat(200, 1)
    kept = keep_modalities(present, torch.tensor([0.3, 0.95]), RngStreams((0, 1), "m"))
    assert not (kept & ~present).any()
    assert torch.equal(kept.any(-1), present.any(-1).expand(2, -1))


def test_modalities_are_dropped_as_often_as_asked() -> None:
    present = torch.ones(40_000, 3, dtype=torch.bool)
    kept = keep_modalities(present, torch.tensor([0.3]), RngStreams((0,), "m")).float().mean((0, 1))
    # dropped with .3, except that where all three are (.3³) one of them stays: 1 - .3 + .3³ / 3 = .709
    torch.testing.assert_close(kept, torch.full((3,), 0.709), atol=0.01, rtol=0)


@pytest.mark.parametrize("missing", ["zero", "token"])
def test_an_absent_modality_even_all_nan_cannot_influence_the_score(missing: str) -> None:
    present = torch.tensor([[True, False, True], [True, True, False], [False, False, True]])
    model = fusion(missing)
    plain, filled = (model(embeddings(present, filler=x)) for x in (0.0, math.nan))
    assert torch.equal(plain, filled)


def test_survivors_are_scaled_up_in_training_only() -> None:
    present = torch.ones(50, 3, dtype=torch.bool)
    model, given = fusion("zero"), embeddings(present)
    kept = keep_modalities(present, model.presence.modality_rate, RngStreams((0, 1), "m"))
    by_hand = torch.cat([torch.where(kept[..., m, None], given[n].values / 0.7, 0) for m, n in enumerate(WIDTHS)], -1)
    expected = regressed(model, by_hand)
    torch.testing.assert_close(model(given, RngStreams((0, 1), "m")), expected)
    whole = torch.cat([given[name].values for name in WIDTHS], -1)
    torch.testing.assert_close(model(given), regressed(model, whole))


def test_a_token_stands_where_a_modality_is_missing() -> None:
    present = torch.tensor([[True, False, True]])
    model, given = fusion("token"), embeddings(present)
    assert model.presence.tokens is not None
    parts = [given["text"].values, model.presence.tokens["audio"], given["vision"].values]
    torch.testing.assert_close(model(given), regressed(model, torch.cat(parts, -1)))
