"""Backbones of one's own: every supported architecture is loaded and encodes; anything else is refused in one line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from mien.compute.device import Compute
from mien.config import read_settings
from mien.errors import WeightsError, WeightsMissing
from mien.features.worker import plan
from mien.modalities import MODALITIES
from mien.modalities.base import Prepared
from mien.schema import Transcript
from mien.weights import fetch, verify
from mien.weights.adapted import describe_references
from mien.weights.cache import cached_repositories
from mien.weights.licence_note import licence_note
from mien.weights.own import pooling_of, resolve_own
from mien.weights.tiny import WIDTH
from tests.modalities.clips import media
from tests.weights.own import MODELS, ROLES, make_own

CPU = Compute(torch.device("cpu"), torch.float32)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own")


@pytest.mark.parametrize("architecture", MODELS)
def test_every_architecture_is_checked_loaded_and_encodes(root: Path, architecture: str) -> None:
    role, folder = ROLES[architecture], make_own(root / architecture, architecture)
    weights = resolve_own(role, str(folder))
    assert (weights.path, weights.licence, weights.random) == (folder, "apache-2.0", False)
    modality = MODALITIES[role]
    prepared = modality.prepare(media(1.0, crops=3))
    assert isinstance(prepared, Prepared) and modality.load_layers is not None
    plain = modality.load(folder, CPU)(prepared)
    made = modality.load_layers(folder, CPU, (0, 1, 2))(prepared)
    for name, output in plain.items():
        assert output.values.shape[1] == WIDTH and np.isfinite(output.values).all()
        assert np.array_equal(made[name].values, output.values)
    assert made[f"{role}_layers"].values.shape == (len(plain[role].values), 3 * WIDTH)
    assert len(plain["audio"].values) in (49, 50) if role == "audio" else True
    if role == "text":  # longer than the positions of the model: cut, not an error
        long = Prepared(Transcript("so happy " * 200, "given"), np.zeros(0, np.float32))
        assert modality.load(folder, CPU)(long)["text"].remark == "transcript cut to 64 tokens"


def test_a_text_model_is_pooled_as_its_record_says(root: Path) -> None:
    folder = make_own(root / "pooled", "bert")
    prepared = MODALITIES["text"].prepare(media())
    assert isinstance(prepared, Prepared)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        model = transformers.AutoModel.from_pretrained(folder).eval()
        states = model(**tokenizer("so proud", return_tensors="pt")).last_hidden_state[0]
    for pooling, expected in ((None, states.mean(0)), ("cls_token", states[0]), ("mean_tokens", states.mean(0))):
        if pooling:
            (folder / "1_Pooling").mkdir(exist_ok=True)
            (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{pooling}": True}))
        assert pooling_of(folder) == ("cls" if pooling == "cls_token" else "mean")
        found = MODALITIES["text"].load(folder, CPU)(prepared)["text"].values[0]
        np.testing.assert_allclose(found, torch.nn.functional.normalize(expected, dim=0).numpy(), atol=1e-3)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_lasttoken": True}))
    with pytest.raises(WeightsError, match="asks for lasttoken; expected the mean of the tokens, or the CLS token"):
        resolve_own("text", str(folder))


def test_a_vit_sees_crops_normalised_as_it_was_trained(root: Path) -> None:
    folder = make_own(root / "seen", "vit")
    prepared = MODALITIES["vision"].prepare(media(crops=2))
    assert isinstance(prepared, Prepared)
    images = torch.from_numpy(prepared.inputs[0:2].copy()).permute(0, 3, 1, 2) / 255 * 2 - 1  # mean and deviation .5
    with torch.inference_mode():
        model = transformers.AutoModel.from_pretrained(folder).eval()
        expected = model(images, interpolate_pos_encoding=True).last_hidden_state[:, 0]
    found = MODALITIES["vision"].load(folder, CPU)(prepared)["vision"].values
    np.testing.assert_allclose(found[:2], expected.numpy(), atol=2e-3)


def test_a_fingerprint_follows_the_bytes_and_not_the_place_or_the_readme(root: Path) -> None:
    folder = make_own(root / "first", "bert")
    first = resolve_own("text", str(folder))
    moved = shutil.copytree(folder, root / "second" / "other name")
    (moved / "README.md").unlink()
    second = resolve_own("text", str(moved))
    assert second.sha256 == first.sha256 and second.licence == "licence unknown"
    other = resolve_own("text", str(make_own(root / "third", "bert", seed=2)))
    assert other.sha256 != first.sha256 and other.name != first.name
    (line,) = describe_references(read_settings(overrides=[f"weights.text={folder}"]).backbones)
    assert line == f"text: {first.name}, bert of 2 blocks, 32 wide, mean pooling; apache-2.0"


def spoilt(folder: Path, how: str) -> str:
    """Spoil a BERT; returns what the message must say."""
    config = json.loads((folder / "config.json").read_text())

    def write(**changes: object) -> None:
        (folder / "config.json").write_text(json.dumps(config | changes))

    tensors = folder / "model.safetensors"
    if how == "pickled":
        torch.save({}, folder / "pytorch_model.bin")
        tensors.unlink()
        return r"has only pickled weights \(pytorch_model.bin\), which can run code and are refused"
    if how == "foreign":
        write(model_type="t5")
        return "architecture 't5', expected one of bert, roberta, xlm-roberta, mpnet, gte"
    if how == "code":
        write(model_type="new", auto_map={"AutoModel": "modeling.NewModel"})
        return (
            r"config.json asks for code of its repository \(auto_map\), which is never run \(GTE: transformers has it"
        )
    if how == "code of the tokenizer":
        (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["x.Y", null]}}')
        return "tokenizer_config.json asks for code"
    if how == "link":
        shutil.move(tensors, folder.parent / "elsewhere.safetensors")
        tensors.symlink_to(folder.parent / "elsewhere.safetensors")
        return "model.safetensors is a link out of the folder; copy it with cp -rL"
    if how == "cut":
        tensors.write_bytes(tensors.read_bytes()[:-100])
        return "model.safetensors: damaged .*fetch it again"
    if how == "block":
        save_file({n: t for n, t in load_file(tensors).items() if "layer.1." not in n}, tensors)
        return r"its weights have no block 1 of the 2 that config.json says \(bert\)"
    if how == "huge":
        (folder / "config.json").write_bytes(b" " * 1_000_001)
        return "config.json"
    if how == "no tokenizer":
        for name in ("tokenizer.json", "vocab.txt"):
            (folder / name).unlink()
        return "no tokenizer in it"
    write(hidden_size="wide")
    return "config.json: no valid hidden_size"


KINDS = ("pickled", "foreign", "code", "code of the tokenizer", "link", "cut", "block", "huge", "no tokenizer", "size")


@pytest.mark.parametrize("how", KINDS)
def test_a_spoilt_or_foreign_folder_is_refused_in_one_line_before_any_work(tmp_path: Path, how: str) -> None:
    folder = make_own(tmp_path, "bert")
    message = spoilt(folder, how)
    settings = read_settings(overrides=["weights=tiny", f"weights.text={folder}", "modalities=[text]"])
    with pytest.raises(WeightsError, match=message) as caught:
        plan(settings)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"weights.text: {folder}: ")


@pytest.mark.parametrize(
    ("role", "architecture", "message"),
    [("audio", "bert", "architecture 'bert', expected one of wav2vec2"), ("text", "vit", "architecture 'vit'")],
)
def test_a_backbone_of_another_role_is_refused(tmp_path: Path, role: str, architecture: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        resolve_own(role, str(make_own(tmp_path, architecture)))


def test_tensors_that_are_missing_are_not_left_random(tmp_path: Path) -> None:
    folder = make_own(tmp_path, "bert")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("layer.0.attention.self.query.weight"))
    save_file({n: t for n, t in tensors.items() if n != name}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"lacks 1 tensors of its architecture, first .*query.weight"):
        MODALITIES["text"].load(folder, CPU)


def test_a_repository_is_fetched_at_its_commit_from_a_mirror_and_found_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MIEN_HUB_MIRROR", str(tmp_path / "mirror"))
    shutil.move(make_own(tmp_path / "made", "bert", licence="cc-by-nc-4.0"), tmp_path / "mirror" / "me" / "bert")
    reference = f"me/bert@{COMMIT}"
    with pytest.raises(WeightsMissing, match=f"run `mien weights fetch {reference}`"):
        resolve_own("text", reference)
    said: list[str] = []
    fetch([reference], progress=said.append)
    assert any("licence: cc-by-nc-4.0" in line for line in said)
    weights = resolve_own("text", reference)
    assert (weights.source, weights.licence) == (f"hub:{reference}", "cc-by-nc-4.0")
    assert [entry.repository for entry in cached_repositories()] == ["me/bert"]
    assert [status.state for status in verify() if "me--bert" in status.name] == ["whole"]
    for wrong in ("me/bert", "me/bert@main", f"me/bert@{COMMIT[:12]}"):
        with pytest.raises(WeightsMissing, match="expected owner/name@commit with all 40 digits of the commit"):
            resolve_own("text", wrong)
        with pytest.raises(ValueError, match="all 40 digits"):
            fetch([wrong])


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\nlicense: [mit, apache-2.0]\n---\n", "mit, apache-2.0"),
        ("---\nlicense: other\nlicense_name: my-terms\n---\n", "my-terms"),
        ("---\ntags: [x]\n---\nlicense: mit", "licence unknown"),
        ("# license: mit", "licence unknown"),
        ("---\nlicense: &a [*a]\n---\n", "licence unknown"),
        ("---\nlicense: mit", "licence unknown"),
    ],
)
def test_the_licence_is_the_one_of_the_front_matter(tmp_path: Path, text: str, licence: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert licence_note(tmp_path) == licence
