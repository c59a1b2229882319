"""Prediction: whatever a clip has is scored, only a clip with nothing is an error, and the others go on."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

import mien
from mien.cli import app
from mien.config import read_settings
from mien.data.manifest import read_manifest
from mien.errors import DataError, ModelError, SettingsError
from mien.features.jobs import ClipOutcome
from mien.features.layers import gather, inputs_of
from mien.features.store import Packed
from mien.inference.prediction import predict_clip
from mien.inference.score import pack
from mien.modalities import get_modalities
from mien.model.model_folder import save_bundle
from mien.schema import Clip, ClipFeatures, Faces, Feature
from mien.scores.document import read_document
from mien.scores.exports import write_scores
from mien.scores.tables import check_suffix, write_table
from tests.media.clips import make_clip, tone

SETTINGS = read_settings(
    overrides=["weights=tiny", "modalities=[text, audio]", "seeds=[0, 1]", "stage1.epochs=2", "stage2.epochs=2",
               "compute.precision=float32"]
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen rated tones with words beside them: the higher, the more Joy."""
    root = tmp_path_factory.mktemp("data")
    (root / "text").mkdir()
    rows = ["id,path,split,participant,Joy,Awe"]
    for number in range(16):
        pitch = 1 + number / 8
        make_clip(
            root / f"{number:02d}.mkv", codec=None, seconds=0.4, sound="pcm_s16le", sound_rate=16000,
            layout="mono", wave=lambda t, pitch=pitch: tone(pitch * t),
        )  # fmt: skip
        (root / "text" / f"{number:02d}.txt").write_text("so happy " * (number // 4 + 1))
        split = "valid" if number % 4 == 0 else "train"
        rows.append(f"{number:02d},{number:02d}.mkv,{split},p{number % 8},{number / 16},{1 - number / 16}")
    (root / "clips.csv").write_text("\n".join(rows))
    return root


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> mien.Model:
    """A model trained by the public calls alone, on random weights."""
    home = tmp_path_factory.mktemp("home")
    tally = mien.extract(data / "clips.csv", home / "features", SETTINGS, progress=False)
    assert tally.made == 16
    summary = mien.train(data / "clips.csv", home / "features", home / "run", SETTINGS, progress=False)
    assert summary.targets == ("Joy", "Awe")
    return mien.load(home / "run")


def test_targets_come_from_the_data(model: mien.Model) -> None:
    assert model.targets == ("Joy", "Awe")
    assert model.bundle.random_weights


def test_a_folder_gives_a_row_per_clip_and_bad_ones_say_why(model: mien.Model, data: Path, tmp_path: Path) -> None:
    for name in ("00.mkv", "15.mkv"):
        shutil.copy(data / name, tmp_path / name)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "15.txt").write_text("so happy")
    (tmp_path / "text" / "00.txt").write_text("")
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    make_clip(tmp_path / "mute.mkv", seconds=0.4, sound=None)
    rows = {row["clip"]: row for row in model.predict(tmp_path).to_pylist()}
    assert set(rows) == {"00", "15", "bad", "mute"}
    assert rows["15"]["present"] == "text audio"
    assert math.isfinite(rows["15"]["Joy"])
    assert rows["00"]["present"] == "audio"
    assert rows["00"]["absent"] == "text: the provided transcript is empty"
    assert rows["bad"]["Joy"] != rows["bad"]["Joy"] or rows["bad"]["Joy"] is None
    assert "not a video" in rows["bad"]["error"]
    assert "nothing to score" in rows["mute"]["error"] and "no audio track" in rows["mute"]["error"]


def test_scores_do_not_depend_on_company(model: mien.Model, data: Path) -> None:
    alone = model.predict(data / "03.mkv").to_pylist()[0]
    among = model.predict([data / f"{n:02d}.mkv" for n in (1, 3, 9)]).to_pylist()[1]
    assert alone == among


def test_prediction_equals_scoring_the_store(model: mien.Model, data: Path, tmp_path: Path) -> None:
    """From the file in one go, or by way of the store: the same model must say the same."""
    manifest = read_manifest(data / "clips.csv")
    mien.extract(manifest, tmp_path, SETTINGS, progress=False)
    store = mien.Store(tmp_path)
    ids = [clip.id for clip in manifest.clips]
    inputs = inputs_of(store, model.bundle.settings.backbone, model.modalities)
    by_store = model.bundle.score({name: gather(store, read, name, ids) for name, read in inputs.items()})
    by_file = model.predict(data / "clips.csv", raw=True)
    assert np.abs(np.stack([by_file["Joy"], by_file["Awe"]], 1) - by_store).max() < 1e-5


def test_what_does_not_exist_is_said(model: mien.Model, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        model.predict(tmp_path / "none.mp4")
    with pytest.raises(ModelError):
        mien.load(tmp_path)


def test_features_of_another_width_are_refused() -> None:
    clip = ClipFeatures("a", 1.0, (Feature("audio", "k", "p", np.ones((2, 4), np.float16), np.zeros(2, np.float32)),))
    assert isinstance(pack([clip], ["audio"], {"audio": 4})["audio"], Packed)
    with pytest.raises(ModelError, match="4 wide, but the model was trained on 8"):
        pack([clip], ["audio"], {"audio": 8})


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".json"])
def test_tables_are_read_back_from_every_format(model: mien.Model, data: Path, tmp_path: Path, suffix: str) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    scores = model.predict([data / "03.mkv", tmp_path / "bad.mp4"])
    file = tmp_path / f"scores{suffix}"
    write_table(scores, file)
    match suffix:
        case ".csv":
            back = pyarrow.csv.read_csv(file).to_pylist()
        case ".tsv":
            back = pyarrow.csv.read_csv(file, parse_options=pyarrow.csv.ParseOptions(delimiter="\t")).to_pylist()
        case ".parquet":
            back = pyarrow.parquet.read_table(file).to_pylist()
        case _:
            back = json.loads(file.read_text())
    assert back[0]["Joy"] == pytest.approx(scores["Joy"][0].as_py())
    assert back[1]["Joy"] is None or math.isnan(back[1]["Joy"])
    assert "not a video" in back[1]["error"]


def test_an_ending_we_cannot_write_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot write \.xls"):
        check_suffix(tmp_path / "scores.xls")


def test_a_model_prepares_clips_as_those_it_learned_from(data: Path, tmp_path: Path) -> None:
    """Settings of the extraction travel with the store into the model, whatever the settings of the training."""
    extracted = read_settings(overrides=["weights=tiny", "modalities=[audio]", "media.vision_fps=2"])
    mien.extract(data / "clips.csv", tmp_path / "features", extracted, progress=False)
    other = read_settings(overrides=["modalities=[audio]", "seeds=[0]", "stage1.epochs=1", "stage2.epochs=1"])
    mien.train(data / "clips.csv", tmp_path / "features", tmp_path / "run", other, progress=False)
    settings = mien.load(tmp_path / "run").bundle.settings
    assert (settings.weights, settings.media.vision_fps) == ("tiny", 2)


def test_the_limits_of_this_machine_can_be_set_and_what_comes_with_a_model_cannot(
    data: Path, model: mien.Model, tmp_path: Path
) -> None:
    save_bundle(model.bundle, tmp_path / "model")
    words = ["predict", str(tmp_path / "model"), str(data / "00.mkv"), "--quiet", "--set"]
    shorter = CliRunner().invoke(app, [*words, "media.longest_seconds=0.2"])
    assert shorter.exit_code == 1
    assert "longer than" in shorter.output
    assert CliRunner().invoke(app, [*words, "media.longest_seconds=2"]).exit_code == 0
    theirs = CliRunner().invoke(app, [*words, "media.vision_fps=2"])
    assert isinstance(theirs.exception, SettingsError)
    assert "media.vision_fps: comes with the model" in str(theirs.exception)


def test_a_model_of_the_stand_in_says_so_wherever_its_scores_go(data: Path, tmp_path: Path) -> None:
    """The folder is recognised by the file that mien synth leaves in it; the tones themselves do not matter here."""
    shutil.copytree(data, tmp_path / "corpus")
    (tmp_path / "corpus" / "corpus.json").write_text('{"version": 3, "clips": 16, "seed": 0, "dirt": 0.0}')
    mien.extract(tmp_path / "corpus" / "clips.csv", tmp_path / "features", SETTINGS, progress=False)
    mien.train(tmp_path / "corpus" / "clips.csv", tmp_path / "features", tmp_path / "run", SETTINGS, progress=False)
    out = tmp_path / "scores.json"
    done = CliRunner().invoke(app, ["predict", str(tmp_path / "run"), str(data / "03.mkv"), "-q", "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert "note: the model was trained on synthetic people: for trying out" in done.output
    made = read_document(out)
    assert made.model.banner is not None and "for trying out" in made.model.banner
    assert made.model.trained_on is not None
    assert made.model.trained_on.model_dump() == {
        "name": "clips.csv",
        "clips": 12,
        "synthetic": True,
        "label_scale": 1.0,
    }
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "**Trained on synthetic people: for trying out." in card.partition("## ")[0]
    assert "synthetic-data" in card.partition("# ")[0]


def test_scores_name_their_model_its_data_and_the_version(model: mien.Model, data: Path, tmp_path: Path) -> None:
    """The hash is the one that sha256sum gives of the model's weights."""
    made = model.document(model.predictions(data / "03.mkv", windows=0.2), windows=0.2)
    weights = model.bundle  # loaded from home/run; its file is found again by its hash
    assert made.model.banner is None
    assert made.model.trained_on is not None and made.model.trained_on.synthetic is False
    assert made.provenance is not None and made.provenance.windows is not None
    assert (made.provenance.windows.seconds, made.provenance.windows.hop) == (0.2, 0.05)
    assert made.provenance.mien == mien.__version__
    save_bundle(weights, tmp_path / "copy")
    sums = (tmp_path / "copy" / "SHA256SUMS").read_text().splitlines()
    (listed,) = (line.split()[0] for line in sums if line.endswith("  model.safetensors"))
    assert made.model.sha256 == mien.load(tmp_path / "copy").sha256 == listed
    metadata = model.predict(data / "03.mkv").schema.metadata
    assert json.loads(metadata[b"mien"])["model"]["sha256"] == listed


def test_notes_on_a_file_reach_the_terminal_the_table_and_the_document(
    model: mien.Model, data: Path, tmp_path: Path
) -> None:
    """A file that was cut off while it was copied: scored from what is left, and said everywhere."""
    whole = (data / "03.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 6 // 10])
    save_bundle(model.bundle, tmp_path / "model")
    for out in ("s.json", "s.csv"):
        words = ["predict", str(tmp_path / "model"), str(tmp_path / "cut.mkv"), "-q", "-o", str(tmp_path / out)]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    (clip,) = read_document(tmp_path / "s.json").clips
    assert clip.error is None and clip.notes
    (row,) = pyarrow.csv.read_csv(tmp_path / "s.csv").to_pylist()
    assert row["notes"] == "; ".join(clip.notes)
    assert f"note: cut: {clip.notes[0]}" in done.output


def test_scores_lie_on_the_rating_scale_unless_raw_ones_are_asked_for(
    model: mien.Model, data: Path, tmp_path: Path
) -> None:
    """This model scores Awe about 1.6 where ratings end at 1: every format has 1, and the count is said once."""
    save_bundle(model.bundle, tmp_path / "model")
    words = ["predict", str(tmp_path / "model"), str(data / "clips.csv"), "-q", "--windows", "0.2s", "--why"]
    raw = CliRunner().invoke(app, [*words, "--raw", "-o", str(tmp_path / "raw.json")])
    assert raw.exit_code == 0, raw.output
    assert "rating scale" not in raw.output
    awe = [clip.scores["Awe"] or 0.0 for clip in read_document(tmp_path / "raw.json").clips]
    outside = sum(value > 1 for value in awe)
    assert outside > 0  # or this would test nothing
    done = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "s.json")])
    assert done.exit_code == 0, done.output
    joy_outside = sum(not 0 <= (c.scores["Joy"] or 0.0) <= 1 for c in read_document(tmp_path / "raw.json").clips)
    assert done.output.count(f"note: {outside + joy_outside} of 32 scores were outside the rating scale [0, 1]") == 1
    made = read_document(tmp_path / "s.json")
    assert made.provenance is not None and not made.provenance.raw and made.provenance.scale == (0.0, 1.0)
    for clip, was in zip(made.clips, awe, strict=True):
        assert clip.scores["Awe"] == pytest.approx(min(1.0, max(0.0, was)), abs=1e-5)
        assert ("Awe" in clip.clipped) == (not 0 <= was <= 1)
        ends = [*clip.lower.values(), *clip.upper.values()]
        inside = [*clip.scores.values(), *ends, *(score for window in clip.windows for score in window.scores.values())]
        assert all(value is None or 0 <= value <= 1 for value in inside)
    write_scores(made, tmp_path / "h.json", "hume")
    emotions = [
        emotion["score"]
        for source in json.loads((tmp_path / "h.json").read_text())
        for group in source["results"]["predictions"][0]["models"]["prosody"]["grouped_predictions"]
        for prediction in group["predictions"]
        for emotion in prediction["emotions"]
    ]
    assert emotions and all(0 <= score <= 1 for score in emotions)


def test_the_number_of_faces_reaches_the_prediction(model: mien.Model) -> None:
    read = [one.main_feature(model.bundle.settings.backbone) for one in get_modalities(model.modalities)]
    absent = tuple(Feature(name, "", "", status="absent", reason="none") for name in read)
    clip = Clip("a", Path("a.mp4"))
    outcome = ClipOutcome(clip, ClipFeatures("a", 4.0, absent), faces=Faces(2, 1.5))
    assert predict_clip(model.bundle, outcome, why=False, raw=False).faces == Faces(2, 1.5)
    assert predict_clip(model.bundle, replace(outcome, faces=None), why=False, raw=False).faces is None


def test_a_clip_keeps_its_name_whatever_else_lies_in_the_folder(model: mien.Model, data: Path, tmp_path: Path) -> None:
    """So the table of conditions that summarize reads fits scores of before and after a recording was added."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("03", "05"):
        shutil.copy(data / f"{name}.mkv", folder / f"{name}.mkv")
    (tmp_path / "about.csv").write_text("clip,condition,participant\n03,calm,A\n05,tense,A\n")
    save_bundle(model.bundle, tmp_path / "model")
    for number, added in enumerate((None, "03.wav", "notes.txt")):
        if added:
            shutil.copy(data / "04.mkv", folder / added)
        out = str(tmp_path / f"{number}.csv")
        done = CliRunner().invoke(app, ["predict", str(tmp_path / "model"), str(folder), "-q", "-o", out])
        assert done.exit_code == 0, done.output
        rows = pyarrow.csv.read_csv(out, convert_options=pyarrow.csv.ConvertOptions(column_types={"clip": "string"}))
        assert {"03", "05"} <= set(rows["clip"].to_pylist())
        words = ["summarize", out, "--by", "condition", "--about", str(tmp_path / "about.csv")]
        summary = CliRunner().invoke(app, words)
        assert summary.exit_code == 0, summary.output
        assert "without scores" not in summary.output


def test_features_that_are_made_in_another_way_than_for_training_are_noted(
    model: mien.Model, data: Path, tmp_path: Path
) -> None:
    """Eight bits, and another version of the code; formats that agree up to rounding are no other way."""
    assert model.feature_notes() == []
    text = model.bundle.feature_provenance["text"]
    name, version = text.split(" ")[0], text.split(" ")[-1]
    rounded, others = (
        f"{name} (random) openvino bfloat16 {version}",
        (f"{name} (random) int8 {version}", f"{name} any v1"),
    )
    for trained, count in ((rounded, 0), *((other, 1) for other in others)):
        bundle = replace(model.bundle, feature_provenance={**model.bundle.feature_provenance, "text": trained})
        assert len(replace(model, bundle=bundle).feature_notes()) == count
    save_bundle(bundle, tmp_path / "old")
    done = CliRunner().invoke(app, ["predict", str(tmp_path / "old"), str(data), "-q"])
    assert done.exit_code == 0, done.output
    said = " ".join(done.stderr.split())
    assert f"text: the model was trained on features made by {name} any v1, and here they are made by {name}" in said


def test_a_negative_number_of_workers_is_refused(model: mien.Model, data: Path) -> None:
    with pytest.raises(ValueError, match="workers = -1, but it is a number of processes, or 0 for none"):
        model.predict(data, workers=-1)
