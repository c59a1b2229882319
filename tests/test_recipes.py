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
