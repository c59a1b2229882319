"""What transformers makes of a model's small files is kept, and is what transformers would make again."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoTokenizer

from mien.modalities.front_ends import front_end
from mien.modalities.text import _tokenizer
from mien.schema import SAMPLE_RATE
from mien.weights import resolve
from tests.weights.own import MODELS, ROLES, make_own

TEXTS = ("So happy!", "  a\n b ", "Ünïcödé, 你好 and 😀: don't?", "word " * 700)


@pytest.mark.parametrize("architecture", [name for name in MODELS if ROLES[name] == "text"])
def test_a_text_has_the_tokens_of_transformers(architecture: str, tmp_path: Path) -> None:
    folder = make_own(tmp_path, architecture)
    theirs = AutoTokenizer.from_pretrained(folder)
    for ours, longest in (_tokenizer(folder), _tokenizer(folder)):  # made, then read
        for text in TEXTS:
            tokens = ours.encode(text)
            expected = theirs(text, truncation=True, max_length=longest, return_offsets_mapping=True)
            assert tokens.ids == expected["input_ids"] and tokens.offsets == expected["offset_mapping"]
        batch = theirs(list(TEXTS), padding=True, padding_side="right", truncation=True, max_length=longest)
        made = ours.encode_batch(list(TEXTS))
        assert [one.ids for one in made] == batch["input_ids"]
        assert [one.attention_mask for one in made] == batch["attention_mask"]


@pytest.mark.parametrize("architecture", [name for name in MODELS if ROLES[name] == "audio"])
@pytest.mark.parametrize("samples", [400, 16_000, 100_001, 480_000])
def test_a_voice_is_read_as_by_transformers(architecture: str, samples: int, tmp_path: Path) -> None:
    folder = make_own(tmp_path, architecture)
    waveform = np.random.default_rng(samples).normal(0.01, 0.1, samples).astype(np.float32)
    theirs = AutoFeatureExtractor.from_pretrained(folder)(
        waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt", padding="longest"
    )
    for kind, ours in (front_end(folder), front_end(folder)):  # made, then read
        assert kind == ("log_mel" if architecture == "whisper" else "waveform")
        np.testing.assert_allclose(ours(torch.tensor(waveform)), next(iter(theirs.values()))[0], atol=1e-5)


LOAD = """
import sys
import numpy as np
from pathlib import Path
from mien.compute.device import resolve_compute
from mien.config import ComputeSettings
from mien.modalities import MODALITIES
from mien.modalities.base import Prepared
from mien.schema import Transcript

compute = resolve_compute(ComputeSettings(device="cpu", engine="openvino"))
inputs = {"text": Transcript("so proud", "given"), "audio": np.ones(16_000, np.float32),
          "vision": np.zeros((2, 224, 224, 3), np.uint8)}
for name, values in inputs.items():
    MODALITIES[name].load(Path(sys.argv[1]) / name, compute)(Prepared(values, np.zeros(2, np.float32)))
print("transformers" in sys.modules)
"""


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
def test_transformers_is_imported_for_a_models_first_use_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = resolve("tiny", ["text", "audio", "vision"])
    for name, one in weights.items():
        (tmp_path / name).symlink_to(one.path)
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))

    def imported() -> str:
        return subprocess.run(
            [sys.executable, "-c", LOAD, tmp_path], check=True, capture_output=True, text=True
        ).stdout.strip()

    assert [imported(), imported()] == ["True", "False"]
