"""What the backbones make of media: the right steps at the right times, and a reason where there is nothing.

With random weights of the real architectures: the arithmetic is the same, and nothing has to be fetched.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, WhisperModel

from mien.modalities import MODALITIES
from mien.modalities.base import Absent, Prepared
from mien.modalities.text import token_seconds
from mien.schema import SAMPLE_RATE, Transcript
from mien.weights import resolve
from tests.modalities.clips import CPU, WORDS, CropsOnDisk, media
from tests.weights.own import make_own


def backbone(name: str):
    weights = resolve("tiny", [name])[name].path if MODALITIES[name].backbone_role else None
    return MODALITIES[name].load(weights, CPU)


def test_an_empty_transcript_is_absent() -> None:
    silent = replace(media(), transcript=Transcript("  ", "asr"), absent={"text": "no speech in 2.0 s of sound"})
    assert MODALITIES["text"].prepare(silent) == Absent("no speech in 2.0 s of sound")


@pytest.mark.parametrize(
    ("waveform", "reason"),
    [(np.zeros(16000, np.float32), "digitally silent"), (np.ones(100, np.float32), "audio of 6 ms is too short")],
)
def test_a_waveform_without_anything_in_it_is_absent(waveform: np.ndarray, reason: str) -> None:
    absent = MODALITIES["audio"].prepare(replace(media(), waveform=waveform))
    assert isinstance(absent, Absent)
    assert reason in absent.reason


def test_frames_without_a_face_are_counted() -> None:
    prepared = MODALITIES["vision"].prepare(media(crops=20))
    assert isinstance(prepared, Prepared)
    assert prepared.remark == "face in 20 of 24 frames"
    empty = replace(media(), faces=replace(media().faces, crops=CropsOnDisk(0)))  # type: ignore[type-var]
    assert MODALITIES["vision"].prepare(empty) == Absent("no face in 24 frames")


def test_the_sentence_vector_has_length_one() -> None:
    prepared = MODALITIES["text"].prepare(media())
    assert isinstance(prepared, Prepared)
    assert np.linalg.norm(backbone("text")(prepared)["text"].values) == pytest.approx(1, abs=1e-5)


def test_tokens_begin_with_their_words() -> None:
    said = Transcript("so proud", "asr", WORDS)
    offsets = np.array([[0, 0], [0, 2], [3, 5], [5, 8], [0, 0]])  # [CLS] so pro ##ud [SEP]
    assert np.array_equal(token_seconds(said, offsets), np.float32([np.nan, 0.5, 0.8, 0.8, np.nan]), equal_nan=True)
    assert np.isnan(token_seconds(Transcript("so proud", "given"), offsets)).all()


@pytest.mark.parametrize(("seconds", "steps"), [(0.06, 3), (2.0, 100), (31.0, 1550)])
def test_sound_gives_fifty_steps_a_second_whatever_its_length(seconds: float, steps: int) -> None:
    prepared = MODALITIES["audio"].prepare(media(seconds))
    assert isinstance(prepared, Prepared)
    output = backbone("audio")(prepared)["audio"]
    assert len(output.values) == steps
    assert output.seconds[:2] == pytest.approx([0.01, 0.03])


@pytest.mark.parametrize("architecture", ["wav2vec2", "hubert", "whisper"])
def test_steps_stay_where_they_are_heard_in_a_long_recording(architecture: str, tmp_path: Path) -> None:
    """A chunk of 30 s has 1,499 steps of wav2vec 2.0: numbered through, an hour would end 2.4 s early."""
    prepared = Prepared(np.random.default_rng(0).normal(0, 0.1, 91 * SAMPLE_RATE).astype(np.float32), np.zeros(0))
    output = MODALITIES["audio"].load(make_own(tmp_path, architecture), CPU)(prepared)["audio"]
    assert len(output.values) == len(output.seconds) == 4550 - (0 if architecture == "whisper" else 4)
    for chunk in (0.0, 30.0, 60.0, 90.0):
        first = output.seconds[output.seconds >= chunk][0]
        assert first == pytest.approx(chunk + 0.01, abs=1e-4)
    assert output.seconds[-1] == pytest.approx(91, abs=0.04)


def test_whisper_by_its_layers_is_whisper() -> None:
    """On 30 s, the one length it accepts, transformers' own forward pass is the oracle."""
    folder = resolve("tiny", ["audio"])["audio"].path
    sound = np.random.default_rng(1).normal(0, 0.1, 30 * SAMPLE_RATE).astype(np.float32)
    mel = AutoFeatureExtractor.from_pretrained(folder)(sound, sampling_rate=SAMPLE_RATE, return_tensors="pt")
    with torch.inference_mode():
        expected = WhisperModel.from_pretrained(folder).get_encoder().eval()(mel.input_features).last_hidden_state[0]
    ours = backbone("audio")(Prepared(sound, np.zeros(0, np.float32)))["audio"].values
    np.testing.assert_allclose(ours, expected.numpy(), rtol=2**-10, atol=1e-4)  # float16 has 11 bits


def test_what_a_picture_gives_does_not_depend_on_its_batch() -> None:
    twenty = MODALITIES["vision"].prepare(media(crops=20))
    three = MODALITIES["vision"].prepare(media(crops=3))
    assert isinstance(twenty, Prepared) and isinstance(three, Prepared)
    look = backbone("vision")
    assert np.abs(look(twenty)["vision"].values[:3] - look(three)["vision"].values).max() < 1e-4


def test_motion_is_scaled_by_its_kind() -> None:
    ours = Prepared(np.full((2, 58), 15, np.float32), np.zeros(2, np.float32))
    openface = Prepared(np.full((2, 23), 15, np.float32), np.zeros(2, np.float32))
    # 15 degrees or centimetres are half a unit; an OpenFace intensity of 5 is one
    assert backbone("motion")(ours)["motion"].values[0].tolist() == [15.0] * 52 + [0.5] * 6
    assert backbone("motion")(openface)["motion"].values[0].tolist() == [3.0] * 17 + [0.5] * 6
