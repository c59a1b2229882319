"""K models at once are K models; a killed training goes on to the same bits; only what may move moves."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.config import Settings, read_settings
from mien.errors import MienError
from mien.modalities.stacked import RngStreams
from mien.model.embeddings import hidden_all
from mien.model.inputs import ClipDataset, PackedSteps, predict_all
from mien.model.network import FrozenEncoders, ModelSpec, Multimodal, Unimodal
from mien.training.batches import batch_order
from mien.training.fit import Epoch, fit
from mien.training.parameters import Optimiser, ParameterMatrix
from mien.training.schedule import EpochPlan, Progress
from mien.training.stage1 import TrainContext
from mien.training.stage2 import train_fusion
from mien.training.state import TrainingJob

SMALL = [
    "stage1.embedding=8",
    "stage1.motion_embedding=4",
    "stage2.hidden=8",
    "stage1.batch_size=16",
    "stage2.batch_size=16",
]
SETTINGS = read_settings(overrides=SMALL)
VARIANTS = (
    ModelSpec(0, 1e-3, 1e-2, 0.45, 0.3),
    ModelSpec(1, 1e-3, 1e-2, 0.45, 0.3),
    ModelSpec(2, 5e-3, 1e-1, 0.1, 0.0),
)


def clips(count: int = 60, seed: int = 0) -> ClipDataset:
    generator = torch.Generator().manual_seed(seed)
    signal = torch.randn(count, 2, generator=generator)
    parts = {}
    for name, width in (("text", 6), ("audio", 7), ("motion", 5)):
        has = (
            torch.ones(count, dtype=torch.long)
            if name == "text"
            else torch.randint(0, 6, (count,), generator=generator)
        )
        begins = torch.cumsum(has, 0) - has
        noise = torch.randn(int(has.sum()), width, generator=generator)
        parts[name] = PackedSteps(signal.repeat_interleave(has, 0) @ torch.ones(2, width) + noise, begins, has)
    labels = signal + 0.5 * torch.randn(count, 2, generator=generator)
    return ClipDataset(parts, labels, torch.float32)


def multimodal(models: tuple[ModelSpec, ...], settings: Settings = SETTINGS) -> TrainingJob:
    data = clips()
    module = Multimodal({n: s.values.shape[1] for n, s in data.modalities.items()}, 2, settings, models)
    groups = module.groups(settings.stage2)
    return TrainingJob("stage2", module, groups, models, data, clips(40, 1), settings.stage2, epochs=6)


def unimodal(models: tuple[ModelSpec, ...]) -> TrainingJob:
    module = Unimodal("audio", 7, 2, SETTINGS.stage1, models)
    return TrainingJob("audio", module, module.groups(), models, clips(), clips(40, 1), SETTINGS.stage1, epochs=6)


def weights(job: TrainingJob) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in job.module.parameters()]


def curve(epochs: list[Epoch]) -> np.ndarray:
    return np.stack([epoch.mean_r for epoch in epochs])


@pytest.mark.parametrize("make", [unimodal, multimodal])
def test_models_trained_at_once_equal_models_trained_alone(make) -> None:
    together = make(VARIANTS)
    seen = curve(list(fit(together)))
    for k, variant in enumerate(VARIANTS):
        alone = make((variant,))
        np.testing.assert_allclose(seen[:, k], curve(list(fit(alone)))[:, 0], atol=1e-4)
        for ours, own in zip(weights(together), weights(alone), strict=True):
            torch.testing.assert_close(ours[k], own[0], atol=1e-4, rtol=1e-3)


def impatient(models: tuple[ModelSpec, ...]) -> TrainingJob:
    """Models that stop one after the other: the third, at five times the rate, before the others."""
    stage = SETTINGS.stage2.model_copy(update={"patience": 1, "ema": 0.5})
    return replace(multimodal(models, SETTINGS.model_copy(update={"stage2": stage})), epochs=30)


def test_a_model_that_has_stopped_leaves_and_the_others_go_on_as_if_alone() -> None:
    together = impatient(VARIANTS)
    epochs = list(fit(together))
    lasted = np.isfinite(curve(epochs)).sum(0)
    assert len(set(lasted)) > 1
    assert [bool(epoch.stopped[k]) for k, last in enumerate(lasted) for epoch in epochs[last - 1 : last]] == [True] * 3
    for k, variant in enumerate(VARIANTS):
        alone = impatient((variant,))
        own = curve(list(fit(alone)))[:, 0]
        np.testing.assert_allclose(curve(epochs)[: len(own), k], own, atol=1e-4)
        assert len(own) == lasted[k]
        for ours, theirs in zip(weights(together), weights(alone), strict=True):
            torch.testing.assert_close(ours[k], theirs[0], atol=1e-4, rtol=1e-3)


def test_a_training_killed_after_some_have_stopped_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = impatient(VARIANTS)
    expected = list(fit(whole))
    lasted = np.isfinite(curve(expected)).sum(0)
    for stop in (int(lasted.min()), int(lasted.max())):  # some, and all, after which the model was not saved yet
        path = tmp_path / f"{stop}.safetensors"
        for epoch in fit(replace(impatient(VARIANTS), checkpoint=path, checkpoint_seconds=0.0)):
            if epoch.number == stop:
                break
        resumed = replace(impatient(VARIANTS), checkpoint=path, checkpoint_seconds=1e9)
        rest = list(fit(resumed))
        assert len(rest) == len(expected) - stop
        np.testing.assert_array_equal(curve([*expected[:stop], *rest]), curve(expected))
        assert all(torch.equal(a, b) for a, b in zip(weights(resumed), weights(whole), strict=True))
        assert resumed.history is not None and whole.history is not None
        np.testing.assert_array_equal(resumed.history.best, whole.history.best)


def test_the_same_seed_gives_the_same_bits_and_another_gives_others() -> None:
    runs = [unimodal(models) for models in (VARIANTS[:1], VARIANTS[:1], VARIANTS[1:2])]
    for job in runs:
        list(fit(job))
    first, again, other = map(weights, runs)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_training_that_was_killed_goes_on_to_the_same_bits(tmp_path: Path, ema: float) -> None:
    settings = SETTINGS.model_copy(update={"stage2": SETTINGS.stage2.model_copy(update={"ema": ema})})
    whole = multimodal(VARIANTS, settings)
    expected = list(fit(whole))
    for stop in (1, 4):
        path = tmp_path / f"{stop}.safetensors"
        killed = replace(multimodal(VARIANTS, settings), checkpoint=path, checkpoint_seconds=0.0)
        for epoch in fit(killed):
            if epoch.number == stop:
                break
        resumed = replace(multimodal(VARIANTS, settings), checkpoint=path, checkpoint_seconds=1e9)
        rest = list(fit(resumed))
        assert [epoch.number for epoch in rest] == list(range(stop + 1, 7))
        assert np.array_equal(curve(rest), curve(expected)[stop:])
        assert all(torch.equal(a, b) for a, b in zip(weights(resumed), weights(whole), strict=True))


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_training_repeated_by_its_plan_ends_with_the_weights_that_were_best(tmp_path: Path, ema: float) -> None:
    """Without validation clips, and when killed: the epochs and the rates of each model are those of the plan."""
    changes = {"patience": 12, "plateau_patience": 0, "ema": ema, "plateau_factor": 0.7}
    stage = SETTINGS.stage2.model_copy(update=changes)

    def job(models: tuple[ModelSpec, ...]) -> TrainingJob:
        return replace(multimodal(models, SETTINGS.model_copy(update={"stage2": stage})), epochs=40)

    slow = tuple(replace(variant, lr=variant.lr / 5) for variant in VARIANTS[1:])
    for models, exact in ((slow[:1], True), (slow, False)):  # dropped models change rounding
        chosen = job(models)
        list(fit(chosen))
        assert chosen.history is not None
        plan = EpochPlan.read(chosen.history.plan.record())
        assert plan.epochs.min() > 2 and plan.factors[plan.epochs[0] - 1, 0] < 1  # the plan has something to repeat
        path = tmp_path / f"{len(models)}.safetensors"
        for epoch in fit(replace(job(models), valid=None, plan=plan, checkpoint=path, checkpoint_seconds=0.0)):
            if epoch.number == 2:
                break
        repeated = replace(job(models), valid=None, plan=plan, checkpoint=path, checkpoint_seconds=1e9)
        assert len(list(fit(repeated))) == plan.epochs.max() - 2
        for ours, theirs in zip(weights(repeated), weights(chosen), strict=True):
            torch.testing.assert_close(
                ours, theirs, **({"atol": 0, "rtol": 0} if exact else {"atol": 1e-4, "rtol": 1e-3})
            )


def test_a_plan_of_no_epochs_leaves_the_initial_weights() -> None:
    job = replace(unimodal(VARIANTS), valid=None, plan=EpochPlan(np.array([0, 2, 0]), np.ones((2, 3))))
    before = weights(job)
    assert [epoch.stopped.tolist() for epoch in fit(job)] == [[True, False, True], [True] * 3]
    for old, new in zip(before, weights(job), strict=True):
        assert torch.equal(old[0], new[0]) and torch.equal(old[2], new[2]) and not torch.equal(old[1], new[1])


def test_the_history_of_a_training_has_the_best_epoch_and_the_rate_of_every_epoch() -> None:
    job = impatient(VARIANTS)
    epochs = list(fit(job))
    assert job.history is not None
    np.testing.assert_array_equal(job.history.r, curve(epochs))
    np.testing.assert_array_equal(job.history.best, np.nan_to_num(curve(epochs), nan=-1).argmax(0) + 1)
    np.testing.assert_allclose(job.history.factors * [v.lr for v in VARIANTS], np.stack([e.lr for e in epochs]))


@pytest.mark.parametrize("adaptation", ["frozen", "encoder", "joint"])
def test_every_trainable_parameter_is_stepped_and_no_frozen_one_moves(adaptation: str) -> None:
    settings = read_settings(overrides=[*SMALL, f"stage2.adaptation={adaptation}", "stage2.missing=token"])
    job = multimodal(VARIANTS, settings)
    before = {name: parameter.detach().clone() for name, parameter in job.module.named_parameters()}
    state_of = dict(job.module.named_parameters())
    list(fit(replace(job, epochs=1)))
    moved = {name for name, parameter in state_of.items() if not torch.equal(parameter, before[name])}
    may = {name for name in before if adaptation != "frozen" or name.startswith("fusion")}
    assert moved == may
    assert any("encoders.motion" in name for name in before)


def test_encoders_follow_at_their_share_of_the_rate() -> None:
    rates = {group.name: group.rate for group in multimodal(VARIANTS).groups}
    assert rates == {"encoder.text": 0.05, "encoder.audio": 0.05, "encoder.motion": 0.05, "fusion": 1.0}


def test_the_best_weights_are_those_kept() -> None:
    job = unimodal(VARIANTS)
    seen = curve(list(fit(job)))
    again = replace(job, epochs=1)
    from mien.metrics import mean_defined, pearson
    from mien.model.inputs import predict_all

    r = mean_defined(pearson(predict_all(again.module, again.valid), again.valid.labels.numpy()))
    np.testing.assert_allclose(r, seen.max(0), atol=1e-6)


def test_gradients_are_clipped_model_by_model_over_trainable_parameters_only() -> None:
    job = unimodal(VARIANTS)
    whole = ParameterMatrix(job.groups)
    whole.gradients.fill_(1.0)
    whole.gradients[0] *= 1e-6
    size = whole.values.shape[1]
    norms = whole.clip(1.0)
    torch.testing.assert_close(norms, torch.tensor([1e-6, 1.0, 1.0]) * size**0.5)
    after = torch.linalg.vector_norm(whole.gradients, dim=1)
    torch.testing.assert_close(after, torch.tensor([1e-6 * size**0.5, 1.0, 1.0]), rtol=1e-4, atol=1e-7)


def test_weights_of_layers_do_not_decay() -> None:
    groups = Unimodal("text", 14, 2, SETTINGS.stage1, VARIANTS[:1], layers=2).groups()
    values = {group.name: [parameter.detach().clone().fill_(1.0) for parameter in group.parameters] for group in groups}
    for group in groups:
        for parameter in group.parameters:
            parameter.data.fill_(1.0)
    optimiser = Optimiser(ParameterMatrix(groups), VARIANTS[:1])
    optimiser.step([1.0])  # the gradient is zero
    for group in groups:
        shrunk = 1.0 if group.name == "layers.text" else 1 - VARIANTS[0].lr * VARIANTS[0].weight_decay
        for parameter, before in zip(group.parameters, values[group.name], strict=True):
            torch.testing.assert_close(parameter.data, before * shrunk)
    assert "layers.text" in values


def test_one_step_is_that_of_torchs_adamw() -> None:
    job = unimodal(VARIANTS[:1])
    copy = [p.detach()[0].clone().requires_grad_() for g in job.groups for p in g.parameters]
    whole = ParameterMatrix(job.groups)
    optimiser = Optimiser(whole, job.models)
    plain = torch.optim.AdamW(copy, lr=1e-3, weight_decay=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        whole.gradients.copy_(torch.randn(whole.gradients.shape, generator=generator))
        begin = 0
        for parameter in copy:
            parameter.grad = whole.gradients[0, begin : begin + parameter.numel()].view(parameter.shape).clone()
            begin += parameter.numel()
        optimiser.step([1.0])
        plain.step()
    torch.testing.assert_close(whole.values[0], torch.cat([parameter.detach().flatten() for parameter in copy]))


def test_plateaus_are_those_of_torch() -> None:
    settings = SETTINGS.stage1.model_copy(update={"patience": 0, "plateau_patience": 3})
    parameter = torch.nn.Parameter(torch.zeros(1))
    adam = torch.optim.SGD([parameter], lr=1.0)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        adam, mode="max", factor=0.5, patience=3, threshold=1e-4, threshold_mode="abs"
    )
    ours = Progress.start(1)
    for r in np.random.default_rng(0).random(60).cumsum() % 1.3:
        torchs.step(float(r))
        ours.update(torch.tensor([r]), settings)
        assert ours.factor.item() == adam.param_groups[0]["lr"]


def test_a_model_stops_on_its_own_and_keeps_its_best() -> None:
    settings = SETTINGS.stage1.model_copy(update={"patience": 2})
    progress = Progress.start(2)
    for r in ([0.3, 0.1], [0.2, 0.2], [0.1, 0.3], [0.9, 0.4]):
        progress.update(torch.tensor(r), settings)
    assert progress.stopped.tolist() == [1, 0]  # the first had no better r in epochs 2 and 3; .9 comes too late
    torch.testing.assert_close(progress.best, torch.tensor([0.3, 0.4], dtype=torch.float64), atol=1e-6, rtol=0)


def test_an_undefined_r_is_an_error_that_says_what_to_look_at() -> None:
    job = unimodal(VARIANTS[:1])
    unrated = ClipDataset(job.valid.modalities, torch.full_like(job.valid.labels, torch.nan), torch.float32)
    with pytest.raises(MienError, match="no validation r is defined"):
        list(fit(replace(job, valid=unrated, epochs=2)))


def test_a_diverging_model_does_not_touch_its_neighbours() -> None:
    wild = replace(VARIANTS[1], lr=1e30)
    together, alone = unimodal((VARIANTS[0], wild)), unimodal(VARIANTS[:1])
    seen = curve(list(fit(together)))
    np.testing.assert_allclose(seen[:, 0], curve(list(fit(alone)))[:, 0], atol=1e-4)


def test_an_epoch_holds_every_clip_once_in_batches_of_similar_size() -> None:
    sizes = torch.randint(1, 1000, (6400,), generator=torch.Generator().manual_seed(0))
    batches = batch_order(sizes, 32, torch.Generator().manual_seed(0))
    assert sorted(torch.cat(batches).tolist()) == list(range(6400))
    padded = sum(len(batch) * int(sizes[batch].max()) for batch in batches)
    assert padded < 1.1 * int(sizes.sum())  # a plain shuffle pads every batch to nearly 1,000, twice the mean
    again = batch_order(sizes, 32, torch.Generator().manual_seed(1))
    assert {tuple(sorted(b.tolist())) for b in batches} != {tuple(sorted(b.tolist())) for b in again}


def test_with_few_batches_the_order_is_a_plain_shuffle() -> None:
    sizes = torch.arange(400)
    first = batch_order(sizes, 50, torch.Generator().manual_seed(0))[0]
    assert abs(sizes[first].float().mean().item() - 199.5) < 60  # 3.9 deviations; sorted, it would be 24.5 + 50 i
    assert all(b >= a for a, b in pairwise(sizes[first].tolist()))


def test_a_small_set_is_cut_into_eight_batches_at_least() -> None:
    batches = batch_order(torch.ones(100), 256, torch.Generator().manual_seed(0))
    assert [len(batch) for batch in sorted(batches, key=len)] == [9, *[13] * 7]
    assert len(batch_order(torch.ones(3), 256, torch.Generator().manual_seed(0))) == 3


@pytest.mark.parametrize("head", ["concat", "gated", "late"])
def test_frozen_differs_from_adapted_in_adaptation_alone(head: str) -> None:
    """Encoders adapted at a rate of nothing are frozen ones: same dropout, same batches, so the same weights."""
    made = {}
    for adaptation in ("frozen", "encoder"):
        overrides = [*SMALL, f"stage2.head={head}", f"stage2.adaptation={adaptation}", "stage2.encoder_rate=1e-12"]
        settings = read_settings(overrides=[*overrides, "stage2.epochs=3", "stage2.clip_norm=0"])
        data, valid = clips(), clips(40, 1)
        encoders = {
            name: Unimodal(name, steps.values.shape[1], 2, settings.stage1, VARIANTS)
            for name, steps in data.modalities.items()
        }
        losses = []
        module, _ = train_fusion(
            data, valid, encoders, settings, TrainContext(None, torch.float32, 0),
            lambda _, epoch, losses=losses: losses.append((epoch.loss, epoch.mean_r)), VARIANTS,
        )  # fmt: skip
        made[adaptation] = (np.array(losses), torch.cat([p.flatten() for p in module.fusion.parameters()]))
    np.testing.assert_allclose(made["frozen"][0], made["encoder"][0], atol=2e-4)
    ours, theirs = made["frozen"][1], made["encoder"][1]
    assert torch.linalg.vector_norm(ours - theirs) < 1e-3 * torch.linalg.vector_norm(theirs)  # Adam enlarges rounding


def test_the_encoders_dropout_is_active_while_they_are_frozen() -> None:
    data = clips()
    module = Multimodal({n: s.values.shape[1] for n, s in data.modalities.items()}, 2, SETTINGS, VARIANTS)
    hidden, frozen = hidden_all(module, data, torch.float32), FrozenEncoders(module)
    index = torch.arange(len(data))
    with torch.no_grad():
        rng = RngStreams([0, 1, 2], "dropout")
        embeddings = [
            module.encoder("text").embed_hidden(part.values, part.present, rng)
            for part in [hidden.batch(index)["text"]] * 2
        ]
        still = frozen(hidden.batch(index))
    assert not torch.equal(*embeddings)
    np.testing.assert_allclose(still.numpy(), predict_all(module, data), atol=1e-5)  # and none in evaluation
