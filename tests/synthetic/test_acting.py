import numpy as np
import pytest

from mien.schema import EMOTIONS
from mien.synthetic.acting import BEARING, EXPRESSION, PROSODY, act, emotional_voice, own_voice
from mien.synthetic.drawing import ACTIONS

FPS = 25
NOTHING, SILENCE = np.zeros(6), np.zeros(150)


def one(emotion):
    return np.eye(6)[EMOTIONS.index(emotion)]


def moves(vision=NOTHING, motion=NOTHING, loudness=SILENCE, seed=0):
    return dict(zip(ACTIONS, act(vision, motion, loudness, FPS, np.random.default_rng(seed)).T, strict=True))


def test_every_table_speaks_of_every_emotion_and_of_actions_that_exist():
    for table in (PROSODY, EXPRESSION, BEARING):
        assert set(table) == set(EMOTIONS)
    assert {name for row in EXPRESSION.values() for name in row} <= set(ACTIONS)
    assert {name for row in BEARING.values() for name in row} <= {*ACTIONS, "shake"}


@pytest.mark.parametrize("table", [PROSODY, EXPRESSION, BEARING], ids=["voice", "face", "head"])
def test_the_six_emotions_are_told_apart_by_their_parameters(table):
    names = sorted({name for row in table.values() for name in row})
    matrix = np.array([[table[emotion].get(name, 0.0) for name in names] for emotion in EMOTIONS])
    scaled = matrix / np.abs(matrix).max(0)
    assert np.linalg.svd(scaled, compute_uv=False)[-1] > 0.25  # no emotion is nearly a mixture of the others


def test_joy_smiles_and_amusement_opens_the_mouth():
    assert moves(one("Joy"))["smile"].max() > 0.85 > 0.3 > moves()["smile"].max()
    assert moves(one("Amusement"))["jaw"].max() > 0.3 > moves(one("Joy"))["jaw"].max()


def test_an_expression_comes_and_goes_at_a_moment_that_differs_between_clips():
    apexes = []
    for seed in range(8):
        smile = moves(one("Joy"), seed=seed)["smile"]
        assert min(smile[0], smile[-1]) < 0.6 * smile.max()
        apexes.append((smile * np.arange(150)).sum() / smile.sum() / 150)
    assert np.ptp(apexes) > 0.1


def test_the_mouth_opens_with_the_voice():
    loudness = np.clip(np.sin(np.arange(150) / 4), 0, 1)
    assert np.corrcoef(moves(loudness=loudness)["jaw"], loudness)[0, 1] > 0.9


def test_people_blink_and_everything_stays_within_what_a_face_can_do():
    for seed in range(5):
        moved = moves(np.ones(6), np.ones(6), np.ones(150), seed)
        assert moved["blink"].max() > 0.9
        assert all(moved[name].min() >= 0 and moved[name].max() <= 1 for name in ("smile", "jaw", "blink", "squint"))
        assert max(np.abs(moved[name]).max() for name in ("yaw", "pitch", "roll")) <= 18


def test_a_clip_of_one_picture_can_be_acted():
    assert act(NOTHING, NOTHING, np.zeros(1), FPS, np.random.default_rng(0)).shape == (1, len(ACTIONS))


def test_pain_is_slow_and_quiet_and_excitement_fast_and_loud():
    own = own_voice(male=True, participant=np.random.default_rng(0))
    pain, excited = (emotional_voice(own, one(emotion)) for emotion in ("Empathic Pain", "Excitement"))
    assert pain.words_per_minute < own.words_per_minute < excited.words_per_minute
    assert pain.loudness < own.loudness < excited.loudness
    assert emotional_voice(own, NOTHING) == own
