"""Learned weights of layers, from a store to the scores: what only a middle layer knows is found, and said."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from mien.config import read_settings
from mien.errors import DataError, ModelError
from mien.evaluation.evaluate import evaluate
from mien.features.layers import layers_key, with_layers
from mien.features.spans import Windows
from mien.features.store import Store
from mien.features.windows import window_spans
from mien.features.writer import StoreWriter
from mien.inference.explain import explain
from mien.inference.score import as_read, score_features
from mien.inference.windows import score_windows
from mien.modalities.encoder import Steps
from mien.model.heads import HEADS
from mien.model.model_folder import load_bundle
from mien.model.network import Multimodal, learned_layers, variants
from mien.reporting.run import layers_table
from mien.reporting.rundata import read_run
from mien.schema import EMOTIONS, Clip, ClipFeatures, Feature, Manifest
from mien.storage.checksums import SUMS, write_sums
from mien.study.plan import read_study
from mien.study.study import run_study
from mien.training import train
from tests.training.planted import planted

WIDTH, LAYERS = 16, (0, 3, 6, 9)
QUICK = ["seeds=[0, 1]", "stage1.embedding=16", "stage2.hidden=16", "stage1.epochs=12", "stage2.epochs=12",
         "stage1.lr=4e-3", "stage2.lr=4e-3", "compute.precision=float32", "modalities=[text, audio]"]  # fmt: skip
READ = ["backbone.text=layers", "backbone.audio=layers"]


def planted_in_a_middle_layer(
    root: Path, train: int = 240, valid: int = 120, modalities: tuple[str, ...] = ("text", "audio")
) -> tuple[Manifest, Store]:
    """Only layer 3 carries the labels, and in audio it is the smallest in scale; the last layer is noise."""
    rng, count = np.random.default_rng(0), train + valid
    signal = rng.normal(size=(count, len(EMOTIONS)))
    labels = np.clip(0.5 + 0.15 * signal + 0.05 * rng.normal(size=signal.shape), 0, 1)
    maps = {name: rng.normal(size=(len(EMOTIONS), WIDTH)) for name in modalities}
    scales = np.array([1, 0.1, 10, 30])[:, None]  # of the layers
    ids = [f"{i:04d}" for i in range(count)]
    with StoreWriter(root, ids) as writer:
        for i, clip in enumerate(ids):
            features = []
            for name, way in maps.items():
                steps = 1 if name == "text" else int(rng.integers(5, 15))
                parts = 0.7 * rng.normal(size=(steps, len(LAYERS), WIDTH))
                parts[:, 1] += signal[i] @ way
                layers = (parts * scales).reshape(steps, -1).astype(np.float16)
                seconds = np.arange(steps, dtype=np.float32)
                made, key = "planted@1", f"k{i}"
                features += [
                    Feature(name, key, made, layers[:, -WIDTH:], seconds),
                    Feature(f"{name}_layers", layers_key(key, f"{name}_layers", "all"), with_layers(made, LAYERS),
                            layers, seconds),
                ]  # fmt: skip
            writer.add(ClipFeatures(clip, 12.0, tuple(features)))
    clips = tuple(
        Clip(clip, Path(f"{clip}.mp4"), split="train" if i < train else "valid", labels=tuple(labels[i].tolist()))
        for i, clip in enumerate(ids)
    )
    return Manifest(root / "clips.csv", EMOTIONS, clips), Store(root)


class Trained:
    def __init__(self, root: Path) -> None:
        self.manifest, self.store = planted_in_a_middle_layer(root / "store")
        self.lines: list[str] = []
        settings = read_settings(overrides=[*QUICK, *READ])
        self.summary = train(self.manifest, self.store, settings, root / "run", self.lines.append)
        self.folder = root / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("layers"))


def test_what_only_a_middle_layer_knows_is_found(run: Trained) -> None:
    """With the last layer alone it is not: the study below."""
    assert min(run.summary.mean_r[name] for name in ("text", "audio", "fused")) > 0.6
    for stage in ("stage1/text", "stage1/audio", "."):
        for weights in load_bundle(run.folder / stage).layer_weights().values():
            assert sum(weights.values()) == pytest.approx(1, abs=1e-5)
            assert max(weights, key=weights.__getitem__) == 3
            assert weights[3] > 0.4  # equal weights are .25


def test_a_run_says_its_learned_weights_in_the_log_the_card_and_the_report(run: Trained) -> None:
    said = "\n".join(run.lines)
    assert "stage 1 audio: weights of layers 0: 0." in said and "stage 2 text: weights of layers" in said
    assert "layers.audio              4 parameters  lr 2.0e-03" in said  # .004 x .05 of encoders x 10
    learned = json.loads((run.folder / "model" / "provenance.json").read_text())["layers"]
    card = (run.folder / "model" / "README.md").read_text()
    assert list(learned) == ["text", "audio"] and list(learned["audio"]) == ["0", "3", "6", "9"]
    assert f"| 3 | {learned['text']['3']:.3f} | {learned['audio']['3']:.3f} |" in card
    (table,) = layers_table(read_run(run.folder))
    assert [row[0] for row in table.rows] == ["0", "3", "6", "9"]


def test_a_model_keeps_its_layers_by_number_and_scores_the_same_when_read_back(run: Trained) -> None:
    bundle = load_bundle(run.folder)
    assert bundle.settings.backbone.audio_layers == LAYERS  # not ``all``: new clips must give the same
    assert bundle.widths == {"text": 4 * WIDTH, "audio": 4 * WIDTH}
    result = evaluate(bundle, run.manifest, run.store, "valid", resamples=100)
    assert result.mean_r.value == pytest.approx(run.summary.mean_r["ensemble"], abs=1e-6)


def test_clips_are_scored_explained_and_cut_into_windows_from_the_layers(run: Trained) -> None:
    bundle, clip = load_bundle(run.folder), run.manifest.clips[-1].id
    features = []
    for name in ("text", "text_layers", "audio", "audio_layers"):
        seconds = run.store.seconds(clip, name)
        features.append(Feature(name, "k", "p", np.array(run.store.array(clip, name)), seconds))
    made = as_read(bundle, ClipFeatures(clip, 12.0, tuple(features)))
    assert [f.modality for f in made.features] == ["text", "audio"]
    (scored,) = score_features(bundle, [made])
    whole = bundle.score({name: run.store.gather(f"{name}_layers", [clip]) for name in bundle.modalities})
    assert list(scored.scores.values()) == pytest.approx(np.clip(whole[0], 0, 1).tolist(), abs=1e-5)
    why = explain(bundle, made)
    for target in bundle.targets:
        parts = sum(values[target] for values in why.shapley.values())
        assert why.baseline[target] + parts == pytest.approx(scored.scores[target], abs=1e-5)
    assert sum(why.attention["audio"].weights) == pytest.approx(1, abs=1e-5)
    spans = window_spans(Windows(4, 4), 12.0)
    assert len(score_windows(bundle, made, spans)) == 3


@pytest.mark.parametrize("head", sorted(HEADS))
def test_every_fusion_head_reads_layers_and_each_model_learns_its_own_weights(head: str) -> None:
    settings = read_settings(overrides=["seeds=[0, 1]", "stage1.embedding=6", "stage2.hidden=12",
                                        f"stage2.head={head}", "stage2.adaptation=joint"])  # fmt: skip
    widths, layers = {"text": 12, "audio": 15}, {"text": 3, "audio": 3}
    model = Multimodal(widths, 2, settings, variants(settings, settings.stage2), layers)
    rng = torch.Generator().manual_seed(0)
    inputs = {
        "text": Steps(torch.randn(4, 1, 12, generator=rng), torch.ones(4, 1, dtype=torch.bool)),
        "audio": Steps(torch.randn(4, 6, 15, generator=rng), torch.ones(4, 6, dtype=torch.bool)),
    }
    learned = learned_layers(model)
    assert {name: tuple(weights.shape) for name, weights in learned.items()} == {"text": (2, 3), "audio": (2, 3)}
    groups = {group.name: group for group in model.groups(settings.stage2)}
    logits = [p for name, group in groups.items() if name.startswith("layers") for p in group.parameters]
    assert len(logits) == 2
    assert sum(len(group.parameters) for group in groups.values()) == len(list(model.parameters()))
    gradients = torch.autograd.grad(model(inputs).square().sum(), logits)
    assert all((gradient.abs() > 1e-9).all() for gradient in gradients)
    before = model(inputs)
    logits[0].data[1] = torch.tensor([3.0, 0.0, -3.0])
    assert torch.equal(model(inputs)[0], before[0]) and not torch.allclose(model(inputs)[1], before[1])


@pytest.mark.parametrize("adaptation", ["frozen", "joint"])
def test_layers_are_learned_or_kept_as_the_adaptation_says(run: Trained, tmp_path: Path, adaptation: str) -> None:
    settings = read_settings(
        overrides=[*QUICK, *READ, f"stage2.adaptation={adaptation}", "stage1.epochs=2", "stage2.epochs=2"]
    )
    lines: list[str] = []
    train(run.manifest, run.store, settings, tmp_path / "run", lines.append)
    (rate,) = [line.rsplit("  ", 1)[1] for line in lines if "layers.audio" in line]
    assert rate == {"frozen": "frozen", "joint": "lr 4.0e-02"}[adaptation]
    if adaptation == "frozen":
        first, last = (load_bundle(tmp_path / "run" / part).layer_weights()["audio"] for part in ("stage1/audio", "."))
        assert first == pytest.approx(last)


def test_one_store_serves_a_study_of_last_layer_against_layers_and_a_single_one(run: Trained, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(
        "seeds: 2\n"
        f"settings: {{{', '.join(x.replace('=', ': ', 1) for x in QUICK[1:])}, backbone.text: frozen}}\n"
        "axes:\n"
        "  audio:\n"
        "    last: {backbone.audio: frozen}\n"
        "    learned: {backbone.audio: layers}\n"
        "    three: {backbone.audio: layers, backbone.audio_layers: [3]}\n"
        "    ridge: {backbone.audio: layers, method: ridge}\n"
    )
    plan = read_study(tmp_path / "study.yaml")
    results, failed, _ = run_study(plan, run.manifest, run.store.root, tmp_path / "out")
    assert failed == ()
    r = {outcome.cell.name: float(np.mean(outcome.r)) for outcome in results.outcomes}
    # all but ``last`` read layer 3, which alone knows the labels; text is frozen, and knows nothing;
    # chance: a mean of six r's over 120 clips has deviation 1 / sqrt(120 * 6) = .04
    assert r["last"] < 0.15 < 0.5 < min(r["learned"], r["three"], r["ridge"])


def test_layers_that_the_store_lacks_stop_a_run_before_it_starts(run: Trained, tmp_path: Path) -> None:
    settings = read_settings(overrides=[*QUICK, *READ, "backbone.audio_layers=[1]"])
    with pytest.raises(DataError, match=r"no layer 1 in the store, which has layers 0, 3, 6, 9"):
        train(run.manifest, run.store, settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_whose_width_is_not_of_its_layers_is_refused(run: Trained, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(run.folder / "model", copy)
    config = json.loads((copy / "config.json").read_text())
    config["settings"]["backbone"]["audio_layers"] = [0, 3, 6]
    (copy / "config.json").write_text(json.dumps(config))
    write_sums(copy, *sorted(path.name for path in copy.iterdir() if path.name != SUMS))
    with pytest.raises(ModelError, match=r"damaged model .*64 wide, which is not a multiple of 3 layers"):
        load_bundle(copy)


def test_features_without_a_source_have_no_layers_and_the_only_one_is_read_with_a_note(tmp_path: Path) -> None:
    manifest, store = planted(tmp_path / "store", train=40, valid=20)
    quick = [word for word in QUICK if not word.startswith("modalities")]
    summary = train(manifest, store, read_settings(overrides=[*quick, "modalities=[text]"]), tmp_path / "run")
    assert "text: its features were imported or synthesised, and have no layers: the only one is read" in summary.notes
    assert load_bundle(tmp_path / "run").settings.backbone.text == "frozen"  # so new clips are read in the same way


def test_a_model_saved_before_there_were_layers_reads_the_last_one(tmp_path: Path) -> None:
    manifest, store = planted(tmp_path / "store", train=40, valid=20)
    quick = [word for word in QUICK if not word.startswith("modalities")]
    train(manifest, store, read_settings(overrides=[*quick, "modalities=[text]"]), tmp_path / "run")
    model = tmp_path / "run" / "model"
    config = json.loads((model / "config.json").read_text())
    del config["settings"]["backbone"]
    (model / "config.json").write_text(json.dumps(config))
    write_sums(model, *(path.name for path in model.iterdir() if path.name != SUMS))
    assert load_bundle(model).settings.backbone.text == "frozen"


def test_a_model_of_before_layers_were_centered_scores_as_it_did(tmp_path: Path) -> None:
    """Nothing is subtracted from its layers."""
    manifest, store = planted_in_a_middle_layer(tmp_path / "store", 40, 20, ("vision",))
    words = [word for word in QUICK if not word.startswith("modalities")]
    settings = read_settings(overrides=[*words, "modalities=[vision]", "backbone.vision=layers", "stage1.epochs=2"])
    train(manifest, store, settings, tmp_path / "run")
    model = tmp_path / "run" / "model"
    features = {"vision": store.gather("vision_layers", [clip.id for clip in manifest.clips])}
    bundle = load_bundle(model)
    assert isinstance(bundle.module, Multimodal)
    center = bundle.module.encoder("vision").center
    assert center is not None and torch.equal(center[0], center[1])
    center.fill_(3.0)
    assert not np.array_equal(bundle.score(features), load_bundle(model).score(features))
    center.zero_()
    expected = bundle.score(features)
    weights = model / "model.safetensors"
    tensors = load(weights.read_bytes())
    weights.write_bytes(save({name: tensor for name, tensor in tensors.items() if not name.endswith(".center")}))
    write_sums(model, *(path.name for path in model.iterdir() if path.name != SUMS))
    np.testing.assert_array_equal(load_bundle(model).score(features), expected)
