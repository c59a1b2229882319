"""Weights of layers start at what a linear model reads from each layer of the training clips: a few dozen clips do not
unlearn an average of layers that know nothing."""

import numpy as np
import pytest
import torch

from mien.config import read_settings
from mien.metrics import mean_defined, pearson
from mien.model.inputs import ClipDataset, PackedSteps, normalised_layers, predict_all
from mien.model.network import Unimodal, layers_of, variants
from mien.training.layer_start import TEMPERATURE, layer_r, start_layers
from mien.training.stage1 import TrainContext, train_encoder

WIDTH, LAYERS, EMOTIONS, RIGHT = 24, 13, 4, 8
WORDS = ["seeds=[0, 1, 2]", "stage1.embedding=32"]
SETTINGS = read_settings(overrides=WORDS)


def clips(count: int, seed: int, shared: float = 0.0) -> ClipDataset:
    """Layer 8 of 13 knows the ratings, the other layers only who is seen; ratings share a part by participant."""
    rng = np.random.default_rng(seed)
    way = np.random.default_rng(99).normal(size=(EMOTIONS, WIDTH))
    people = np.arange(count) // 8
    signal, own = rng.normal(size=(count, EMOTIONS)), rng.normal(size=(count, EMOTIONS))[people]
    layers = rng.normal(size=(count, LAYERS, WIDTH))[people] + 0.3 * rng.normal(size=(count, LAYERS, WIDTH))
    layers[:, RIGHT] = signal @ way + 2 * rng.normal(size=(count, WIDTH))
    labels = 0.4 + 0.15 * signal + 0.15 * shared * own + 0.1 * rng.normal(size=signal.shape)
    values = torch.from_numpy(normalised_layers(layers.reshape(count, -1), LAYERS))
    steps = PackedSteps(values, torch.arange(count), torch.ones(count, dtype=torch.long), LAYERS)
    return ClipDataset({"text": steps}, torch.from_numpy(labels).float(), torch.float32, torch.from_numpy(people))


def right_alone(data: ClipDataset, modality: str = "text") -> ClipDataset:
    """The same clips with the layer that knows the ratings as their only sequence."""
    steps = data.modalities[modality]
    assert isinstance(steps.values, torch.Tensor)
    values = steps.values.unflatten(1, (LAYERS, WIDTH))[:, RIGHT].contiguous()
    return ClipDataset({modality: PackedSteps(values, steps.begins, steps.has)}, data.labels, torch.float32)


def r_of(
    train: ClipDataset, chosen: ClipDataset, test: ClipDataset, modality: str = "text", more: tuple[str, ...] = ()
) -> float:
    """r of an encoder on clips that neither trained it nor chose its epoch, the mean over seeds and emotions."""
    context = TrainContext(None, torch.float32, 0)
    settings = read_settings(overrides=[*WORDS, *more])
    module, _ = train_encoder(modality, train, chosen, settings, context, lambda _name, _epoch: None)
    return float(np.mean(mean_defined(pearson(predict_all(module, test), test.labels.numpy()))))


def test_eighty_clips_lose_nothing_by_layers_that_know_nothing() -> None:
    """From equal weights, .06 is lost here."""
    sides = clips(80, seed=1), clips(27, seed=2), clips(1000, seed=3)
    alone = r_of(*map(right_alone, sides))  # type: ignore[arg-type]
    assert alone > 0.5
    assert r_of(*sides) > alone - 0.003


def test_a_layer_that_only_knows_who_is_seen_is_not_taken_for_one_that_knows_ratings() -> None:
    """With two thirds of what is rated a person's own, a layer of people tells the ratings of their other clips."""
    data = clips(80, seed=1, shared=1.5)
    assert layer_r(data, "text").argmax() == RIGHT
    data.people = None
    assert layer_r(data, "text").argmax() != RIGHT


def test_an_encoder_of_faces_learns_from_states_that_hardly_differ_between_clips() -> None:
    """They have a tenth of their length to differ in; from all layers, or from the one that knows the ratings."""

    def faces(count: int, seed: int) -> ClipDataset:
        data = clips(count, seed)
        steps = data.modalities["text"]
        assert isinstance(steps.values, torch.Tensor)
        same = np.random.default_rng(7).normal(size=WIDTH * LAYERS)
        values = torch.from_numpy(normalised_layers(same + 0.1 * steps.values.numpy(), LAYERS))
        data.modalities = {"vision": PackedSteps(values, steps.begins, steps.has, LAYERS)}
        return data

    sides = faces(80, seed=1), faces(27, seed=2), faces(1000, seed=3)
    last = [right_alone(side, "vision") for side in sides]
    plain = r_of(*last, modality="vision")
    assert r_of(*last, modality="vision", more=("stage1.centered=[vision]",)) > plain + 0.05
    assert r_of(*sides, modality="vision") > plain + 0.05


def started(data: ClipDataset) -> torch.Tensor:
    """``(K, L)`` logits of the data's only modality."""
    models, (name,) = variants(SETTINGS, SETTINGS.stage1), data.modalities
    module = Unimodal(name, WIDTH * LAYERS, EMOTIONS, SETTINGS.stage1, models, LAYERS)
    start_layers(layers_of(module), data)
    return layers_of(module)[name].logits.detach()


def as_sound(data: ClipDataset) -> ClipDataset:
    """The same features as those of a voice."""
    data.modalities = {"audio": data.modalities["text"]}
    return data


def test_a_layer_that_is_better_by_the_temperature_starts_with_e_times_the_weight() -> None:
    data = clips(80, seed=1)
    r, logits = layer_r(data, "text"), started(data)
    assert logits.shape == (3, LAYERS) and torch.equal(logits[0], logits[2])
    assert logits.max() == 0
    differences = torch.from_numpy((r - r[0]) / TEMPERATURE).float()
    torch.testing.assert_close(logits[1] - logits[1, 0], differences)


def test_the_last_layer_of_a_voice_leads_by_four_standard_errors() -> None:
    """With 80 clips .2 in r, with 720 a third of it."""
    for count, lead in ((80, 0.2), (720, 0.2 / 3)):
        equal, led = started(clips(count, seed=1))[0], started(as_sound(clips(count, seed=1)))[0]
        ahead = (led[-1] - led[0]) - (equal[-1] - equal[0])
        assert ahead.item() == pytest.approx(lead / TEMPERATURE, abs=1e-4)


def test_a_voice_whose_layers_cannot_be_told_apart_is_read_from_the_last() -> None:
    data = as_sound(clips(80, seed=1))
    data.people = torch.zeros(80, dtype=torch.long)
    assert torch.softmax(started(data), 1)[:, -1].min() > 0.8


def test_evidence_outdoes_the_lead_of_the_last_layer() -> None:
    """Layer 8 knows the ratings, the last only who is heard."""
    assert torch.softmax(started(as_sound(clips(160, seed=1))), 1)[:, RIGHT].min() > 0.8


def test_unrated_labels_are_left_out() -> None:
    data = clips(160, seed=1)
    full = layer_r(data, "text")
    data.labels[::3, 0] = torch.nan
    data.labels[:, 1] = torch.nan
    some = layer_r(data, "text")
    assert np.isfinite(some).all() and some.argmax() == RIGHT
    assert some[RIGHT] == pytest.approx(full[RIGHT], abs=0.1)  # three emotions of four, one with 106 clips


@pytest.mark.parametrize("fault", ["one person", "constant ratings", "no ratings"])
def test_equal_weights_where_nothing_can_be_told(fault: str) -> None:
    data = clips(24, seed=1)
    if fault == "one person":
        data.people = torch.zeros(24, dtype=torch.long)
    else:
        data.labels[:] = 0.5 if fault == "constant ratings" else torch.nan
    assert torch.equal(started(data), torch.zeros(3, LAYERS))
