"""Every fusion head keeps what Fusion promises, and its parts agree with torch's own."""

import math
import re
from collections.abc import Mapping
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from mien.config import HeadName, Stage2Settings, read_settings
from mien.errors import SettingsError
from mien.modalities.encoder import Steps
from mien.modalities.stacked import RngStreams
from mien.model.fusion import Embedding, FusionHead, Head
from mien.model.heads import HEADS
from mien.model.heads.auxiliary import Auxiliary
from mien.model.heads.cross_attention import Attention
from mien.model.heads.gated import Gated
from mien.model.heads.late import Mean, WeightedLate
from mien.model.heads.lstm import LSTM
from mien.model.heads.steps import downsample, normalized
from mien.model.heads.temporal import Convolution, Temporal
from mien.model.modality_mask import FusionSpec

WIDTHS = {"text": 5, "audio": 7, "vision": 6, "motion": 4}
LONGEST = {"text": 3, "audio": 40, "vision": 9, "motion": 30}
TARGETS = 2
SEEDS = (3, 4)

every_head = pytest.mark.parametrize("name", HEADS)
either = pytest.mark.parametrize("missing", ["zero", "token"])


def head(name: str, missing: str = "zero", seeds: tuple[int, ...] = SEEDS, rate: float = 0.3) -> FusionHead:
    rates = [rate] * len(seeds)
    return HEADS[name](FusionSpec(RngStreams(seeds, "weights"), WIDTHS, 12, TARGETS, rates, rates, missing))  # type: ignore[arg-type]


def some_absent(clips: int = 12) -> Tensor:
    """Of these clips some lack one modality or more, the second all."""
    present = torch.rand(clips, len(WIDTHS), generator=torch.Generator().manual_seed(1)) < 0.6
    present[0], present[1] = True, False
    return present


def given(name: str, present: Tensor, filler: float = 0.0, models: int = 2) -> dict[str, Any]:
    """What a head reads; all the same features, and ``filler`` in place of what is absent."""
    generator = torch.Generator().manual_seed(0)
    made: dict[str, Any] = {}
    for m, (modality, width) in enumerate(WIDTHS.items()):
        here, longest = present[:, m, None], LONGEST[modality]
        values = torch.randn(len(present), longest, width, generator=generator)
        has = torch.randint(1, longest + 1, (len(present), 1), generator=generator)
        mask = torch.arange(longest) < has
        if HEADS[name].reads_steps:
            steps = torch.where(here[..., None], values * mask[..., None], filler)
            made[modality] = Steps(steps, mask & here)
        else:
            embedding = values[:, 0].expand(models, -1, -1)
            made[modality] = Embedding(torch.where(here, embedding, filler), present[:, m])
    return made


def at(inputs: Mapping[str, Any], index: Tensor) -> dict[str, Any]:
    """Some of the clips; steps then are padded no longer than those need."""
    chosen: dict[str, Any] = {}
    for name, part in inputs.items():
        if isinstance(part, Steps):
            longest = max(1, int(part.mask[index].sum(-1).max()))
            chosen[name] = Steps(part.values[index, :longest], part.mask[index, :longest])
        else:
            chosen[name] = Embedding(part.values[:, index], part.present[index])
    return chosen


def test_the_setting_allows_the_heads_of_the_table_and_no_others() -> None:
    assert get_args(HeadName) == tuple(HEADS)
    with pytest.raises(SettingsError, match=r"^stage2\.head: input should be 'concat', .*found 'concatt'"):
        read_settings(overrides=["stage2.head=concatt"])


def test_the_setting_names_the_heads_with_branches_of_their_own() -> None:
    description = (
        (Stage2Settings.model_fields["head"].description or "").replace("\n", " ").partition(" have branches")[0]
    )
    assert {name for name, head in HEADS.items() if head.reads_steps} == set(re.findall(r"``(\w+)``", description))


@every_head
def test_a_head_says_of_itself_what_others_ask_of_it(name: str) -> None:
    model = head(name)
    assert model.presence.modalities == tuple(WIDTHS)
    before = [parameter.clone() for parameter in model.parameters()]
    model.start_from({m: Head(RngStreams(SEEDS, m), width, TARGETS, [0.0, 0.0]) for m, width in WIDTHS.items()})
    changed = any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    said = model.auxiliary(given(name, some_absent()))
    assert changed == (type(model).start_from is not FusionHead.start_from)
    assert tuple(said) == (() if type(model).auxiliary is FusionHead.auxiliary else tuple(WIDTHS))
    assert all(score.shape == (len(SEEDS), 12, TARGETS) for score in said.values())


@every_head
@either
def test_a_head_that_is_saved_and_loaded_gives_the_same_bits(name: str, missing: str) -> None:
    saved, loaded = head(name, missing), head(name, missing, seeds=(5, 6))
    loaded.load_state_dict(saved.state_dict())
    inputs = given(name, some_absent())
    assert torch.equal(saved(inputs), loaded(inputs))


@every_head
@either
def test_each_model_is_the_one_it_would_be_alone(name: str, missing: str) -> None:
    present = some_absent()
    together, alone = head(name, missing, (3, 4)), head(name, missing, (4,))
    for mine, its in zip(alone.parameters(), together.parameters(), strict=True):
        assert torch.equal(mine[0], its[1])
    torch.testing.assert_close(together(given(name, present))[1], alone(given(name, present, models=1))[0])
    chances = [RngStreams(seeds, "dropout") for seeds in ((3, 4), (4,))]
    many, one = together(given(name, present), chances[0]), alone(given(name, present, models=1), chances[1])
    torch.testing.assert_close(many[1], one[0])
    assert not torch.allclose(many, together(given(name, present)))  # something was dropped


@every_head
@either
@pytest.mark.parametrize("filler", [1e6, math.nan])
def test_an_absent_modality_cannot_influence_the_score_nor_the_gradient(name: str, missing: str, filler: float) -> None:
    present, model = some_absent(), head(name, missing)
    results = []
    for value in (0.0, filler):
        score = model(given(name, present, value), RngStreams(SEEDS, "dropout"))
        gradient = torch.autograd.grad(score.square().sum(), list(model.parameters()), materialize_grads=True)
        results.append((model(given(name, present, value)), score, *gradient))
    for plain, filled in zip(*results, strict=True):
        assert torch.isfinite(plain).all()
        assert torch.equal(plain, filled)


@every_head
@either
def test_a_clips_score_does_not_depend_on_its_batch(name: str, missing: str) -> None:
    inputs, model = given(name, some_absent()), head(name, missing)
    scores = model(inputs)
    order = torch.randperm(scores.shape[1], generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(model(at(inputs, order)), scores[:, order])
    for clip in range(scores.shape[1]):
        torch.testing.assert_close(model(at(inputs, torch.tensor([clip]))), scores[:, clip : clip + 1])


@pytest.mark.parametrize("name", [name for name, head in HEADS.items() if head.reads_steps])
def test_more_padding_does_not_change_the_score(name: str) -> None:
    inputs, model = given(name, some_absent()), head(name)
    longer = {
        modality: Steps(nn.functional.pad(steps.values, (0, 0, 0, 50)), nn.functional.pad(steps.mask, (0, 50)))
        for modality, steps in inputs.items()
    }
    torch.testing.assert_close(model(longer), model(inputs))


@every_head
@either
def test_every_parameter_learns(name: str, missing: str) -> None:
    model, inputs = head(name, missing), given(name, some_absent(48))
    loss = model(inputs, RngStreams(SEEDS, "dropout")).square().sum()
    loss = loss + sum(score.square().sum() for score in model.auxiliary(inputs).values())
    loss.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.flatten(1).any(-1).all(), key  # every model's share


@every_head
def test_a_planted_signal_is_fitted(name: str) -> None:
    present = torch.ones(48, len(WIDTHS), dtype=torch.bool)
    inputs, model = given(name, present), head(name, rate=0.0)
    known = [
        normalized(Steps((x.values.sum(1) / x.mask.sum(1, keepdim=True))[:, None], x.mask))[:, 0]
        if isinstance(x, Steps)
        else x.values[0]
        for x in (inputs["text"], inputs["vision"])
    ]
    wanted = torch.stack([known[0][:, 0] - known[0][:, 2], known[1][:, 1]], -1)  # one emotion per modality
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.05)
    losses = []
    for _ in range(40):
        loss = (model(inputs) - wanted).square().mean((1, 2))
        losses.append(loss.detach())
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
    assert (losses[-1] < 0.4 * losses[0]).all()


@every_head
def test_what_a_clip_without_anything_gets_is_the_same_for_all_such_clips(name: str) -> None:
    scores = head(name)(given(name, torch.zeros(3, len(WIDTHS), dtype=torch.bool)))
    torch.testing.assert_close(scores, scores[:, :1].expand(-1, 3, -1))


def test_segments_by_hand() -> None:
    values = torch.arange(1.0, 8.0).expand(2, -1)[..., None]  # 1 … 7
    has = torch.tensor([[7], [2]])
    mask = torch.arange(7) < has
    thin = downsample(Steps(values * mask[..., None], mask), 3)
    # 7 steps in 3 segments: step i is in segment 3 i // 7, so they are 1 2 3 | 4 5 | 6 7
    torch.testing.assert_close(thin.values[..., 0], torch.tensor([[2.0, 4.5, 6.5], [1.0, 2.0, 0.0]]))
    assert thin.mask.tolist() == [[True] * 3, [True, True, False]]


def test_few_steps_stay_as_they_are_and_thinning_twice_is_thinning_once() -> None:
    steps = given("recurrent", torch.ones(6, 4, dtype=torch.bool))
    short, long = steps["vision"], downsample(steps["audio"])
    assert long.values.shape[1] == 24
    for once in (short, long):
        again = downsample(once)
        assert torch.equal(again.values, once.values)
        assert torch.equal(again.mask, once.mask)


def test_the_lstm_is_torchs() -> None:
    model = LSTM(RngStreams(SEEDS, "w"), 5, 3)
    x = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    has = torch.tensor([6, 4, 1, 0])
    mask = torch.arange(6) < has[:, None]
    states = [model(x, mask), model(x, mask, backward=True)]
    for k in range(2):
        oracle = nn.LSTM(5, 3, batch_first=True)
        oracle.load_state_dict({
            "weight_ih_l0": model.input.weight[k].T,
            "weight_hh_l0": model.recurrent[k].T,
            "bias_ih_l0": model.input.bias[k, 0],
            "bias_hh_l0": torch.zeros(12),
        })  # fmt: skip
        for clip, n in enumerate(has[:3].tolist()):
            expected, (last, _) = oracle(x[k, clip : clip + 1, :n])
            torch.testing.assert_close(states[0][k, clip, :n], expected[0])
            torch.testing.assert_close(states[0][k, clip, -1], last[0, 0])
            expected, _ = oracle(x[k, clip : clip + 1, :n].flip(1))
            torch.testing.assert_close(states[1][k, clip, :n], expected[0].flip(0))
    assert not states[0][:, 3].any()


def test_the_convolution_is_torchs() -> None:
    model = Convolution(RngStreams(SEEDS, "w"), 4, 2, [0.0, 0.0])
    x = torch.randn(2, 3, 7, 4, generator=torch.Generator().manual_seed(0))
    result = model(x, torch.ones(3, 7, dtype=torch.bool), None)
    for k in range(2):
        taps = model.linear.weight[k].view(3, 4, 4).permute(2, 1, 0)  # (taps, in, out) → (out, in, taps)
        heard = nn.functional.conv1d(x[k].transpose(1, 2), taps, model.linear.bias[k, 0], padding=2, dilation=2)
        torch.testing.assert_close(result[k], x[k] + nn.functional.gelu(heard).transpose(1, 2))


def test_attention_is_torchs_with_keys_and_values_written_out() -> None:
    model = Attention(RngStreams(SEEDS, "w"), 8, 6)
    steps = given("recurrent", torch.ones(3, 4, dtype=torch.bool))["vision"]
    query = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    result = model(query, steps)
    for k in range(2):
        asked, keys, answers = (
            x.unflatten(-1, (4, 2)).transpose(1, 2)  # (B, heads, steps, 2)
            for x in (model.query(query)[k, :, None], normalized(steps) @ model.key[k],
                      normalized(steps) @ model.value.weight[k] + model.value.bias[k])
        )  # fmt: skip
        expected = nn.functional.scaled_dot_product_attention(asked, keys, answers, steps.mask[:, None, None])
        torch.testing.assert_close(result[k], expected.transpose(1, 2).flatten(1))


def test_equal_gates_average_what_is_there() -> None:
    model, present = head("gated"), some_absent()
    assert isinstance(model, Gated)
    model.gate.weight.data.zero_()
    model.gate.bias.data.zero_()
    inputs = given("gated", present)
    common = torch.stack([torch.tanh(model.project[name](part.values)) for name, part in inputs.items()], 2)
    scores = model(inputs)
    for clip in (0, 2, 3):  # the second has nothing to average
        torch.testing.assert_close(scores[:, [clip]], model.out(common[:, [clip]][:, :, present[clip]].mean(2)))


@pytest.mark.parametrize("kind", [Mean, WeightedLate])
def test_late_fusion_starts_as_the_mean_of_the_unimodal_models(kind: type[Mean]) -> None:
    present = some_absent()
    inputs = given("mean", present)
    heads = {
        name: Head(RngStreams(SEEDS, f"{name} alone"), width, TARGETS, [0.0, 0.0]) for name, width in WIDTHS.items()
    }
    model = kind(FusionSpec(RngStreams(SEEDS, "w"), WIDTHS, 12, TARGETS, [0.0, 0.0], [0.0, 0.0], "zero"))
    model.start_from(heads)
    alone = torch.stack([heads[name](part.values) for name, part in inputs.items()], 2)  # (K, B, M, E)
    scores = model(inputs)
    for clip in range(len(present)):
        counted = present[clip] if present[clip].any() else torch.ones(len(WIDTHS), dtype=torch.bool)
        torch.testing.assert_close(scores[:, clip], alone[:, clip, counted].mean(1))
    heads["text"].linear.bias.data += 1  # a copy: what becomes of the heads of stage 1 does not matter
    assert torch.equal(model(inputs), scores)


def test_late_weights_by_hand() -> None:
    model = WeightedLate(FusionSpec(RngStreams((0,), "w"), {"text": 2, "audio": 2}, 1, 2, [0.0], [0.0], "zero"))
    model.logits.data[0] = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    # both there: 3 : 1 for the first emotion and 1 : 1 for the second; only audio there: all of it
    weights = model.weights(torch.tensor([[[True, True], [False, True]]]))[0]
    torch.testing.assert_close(weights[0], torch.tensor([[0.75, 0.5], [0.25, 0.5]]))
    torch.testing.assert_close(weights[1], torch.tensor([[0.0, 0.0], [1.0, 1.0]]))


def test_a_dropped_modality_leaves_its_weight_to_the_others() -> None:
    # all regressors say 1, whatever they read: so must every average, with and without modality dropout
    model = WeightedLate(FusionSpec(RngStreams(SEEDS, "w"), WIDTHS, 12, TARGETS, [0.0, 0.0], [0.5, 0.5], "zero"))
    for name, parameter in model.named_parameters():
        parameter.data.fill_(float(name.endswith("bias")))
    inputs = given("late", some_absent())
    for rng in (None, RngStreams(SEEDS, "c")):
        torch.testing.assert_close(model(inputs, rng), torch.ones(2, 12, TARGETS))


def test_auxiliary_heads_leave_the_score_of_fusion_alone() -> None:
    inputs = given("auxiliary", some_absent())
    model = head("auxiliary")
    assert isinstance(model, Auxiliary)
    assert torch.equal(model(inputs, RngStreams(SEEDS, "c")), head("concat")(inputs, RngStreams(SEEDS, "c")))
    said = model.auxiliary(inputs)
    assert list(said) == list(WIDTHS)
    text = model.heads["text"]
    assert isinstance(text, Head)
    torch.testing.assert_close(said["text"][:, 0], text(inputs["text"].values)[:, 0])
    torch.testing.assert_close(said["text"][:, 1], text.linear.bias[:, 0])  # the second clip lacks everything


def test_the_first_modality_is_the_query_where_there_is_no_text() -> None:
    widths = {"audio": 7, "vision": 6}
    model = HEADS["cross_attention"](
        FusionSpec(RngStreams(SEEDS, "w"), widths, 12, TARGETS, [0.0, 0.0], [0.0, 0.0], "token")
    )
    inputs = given("cross_attention", some_absent())
    assert model.query_modality == "audio"
    assert model({name: inputs[name] for name in widths}).shape == (2, 12, TARGETS)


def test_quality_weights_move_between_the_modalities_that_are_there() -> None:
    model = head("temporal")
    assert isinstance(model, Temporal)
    inputs = given("temporal", torch.ones(4, len(WIDTHS), dtype=torch.bool))
    before = model(inputs)
    bias = model.get_submodule("quality.audio").bias
    assert isinstance(bias, Tensor)
    bias.data += 50  # all weight to audio: the others are nothing
    after, only = model(inputs), dict(inputs)
    for name in ("text", "vision", "motion"):
        only[name] = Steps(torch.zeros_like(inputs[name].values), torch.zeros_like(inputs[name].mask))
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, model(only))
