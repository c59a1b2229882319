"""Every recipe can be read, and has the stated values."""

from pathlib import Path

import pytest

from mien.config import Settings, read_settings

RECIPES = sorted((Path(__file__).resolve().parents[1] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_every_recipe_can_be_read(recipe: Path) -> None:
    assert isinstance(read_settings(recipe), Settings)


def test_the_default_recipe_is_the_default() -> None:
    default = next(path for path in RECIPES if path.name == "default.yaml")
    assert read_settings(default) == Settings()


def test_the_papers_recipe_has_the_papers_hyperparameters() -> None:
    paper = read_settings(next(path for path in RECIPES if path.name == "paper.yaml"))
    for stage in (paper.stage1, paper.stage2):
        assert (stage.lr, stage.weight_decay, stage.batch_size) == (2e-4, 1e-2, 16)
        assert (stage.dropout, stage.clip_norm) == (0.45, 1)
        assert (stage.schedule, stage.plateau_factor, stage.plateau_patience, stage.patience) == ("plateau", 0.5, 3, 10)
        assert (stage.loss.ccc, stage.loss.mse) == (0.7, 0.3)
    assert (paper.stage1.epochs, paper.stage1.motion_epochs, paper.stage2.modality_dropout) == (50, 100, 0.3)
    assert paper.stage2.lr * paper.stage2.encoder_rate == pytest.approx(1e-5)


def test_the_recipes_of_other_systems_have_their_published_hyperparameters() -> None:
    champion, taemi, huang, yu = (
        read_settings(next(path for path in RECIPES if path.stem == name))
        for name in ("champion", "taemi", "huang", "yu")
    )
    for settings in (champion, taemi):
        stage = settings.adapt
        assert (stage.lr, stage.weight_decay, stage.batch_size, stage.epochs) == (1e-4, 1e-2, 32, 50)
        assert (stage.schedule, stage.warmup_epochs, settings.stage2.adaptation) == ("cosine", 1, "joint")
        assert (settings.backbone.text, settings.backbone.audio, settings.backbone.vision) == ("full", "full", "frozen")
        assert (stage.layer_decay, stage.head_rate, stage.patience, stage.longest_seconds) == (1, 1, 5, 12)
        assert settings.stage1.longest_steps == 12 * 50  # 12 s of 50 steps
        assert settings.modalities == ("text", "audio", "vision")
    assert (champion.stage2.head, champion.stage2.hidden) == ("hallmen", 1027)
    assert (taemi.stage2.head, taemi.stage2.hidden, taemi.stage2.missing) == ("taemi", 512, "token")
    assert (taemi.adapt.dropout, taemi.stage2.modality_dropout) == (0.1, 0.1)
    assert (huang.stage2.head, huang.stage2.ema, huang.stage2.loss.pearson) == ("auxiliary", 0.999, 0.1)
    assert 0.03 <= huang.stage2.auxiliary / len(huang.modalities) <= 0.08
    assert yu.stage1.contrastive > 0
    for loss in (champion.adapt.loss, taemi.adapt.loss, huang.stage2.loss, yu.stage2.loss):
        assert (loss.ccc, loss.mse) == (0, 1)
