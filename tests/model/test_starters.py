"""The model that ships with mien: what it says of texts and of people who speak, and what starts from it."""

import contextlib
import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import mien
from mien.config import read_settings
from mien.data.manifest import read_manifest
from mien.errors import ModelError, SettingsError, WeightsError
from mien.features.extract import extract
from mien.features.store import Store
from mien.model.model_folder import load_bundle, resolve_model_dir
from mien.starters import NAMES, starter
from mien.training import train
from mien.weights import resolve_backbones

pytestmark = pytest.mark.weights
CLIPS = Path(__file__).parents[3] / "shared" / "clips"
TEXTS = {
    "admiring": "You did an incredible job, I really look up to you.",
    "amused": "haha that is so funny i can't stop laughing",
    "excited": "oh my god i can't wait we are finally going tomorrow",
    "joyful": "I'm so happy for you, this made my day!",
    "plain": "the meeting is at four in room twelve",
}
PAIN = (
    "It is heartbreaking to read about these families who lost everything in the fire. I cannot imagine the pain of "
    "the parents, and it makes me so sad that nobody came to help them in time."
)


@pytest.fixture(scope="module")
def scored(small_weights: object, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """Scores of a table of texts, by text."""
    table = tmp_path_factory.mktemp("texts") / "texts.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerows([("id", "transcript"), *TEXTS.items(), ("pain", PAIN), ("nothing", "")])
    return {row["clip"]: row for row in mien.load("words-en").predict(table).to_pylist()}


def test_every_starter_is_small_and_says_what_it_is(small_weights: object) -> None:
    for name in NAMES:
        folder = starter(name)
        assert folder is not None
        assert sum(file.stat().st_size for file in folder.iterdir()) < 8_000_000
        bundle = load_bundle(Path(name))
        assert bundle.targets == ("Admiration", "Amusement", "Excitement", "Joy", "Joy (graded)", "Empathic Pain")
        assert bundle.provenance["banner"] in json.loads((folder / "provenance.json").read_text())["banner"]
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert "words alone" in card and "CC BY 4.0" in card and "GoEmotions" in card and "/work" not in card
        assert not any("/" in str(one.reference) for one in bundle.backbones.values())


def test_scores_follow_the_words(scored: dict[str, dict[str, float]]) -> None:
    for text, target in (
        ("admiring", "Admiration"),
        ("amused", "Amusement"),
        ("excited", "Excitement"),
        ("joyful", "Joy"),
    ):
        assert scored[text][target] > scored["plain"][target] + 0.2, text
    assert scored["pain"]["Empathic Pain"] > scored["plain"]["Empathic Pain"] + 0.1
    assert scored["plain"]["Admiration"] < 0.1 and scored["plain"]["Amusement"] < 0.1


def test_a_clip_without_words_has_no_score_but_a_reason(scored: dict[str, dict[str, float]]) -> None:
    row = scored["nothing"]
    assert all(row[target] is None or np.isnan(row[target]) for target in ("Joy", "Amusement"))
    assert "transcript is empty" in str(row)


@pytest.mark.skipif(not CLIPS.is_dir(), reason="no real clips here")
def test_real_speech_is_scored_and_silence_has_a_reason(small_weights: object, tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    begin = time.monotonic()
    clips = [CLIPS / "speech_mpeg4.mp4", CLIPS / "silent_face.mp4"]
    command = [sys.executable, "-m", "mien.cli", "predict", "words-en", *clips, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.monotonic() - begin
    assert done.returncode == 3, done.stderr  # some
    assert "words alone" in done.stderr + done.stdout
    found = json.loads(out.read_text())
    assert "words alone" in found["model"]["banner"]
    speech, silent = found["clips"]
    assert speech["transcript"] and all(0 <= score <= 1 for score in speech["scores"].values())
    assert silent["error"] and not any(silent["scores"].values())
    assert took < 60, took  # on a busy machine; docs/starters.md has the time of a quiet one


def test_a_folder_of_the_same_name_comes_first(tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path):
        Path("words-en").mkdir()
        assert resolve_model_dir(Path("words-en")) == Path("words-en")
        with pytest.raises(ModelError, match="not a model"):
            load_bundle(Path("words-en"))
    with pytest.raises(ModelError, match="ships with mien: words-en"):
        load_bundle(Path("words-fr"))


def test_other_runs_start_from_it(small_weights: object, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = tmp_path / "own.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "participant", "split", "transcript", "Cheer"])
        for n in range(40):
            cheerful = n % 2
            text = ("what a wonderful day number" if cheerful else "the report has pages") + f" {n}"
            score = round(float(np.clip(0.2 + 0.6 * cheerful + rng.normal() * 0.05, 0, 1)), 3)
            rows.writerow([n, n // 4, "train" if n < 28 else "valid", text, score])
    common = ["modalities=[text]", "seeds=[0, 1]", "backbone.text=frozen", "weights.text=words-en"]
    given = read_settings(overrides=[*common, "stage1.text.from=words-en", "stage1.text.use=adapted"])
    manifest = read_manifest(table)
    for outcome in extract(manifest, tmp_path / "features", given):
        assert outcome.failure is None
    result = train(manifest, Store(tmp_path / "features"), given, tmp_path / "run")
    assert result is not None
    bundle = load_bundle(tmp_path / "run")
    assert bundle.provenance["encoders"]["text"]["run"] == "words-en"
    assert bundle.backbones["text"].reference == "words-en"
    with contextlib.chdir("/"):
        made = mien.load(tmp_path / "run").predict(table).to_pylist()
    assert np.corrcoef([row["Cheer"] for row in made], [n % 2 for n in range(40)])[0, 1] > 0.9
    other = [*common[:3], "stage1.text.from=words-en"]
    for outcome in extract(manifest, tmp_path / "plain", read_settings(overrides=other)):
        assert outcome.failure is None
    with pytest.raises(SettingsError, match=r"weights\.text=words-en"):
        train(manifest, Store(tmp_path / "plain"), read_settings(overrides=other), tmp_path / "refused")


def test_it_has_a_text_backbone_alone() -> None:
    settings = read_settings(overrides=["weights.audio=words-en"])
    with pytest.raises(WeightsError, match="words-en: has no audio backbone"):
        resolve_backbones(settings.backbones, ["audio"])
