"""The stand-in's feature mode takes its settings by name, and a folder holds one corpus only."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mien.cli import app
from mien.errors import DataError, SettingsError
from mien.features.store import Store
from mien.synthetic.corpus import feature_plan, synth

SMALL = ["widths.text=16", "widths.audio=16", "widths.vision=16", "rates.audio=5", "longest_seconds=20", "no_text=0.5"]


def test_settings_are_changed_by_name() -> None:
    plan = feature_plan(["no_text=0.3", "widths.text=96", "ceilings.motion=[0, 0, 0, 0, 0, 0]"])
    assert plan.no_text == 0.3
    assert plan.widths == {"text": 96, "audio": 1024, "vision": 768, "motion": 23}
    assert tuple(plan.ceilings["motion"]) == (0,) * 6


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("no_tex=0.3", "no_tex: the feature mode has no such setting; known are seed, widths"),
        ("widths.smell=3", "widths.smell: no such modality; known are text, audio"),
        ("no_text=often", "no_text: .* found 'often'"),
        ("no_text", "is written name=value"),
        ("no_text=2", "no_text = 2.0, but it is a share"),
        ("ceilings.motion=[0, 0]", r"ceilings.motion = .*, but it is 6 values"),
    ],
)
def test_what_cannot_be_set_is_refused(wrong: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        feature_plan([wrong])


def test_the_command_makes_a_corpus_of_other_sizes(tmp_path: Path) -> None:
    changes = [word for change in SMALL for word in ("--set", change)]
    words = ["synth", str(tmp_path / "c"), "--mode", "features", "--clips", "60", "-q", *changes]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    store = Store(tmp_path / "c" / "features")
    assert store.gather("audio", list(store.clips)).width == 16
    silent = sum(store.rows[clip, "text"].steps == 0 for clip in store.clips)
    assert 15 <= silent <= 45  # half of 60, by four deviations
    with pytest.raises(DataError, match=r"holds another corpus \(no_text: 0.5, not 0.014"):
        synth(tmp_path / "c", mode="features", clips=60, plan=feature_plan(SMALL[:-1]), progress=False)


def test_a_corpus_that_cannot_be_leaves_nothing_behind(tmp_path: Path) -> None:
    words = ["synth", str(tmp_path / "c"), "--mode", "features", "--clips", "60", "-q", "--set", "no_text=0.9"]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, SettingsError)
    assert str(done.exception) == "impossible corpus: text: a wanted r is above what a signal without noise would reach"
    assert not (tmp_path / "c").exists()


def test_settings_of_features_do_not_go_with_videos(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["synth", str(tmp_path / "c"), "--set", "no_text=0.3"])
    assert done.exit_code == 2
