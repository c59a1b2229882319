"""Alignment with text teaches encoders from clips without ratings, and costs nothing when it is off."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.config import Settings, Stage1Settings, read_settings
from mien.errors import SettingsError
from mien.metrics import mean_defined, pearson
from mien.model.embeddings import subset_scores
from mien.model.inputs import ClipDataset, PackedSteps, predict_all
from mien.model.network import ModelSpec, Unimodal
from mien.schema import Manifest
from mien.study.cells import EncoderJob, StudyContext
from mien.study.plan import Cell
from mien.training import train
from mien.training.fit import fit
from mien.training.stage1 import TrainContext, read_by_encoder, train_encoder
from mien.training.stage2 import train_fusion
from mien.training.state import TrainingJob

from .planted import planted
from .test_fit import SETTINGS, VARIANTS, clips, curve, multimodal, weights

SMALL = ["stage1.embedding=16", "stage1.motion_embedding=16", "stage2.hidden=16", "stage1.batch_size=64"]
SMALL += ["stage2.batch_size=64", "stage1.epochs=10", "stage2.epochs=10", "stage1.patience=0", "stage2.patience=0"]
SMALL += ["stage1.lr=5e-3", "stage2.lr=5e-3", "seeds=[0]"]
CONTEXT = TrainContext(None, torch.float32, 0)


def few_ratings(count: int, rated: int, seed: int) -> ClipDataset:
    """Clips of which few are rated: what moves the ratings is 2 of 42 directions of audio, and all of text."""
    rng = np.random.default_rng([seed, 7])
    known, noise = rng.normal(size=(count, 2)), rng.normal(size=(count, 40))
    maps = np.random.default_rng(0).normal(size=(2, 6))
    mixed = np.linalg.qr(np.random.default_rng(1).normal(size=(42, 42)))[0]
    audio = np.hstack([known, noise]) @ mixed
    parts = {}
    for name, values in (("text", known @ maps + 0.3 * rng.normal(size=(count, 6))), ("audio", audio)):
        steps = torch.as_tensor(values, dtype=torch.float32)
        parts[name] = PackedSteps(steps, torch.arange(count), torch.ones(count, dtype=torch.long))
    labels = torch.as_tensor(known + 0.3 * rng.normal(size=(count, 2)), dtype=torch.float32)
    labels[rated:] = torch.nan
    return ClipDataset(parts, labels, torch.float32)


def audio_r(scores: np.ndarray, fresh: ClipDataset) -> float:
    return float(mean_defined(pearson(scores, fresh.labels.numpy())).mean())


def test_contrastive_stage_1_learns_from_clips_without_ratings() -> None:
    data, valid, fresh = few_ratings(600, 30, 0), few_ratings(100, 100, 1), few_ratings(400, 400, 2)
    found = {}
    for weight in (0.0, 1.0):
        settings = read_settings(overrides=[*SMALL, f"stage1.contrastive={weight}"])
        module, _ = train_encoder("audio", data, valid, settings, CONTEXT, lambda *_: None)
        assert isinstance(module, Unimodal)
        found[weight] = audio_r(predict_all(module, fresh), fresh)
    assert found[1.0] > found[0.0] + 0.15, found


def test_triplets_teach_a_modality_what_its_words_tell() -> None:
    data, valid, fresh = few_ratings(600, 30, 0), few_ratings(100, 100, 1), few_ratings(400, 400, 2)
    found = {}
    for weight in (0.0, 3.0):
        changes = [f"stage2.triplet={weight}", "stage2.adaptation=joint", "modalities=[text,audio]"]
        settings = read_settings(overrides=[*SMALL, *changes])
        module, _ = train_fusion(data, valid, {}, settings, CONTEXT, lambda *_: None)
        found[weight] = audio_r(subset_scores(module, fresh, [("audio",)])["audio",], fresh)
    assert found[3.0] > found[0.0] + 0.1, found


def test_without_further_terms_losses_are_those_of_before() -> None:
    """Losses of the three models in three epochs, as they were before there were further terms."""
    golden = {
        "audio": [[1.2676, 1.224334, 1.240763], [1.209032, 1.158363, 1.163196], [1.162837, 1.226989, 1.074701]],
        "stage2": [[1.142544, 1.142904, 1.171296], [1.076737, 1.114395, 1.102804], [1.118932, 1.098643, 1.095589]],
    }
    data, models = clips(), VARIANTS
    unimodal = Unimodal("audio", 7, 2, SETTINGS.stage1, models)
    alone = TrainingJob("audio", unimodal, unimodal.groups(), models, data, clips(40, 1), SETTINGS.stage1, epochs=3)
    for job in (alone, replace(multimodal(models), epochs=3)):
        losses = [epoch.loss.tolist() for epoch in fit(job)]
        np.testing.assert_allclose(losses, golden[job.name], atol=1e-4)


def encoder_losses(settings: Settings, models: tuple[ModelSpec, ...]) -> tuple[np.ndarray, Unimodal]:
    epochs = []
    module, _ = train_encoder(
        "audio", clips(), clips(40, 1), settings, CONTEXT, lambda _, epoch: epochs.append(epoch), models
    )
    return curve(epochs), module


def test_aligned_models_trained_at_once_equal_models_trained_alone() -> None:
    stage = SETTINGS.stage1.model_copy(update={"contrastive": 0.5, "epochs": 4, "patience": 1})
    settings = SETTINGS.model_copy(update={"stage1": stage})
    together, module = encoder_losses(settings, VARIANTS)
    for k, variant in enumerate(VARIANTS):
        alone, own = encoder_losses(settings, (variant,))
        np.testing.assert_allclose(together[: len(alone), k], alone[:, 0], atol=1e-4)
        for ours, theirs in zip(module.parameters(), own.parameters(), strict=True):
            torch.testing.assert_close(ours[k], theirs[0], atol=1e-4, rtol=1e-3)


def test_the_triplet_term_moves_the_encoders_of_every_model_as_if_alone() -> None:
    together = replace(multimodal(VARIANTS), terms={"triplet": 1.0})
    without = multimodal(VARIANTS)
    seen = curve(list(fit(together)))
    list(fit(without))
    assert not any(torch.equal(a, b) for a, b in zip(weights(together), weights(without), strict=True))
    for k, variant in enumerate(VARIANTS):
        alone = replace(multimodal((variant,)), terms={"triplet": 1.0})
        np.testing.assert_allclose(seen[:, k], curve(list(fit(alone)))[:, 0], atol=1e-4)


def test_what_the_training_of_an_encoder_reads() -> None:
    aligned = Stage1Settings(contrastive=0.1)
    assert read_by_encoder("audio", Stage1Settings(), ["audio"]) == ("audio",)
    assert read_by_encoder("audio", aligned, ["text", "audio"]) == ("audio", "text")
    assert read_by_encoder("text", aligned, ["text", "audio"]) == ("text",)
    with pytest.raises(SettingsError, match="aligns audio with text, which is not among the modalities"):
        read_by_encoder("audio", aligned, ["audio", "vision"])


WRONG = {
    "stage1.contrastive=1 stage2.adaptation=joint": "stage1.contrastive: joint has no stage 1",
    "stage1.contrastive=1 modalities=[audio,vision]": "aligns audio with text, which is not among the modalities",
    "stage2.triplet=1 stage2.adaptation=frozen": "stage2.triplet: frozen encoders do not learn",
    "stage2.triplet=1 stage2.adaptation=joint stage2.head=taemi": "head taemi has no encoders below it to align",
    "stage2.triplet=1 modalities=[audio,vision]": "but the model reads audio, vision; add modalities",
    "stage2.triplet=1 modalities=[text]": "but the model reads text; add modalities",
}


def test_a_term_that_has_nothing_to_align_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    manifest, store = planted(tmp_path / "store", 24, 12)
    for given, message in WRONG.items():
        with pytest.raises(SettingsError, match=message):
            train(manifest, store, read_settings(overrides=given.split()), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.soak
def test_a_run_with_both_terms_trains_refits_and_is_continued(tmp_path: Path) -> None:
    manifest, store = planted(tmp_path / "store", 80, 40)
    changes = ["stage1.contrastive=0.3", "stage2.triplet=0.3", "train.select=inner", "train.refit=true", "seeds=[0,1]"]
    changes += ["stage1.epochs=3", "stage1.motion_epochs=3", "stage2.epochs=3", "stage1.embedding=8", "stage2.hidden=8"]
    settings = read_settings(overrides=changes)
    first = train(manifest, store, settings, tmp_path / "run")
    again = train(manifest, store, settings, tmp_path / "run")
    assert first.mean_r == again.mean_r
    assert set(first.r) == {"text", "audio", "vision", "motion", "fused", "ensemble"}


def test_results_of_earlier_studies_keep_their_keys() -> None:
    """As before there were further terms, and before layers, which text has by default, started at a ridge."""
    context = StudyContext(Manifest(Path("x"), ("a",), ()), Path("f"), Path("out"))
    context.__dict__["fingerprints"] = ("data", "features")
    settings, last = Settings(), read_settings(overrides=["backbone.text=frozen"])
    cells = [Cell((), settings, "ridge"), Cell((), last), Cell((), settings)]
    keys = [context.folder(cell).name for cell in cells]
    assert keys[:2] == ["50eef86e35053a2697d97136c592f86b", "333e7e2e3d98c863a17e161a240dd23d"]
    assert keys[2] != "0514e1448f6c40292794f8efdbd40235"  # which had started from equal weights
    assert context.encoder_folder(EncoderJob("audio", settings)).name == "384b2b128558a6ad06d31209ec12105a"
    for changed in ("stage1.contrastive=0.1", "stage2.triplet=0.1"):
        assert context.folder(Cell((), read_settings(overrides=[changed]))).name not in keys
