"""Settings: strict, frozen, one file and dotted overrides; an error suggests the intended setting."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from mien.config import Settings, read_settings
from mien.errors import SettingsError


def test_a_file_then_overrides(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("weights: tiny\nmodalities: [text, audio]\nmedia: {vision_fps: 2}\n")
    settings = read_settings(file, ["media.vision_fps=3.5", "stage2.lr=1e-4", "weights=small"])
    assert settings.modalities == ("text", "audio")
    assert (settings.media.vision_fps, settings.stage2.lr, settings.weights) == (3.5, 1e-4, "small")


def test_settings_are_frozen_and_can_be_hashed() -> None:
    with pytest.raises(ValidationError):
        read_settings().media.vision_fps = 1.0  # type: ignore[misc]
    assert hash(read_settings()) == hash(Settings())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("media.vison_fps=2", "media.vison_fps: no such setting; did you mean 'vision_fps'"),
        ("medai.vision_fps=2", "medai: no such setting; did you mean 'media'"),
        ("media.vision_fps=fast", "media.vision_fps: .*found 'fast'"),
        ("media.vision_fps=-1", "media.vision_fps: .*greater than 0, found -1"),
        ("speech.beam_size='1'", "speech.beam_size"),
        ("weights=big", "weights: .*found 'big'"),
        ("weights.x=1", "weights"),
        ("nonsense", "written name=value"),
        ("media=3", "media"),
    ],
)
def test_a_wrong_override_is_one_line_that_helps(override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        read_settings(overrides=[override])
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path / "none.yaml")
    for text in ("a: [", "- 1\n- 2\n", "media: {vision_fsp: 2}\n"):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(SettingsError, match=r"bad\.yaml"):
            read_settings(tmp_path / "bad.yaml")


def test_written_settings_can_be_read_back(tmp_path: Path) -> None:
    import yaml

    settings = read_settings(overrides=["media.motion_fps=5"])
    (tmp_path / "all.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    assert read_settings(tmp_path / "all.yaml") == settings


def test_the_schema_describes_every_setting() -> None:
    schema = json.dumps(Settings.model_json_schema())
    assert "Frames per second sampled for face crops" in schema
