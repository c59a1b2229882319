"""Random weights: the same bytes each time, the real architectures, and never taken for knowledge."""

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModel, AutoTokenizer

from mien.errors import WeightsMissing
from mien.weights import ENTRIES, locate, resolve
from mien.weights.cache import check

BACKBONES = ["text", "audio", "vision"]


def test_they_are_made_when_first_asked_for_the_same_each_time_and_called_random(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = resolve("tiny", BACKBONES)
    state = torch.random.get_rng_state()
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "elsewhere"))
    second = resolve("tiny", BACKBONES)
    assert torch.equal(torch.random.get_rng_state(), state)  # making them takes nothing from the caller's generator
    assert all(weights.random for weights in first.values())
    assert [first[role].fingerprint for role in BACKBONES] == [second[role].fingerprint for role in BACKBONES]
    assert len({first[role].fingerprint for role in BACKBONES}) == 3
    assert first["text"].path != second["text"].path


def test_there_is_no_random_recogniser_and_the_detectors_are_the_real_ones(cache: Path) -> None:
    with pytest.raises(WeightsMissing, match="set tiny has no asr: random weights would invent a transcript"):
        resolve("tiny", ["asr"])
    with pytest.raises(WeightsMissing, match=r"face-landmarker: .*run `mien weights fetch small`"):
        resolve("tiny", ["landmarker"])


@pytest.mark.parametrize(
    ("role", "kind"), [("text", "BertModel"), ("audio", "WhisperModel"), ("vision", "Dinov2Model")]
)
def test_the_architecture_is_the_real_one_and_no_parameter_is_missing(cache: Path, role: str, kind: str) -> None:
    model, loading = AutoModel.from_pretrained(resolve("tiny", [role])[role].path, output_loading_info=True)
    assert type(model).__name__ == kind
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert model.dtype is torch.float32


def test_the_tokeniser_can_spell_any_word(cache: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(locate("tiny-text"))
    assert tokenizer.tokenize("So happy, zo2!") == ["so", "happy", ",", "z", "##o", "##2", "!"]
    assert tokenizer.unk_token_id not in tokenizer("The quick brown fox jumps: 0123456789?").input_ids
    assert tokenizer("a").input_ids[0] == tokenizer.cls_token_id
    assert tokenizer.model_max_length == 128


def test_the_ear_gives_a_hundred_mel_frames_a_second(cache: Path) -> None:
    features = AutoFeatureExtractor.from_pretrained(locate("tiny-audio"))
    tone = [math.sin(2 * math.pi * 440 * n / 16000) for n in range(16000)]
    mel = features(tone, sampling_rate=16000, return_tensors="np", padding=False).input_features
    assert mel.shape == (1, 80, 100)


def test_a_made_entry_that_was_damaged_is_made_again(cache: Path) -> None:
    (locate("tiny-vision") / "model.safetensors").write_bytes(b"")
    assert check(ENTRIES["tiny-vision"]).state == "damaged"
    assert locate("tiny-vision").is_dir()
    assert check(ENTRIES["tiny-vision"], rehash=True).state == "whole"
