import numpy as np
import pytest

from mien.data.synth.recovery import recovered, word_errors


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("I am glad.", "i am GLAD", 0),
        ("I am glad.", "", 3),
        ("I am glad.", "am glad", 1),
        ("I am glad.", "I am very glad", 1),
        ("I cannot wait", "I can not weight", 1),  # four words said: "cannot" counts as two
    ],
)
def test_word_errors_count_substitutions_insertions_and_deletions(said, heard, errors):
    assert word_errors(said, heard)[0] == errors


def data(noise, seed=0):
    rng = np.random.default_rng(seed)
    signals = rng.standard_normal((200, 6))
    features = signals @ rng.standard_normal((6, 40)) + noise * rng.standard_normal((200, 40))
    return features, signals, rng.integers(0, 20, 200)


def test_a_linear_trace_of_the_signals_is_recovered_and_pure_noise_is_not():
    assert recovered(*data(noise=0.1)).min() > 0.95
    _, signals, people = data(noise=0.1)
    noise = np.random.default_rng(1).standard_normal((200, 40))
    assert np.abs(recovered(noise, signals, people)).mean() < 0.15  # chance: 1 / sqrt(200) = .07


def test_what_only_tells_who_it_is_recovers_nothing_since_people_are_held_out():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(20), 10)
    own = rng.standard_normal((20, 6))
    signals = own[people] + 0.1 * rng.standard_normal((200, 6))
    features = np.eye(20)[people]
    assert np.nanmean(recovered(features, signals, people)) < 0.2
