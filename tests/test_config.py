"""Settings: strict, frozen, one file and dotted overrides; an error suggests the intended setting."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from mien.cli import app
from mien.config import Settings, read_local, read_settings
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
        ("modalities=text", r"^modalities: expected a list, for example \[text\], found 'text'$"),
        ("seeds=0", r"^seeds: expected a list, for example \[0\], found 0$"),
        ("seeds={a: 1}", r"^seeds: expected a list, found {'a': 1}$"),
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


FILE = "weights: tiny\nmedia:\n  vision_fps: 2\n  # a remark\n  motion_fps: 5\nstage2: {lr: 0.001}\n"


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("motion_fps: 5", "motoin_fps: 5", ":5: media.motoin_fps: no such setting; did you mean 'motion_fps'?"),
        ("motion_fps: 5", "motion_fps: fast", ":5: media.motion_fps: input should be a valid number, found 'fast'"),
        ("{lr: 0.001}", "{lr: -1}", ":6: stage2.lr: input should be greater than 0, found -1"),
        ("weights: tiny", "weigths: tiny", ":1: weigths: no such setting; did you mean 'weights'?"),
        ("motion_fps: 5", "vision_fps: 5", ":5: media.vision_fps: given twice, first in line 3"),
        ("stage2:", "media:", ":6: media: given twice, first in line 2"),
    ],
)
def test_an_error_in_a_file_names_its_line(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    file = tmp_path / "my settings.yaml"
    file.write_text(FILE.replace(right, wrong))
    with pytest.raises(SettingsError) as caught:
        read_settings(file, ["stage2.lr=1e-4"] if "lr" not in wrong else [])
    assert str(caught.value) == f"{file}{said}"


def test_an_error_in_an_override_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(FILE)
    with pytest.raises(SettingsError, match=r"^media.vison_fps: no such setting; did you mean 'vision_fps'\?$"):
        read_settings(file, ["media.vison_fps=2"])
    with pytest.raises(SettingsError, match=r"^media\.vision_fps: input should be a valid number, found 'fast'$"):
        read_settings(file, ["media.vision_fps=fast"])  # replaces the 2 of line 3
    with pytest.raises(SettingsError, match=r"^media: motoin_fps: no such setting"):
        read_settings(file, ["media={motoin_fps: 5}"])
    file.write_text(FILE.replace("vision_fps: 2", "vision_fps: fast"))
    assert read_settings(file, ["media.vision_fps=3"]).media.vision_fps == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "media.vison_fps=2"], "--set media.vison_fps: no such setting; did you mean 'vision_fps'?"),
        (["--set", "stage2.lr=x"], "--set stage2.lr: input should be a valid number, found 'x'"),
        (["--set", "nonsense"], "--set nonsense: an override is written name=value, for example media.vision_fps=2"),
        (["--set", "stage2.lr=["], "--set stage2.lr: '[' is not a valid value"),
        (["--set", "lr=1"], "--set lr: no such setting; did you mean adapt.lr, stage1.lr or stage2.lr?"),
    ],
)
def test_the_command_line_blames_the_option(tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "mine.yaml").write_text(FILE)
    done = CliRunner().invoke(app, ["settings", "--config", str(tmp_path / "mine.yaml"), *words])
    assert str(done.exception) == said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--weights", "big"], "--weights: input should be 'small', 'paper' or 'tiny', found 'big'"),
        (["--faces", "none"], "--faces: input should be 'video', 'provided' or 'auto', found 'none'"),
        (["--modalities", "text,Smell"], "--modalities: 1: string should match pattern"),
    ],
)
def test_a_commands_own_option_is_blamed_by_its_name(tmp_path: Path, words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["extract", str(tmp_path), "--out", str(tmp_path / "store"), *words])
    assert str(done.exception).startswith(said)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("compute.thread=2", "compute.thread: no such setting; did you mean 'threads'?"),
        ("comput.threads=2", "comput.threads: no such setting; did you mean 'compute'?"),
        ("stage1.text.from=runs/a", "stage1.text.from: comes with the model; settings of this machine are compute.dev"),
        ("compute.precision=float32", "compute.precision: comes with the model; settings of this machine are compute."),
    ],
)
def test_a_setting_of_this_machine_that_does_not_exist_is_not_said_to_come_with_the_model(
    override: str, said: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read_local([override])
    assert str(caught.value).startswith(said)


def test_written_settings_can_be_read_back(tmp_path: Path) -> None:
    import yaml

    settings = read_settings(overrides=["media.motion_fps=5"])
    (tmp_path / "all.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    assert read_settings(tmp_path / "all.yaml") == settings


def test_the_schema_describes_every_setting() -> None:
    schema = json.dumps(Settings.model_json_schema())
    assert "Frames per second sampled for face crops" in schema
