"""Hub entries: pinned, no pickles, trusted once; tried on a mirror that holds random weights of the architectures."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
from transformers import AutoModel, Wav2Vec2Config, Wav2Vec2Model

from mien.errors import HashMismatch, WeightsError, WeightsMissing
from mien.weights import ENTRIES, fetch, locate, resolve, verify


@pytest.fixture
def mirror(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``owner/name`` folders for the paper's text, vision and audio backbones, as small as they go."""
    folder = tmp_path / "mirror"
    shutil.copytree(locate("tiny-text"), folder / "thenlper" / "gte-base")
    shutil.copytree(locate("tiny-vision"), folder / "facebook" / "dinov2-base")
    audio = Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(16, 16),
        conv_stride=(5, 2), conv_kernel=(10, 3), num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    Wav2Vec2Model(audio).save_pretrained(folder / ENTRIES["wav2vec2-msp-dim"].repository)
    (folder / "thenlper" / "gte-base" / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "thenlper" / "gte-base" / "onnx").mkdir()
    (folder / "thenlper" / "gte-base" / "onnx" / "model.onnx").write_bytes(b"not asked for")
    shutil.rmtree(cache)
    monkeypatch.setenv("MIEN_HUB_MIRROR", str(folder))
    return folder


def test_the_papers_backbones_come_from_a_mirror_without_network_and_load(
    mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = replace(ENTRIES["wav2vec2-msp-dim"], known={})  # its real hashes are known, and this is not it
    monkeypatch.setitem(ENTRIES, "wav2vec2-msp-dim", stand_in)  # type: ignore[arg-type]
    fetch(["gte-base", "dinov2-base", "wav2vec2-msp-dim"], offline=True)
    paper = resolve("paper", ["text", "audio", "vision"])
    kinds = {role: type(AutoModel.from_pretrained(weights.path)).__name__ for role, weights in paper.items()}
    assert kinds == {"text": "BertModel", "audio": "Wav2Vec2Model", "vision": "Dinov2Model"}
    assert not any(weights.random for weights in paper.values())  # what a mirror holds is its owner's word
    assert json.loads((paper["text"].path / "mien.json").read_text())["came_from"] == "mirror"


def test_only_the_named_kinds_of_file_are_taken(mirror: Path) -> None:
    fetch(["gte-base"])
    assert sorted(path.name for path in locate("gte-base").iterdir()) == [
        "1_Pooling", "config.json", "mien.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "vocab.txt",
    ]  # fmt: skip


def test_a_repository_of_pickles_only_is_refused(mirror: Path) -> None:
    (mirror / "thenlper" / "gte-base" / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"no \*\.safetensors among its files; pickled weights are refused"):
        fetch(["gte-base"])


def test_bytes_that_differ_from_the_published_hash_are_refused_from_a_mirror_too(mirror: Path, cache: Path) -> None:
    with pytest.raises(HashMismatch, match=r"expected [0-9a-f]{64} \(by the table\)"):
        fetch(["wav2vec2-msp-dim"])
    assert not (cache / "wav2vec2-msp-dim").exists()


def test_files_of_unknown_hash_are_trusted_aloud_once_and_compared_ever_after(mirror: Path, cache: Path) -> None:
    lines: list[str] = []
    fetch(["gte-base"], progress=lines.append)
    assert "gte-base: 6 new files (1_Pooling/config.json, …); their hashes are trusted and recorded" in lines
    assert verify(["gte-base"])[0].state == "whole"
    shutil.rmtree(cache / "gte-base")
    lines.clear()
    fetch(["gte-base"], progress=lines.append)
    assert not any("new files" in line for line in lines)
    shutil.rmtree(cache / "gte-base")
    (mirror / "thenlper" / "gte-base" / "config.json").write_text("{}")
    with pytest.raises(HashMismatch, match=r"config.json of hub:thenlper/gte-base.* \(by the first fetch, kept in"):
        fetch(["gte-base"])


def test_a_mirror_that_lacks_the_model_says_where_it_looked(mirror: Path) -> None:
    with pytest.raises(WeightsMissing, match=f"{mirror}/Systran/faster-whisper-small.en is not a folder"):
        fetch(["whisper-small.en"])


def test_without_a_mirror_offline_never_asks_the_hub(cache: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"gte-base: .* offline; run `mien weights fetch paper`"):
        fetch(["gte-base"], offline=True)


def test_the_hub_is_asked_for_the_pinned_revision_and_no_pickles_and_resumes_where_it_stopped(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the hub is the edge of the process: what it is asked, and what is made of its answer
    asked: list[dict[str, object]] = []

    def answer(repository: str, **asked_for: object) -> None:
        asked.append({"repository": repository, **asked_for})
        folder = Path(str(asked_for["local_dir"]))
        (folder / ".cache").mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text("{}")
        if len(asked) == 1:
            raise ConnectionError("cut\noff")
        (folder / "model.safetensors").write_bytes(b"whole")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)
    with pytest.raises(WeightsError, match=r"ConnectionError: cut off\); fetch again to resume") as failed:
        fetch(["gte-base"])
    assert "\n" not in str(failed.value)
    fetch(["gte-base"])
    assert asked[0] == asked[1]  # the same folder, so that the client can go on
    assert asked[0]["repository"] == "thenlper/gte-base"
    assert asked[0]["revision"] == "c078288308d8dee004ab72c6191778064285ec0c"
    assert asked[0]["allow_patterns"] == ["*.safetensors", "*.json", "*.txt"]
    assert sorted(path.name for path in (cache / "gte-base").iterdir()) == [
        "config.json",
        "mien.json",
        "model.safetensors",
    ]
