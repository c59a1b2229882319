"""The commands around a model work on a table of clips as a user would type them."""

import csv
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mien.cli import app
from mien.errors import DataError
from mien.inference.provenance import describe_model
from mien.model.model_folder import load_bundle, resolve_model_dir
from mien.schema import EMOTIONS
from mien.scores.provenance import training_data
from tests.training.planted import planted

QUICK = ["stage1.embedding=8", "stage1.motion_embedding=4", "stage2.hidden=8", "stage1.epochs=2",
         "stage1.motion_epochs=2", "stage2.epochs=2", "seeds=[0,1]"]  # fmt: skip


def mien(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cli")
    manifest, _ = planted(root / "store", train=40, valid=20, missing=0.0)
    with (root / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "path", "split", "participant", *EMOTIONS])
        writer.writerows([c.id, c.path.name, c.split, c.participant, *(c.labels or ())] for c in manifest.clips)
    overrides = [word for setting in QUICK for word in ("--set", setting)]
    said = mien("train", root / "clips.csv", "-f", root / "store", "--out", root / "run", *overrides)
    assert "ensemble" in said
    assert "on 20 validation clips of 5 participants, which chose the best epoch; split rule: official" in said
    return root


def test_the_factor_of_the_ratings_is_recorded_with_the_model(folder: Path) -> None:
    """Ratings from 0 to 100: provenance, card and the scores say what they were divided by."""
    header, *rows = csv.reader((folder / "clips.csv").read_text().splitlines())
    with (folder / "hundred.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([*row[:4], *(100 * float(value) for value in row[4:])] for row in rows)
    quick = ("--set", "modalities=[text]", "--set", "stage1.epochs=1", "--set", "stage2.epochs=1")
    data = (folder / "hundred.csv", "--label-scale", 100, "-f", folder / "store")
    mien("train", *data, "--out", folder / "hundred", *quick)
    model = load_bundle(folder / "hundred")
    assert model.provenance["data"]["label_scale"] == 100
    assert "; ratings divided by 100\n" in (folder / "hundred" / "model" / "README.md").read_text()
    note = describe_model(model, "hundred", None)
    assert training_data(note) == "trained on hundred.csv (40 clips, ratings divided by 100)"
    usual = describe_model(load_bundle(folder / "run"), "run", None)
    assert training_data(usual) == "trained on clips.csv (40 clips)" and usual.trained_on.label_scale == 1


def test_evaluate_prints_intervals_and_writes_a_table(folder: Path, tmp_path: Path) -> None:
    data = (folder / "run", folder / "clips.csv", "-f", folder / "store")
    said = mien("evaluate", *data, "--out", tmp_path / "t.parquet")
    assert "20 rated clips, intervals over participants" in said
    (basis,) = (line for line in said.splitlines() if line.startswith("split valid: "))
    assert basis.startswith("split valid: 20 rated clips of 5 participants, all of which chose the best epoch; ")
    assert basis.endswith("; from text, audio, vision, motion, where available")
    assert "text + audio + vision + motion" in said
    assert pq.read_table(tmp_path / "t.parquet").num_rows == 20


def test_compare_prints_a_difference_with_clips_and_people_and_why_five_people_have_no_p(folder: Path) -> None:
    text = folder / "run" / "stage1" / "text"
    said = mien("compare", text, folder / "run", folder / "clips.csv", "-f", folder / "store", "--resamples", 200)
    (mean,) = (line.split() for line in said.splitlines() if line.startswith(" mean"))
    assert mean[2:] == ["–", "–", "20", "5"]
    assert "they need rated clips of 6 participants" in " ".join(said.split())


def test_a_submission_and_a_report_of_a_table_with_more_numbers_name_the_ratings(folder: Path, tmp_path: Path) -> None:
    rows = list(csv.reader((folder / "clips.csv").read_text().splitlines()))
    with (folder / "aged.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*rows[0], "age"])
        writer.writerows([*row, 31 + n] for n, row in enumerate(rows[1:]))
    data, named = folder / "aged.csv", ("--targets", ",".join(EMOTIONS))
    submission = (
        "submit",
        folder / "run",
        data,
        "-f",
        folder / "store",
        "--split",
        "valid",
        "--out",
        tmp_path / "s.csv",
    )
    report = ("report", folder / "run", "--data", data, "-f", folder / "store", "--out", tmp_path / "r.html")
    for words in (submission, report):
        with pytest.raises(DataError, match="--targets"):
            CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert "valid, 20 rows" in mien(*submission, *named)
    assert "sections" in mien(*report, *named)


def test_licences_are_listed_from_the_run_and_as_json(folder: Path) -> None:
    assert "unknown" in mien("licences", folder / "run")  # the features were planted, not made by weights of the table
    record = json.loads(mien("licences", folder / "run", "--json"))
    assert record == json.loads((folder / "run" / "model" / "licences.json").read_text())
    assert record["non_commercial"] is False
    assert "your own responsibility" in record["data"]


def test_licences_of_an_adapted_backbone_name_the_hash_of_its_file() -> None:
    """It is in the model's folder; its fingerprint, of the base and of the file, is in no list of hashes."""
    sums = (resolve_model_dir("words-en") / "SHA256SUMS").read_text()
    sha256 = next(line.split()[0] for line in sums.splitlines() if line.endswith("text.adapted.safetensors"))
    said = mien("licences", "words-en")
    assert sha256 in said and "hash unknown" not in said
    (text,) = [one for one in json.loads(mien("licences", "words-en", "--json"))["weights"] if one["role"] == "text"]
    assert text["name"].endswith(text["fingerprint"][:12])


def test_groups_are_judged_where_the_table_has_them(folder: Path, tmp_path: Path) -> None:
    rows = list(csv.reader((folder / "clips.csv").read_text().splitlines()))
    grouped = [[*rows[0], "group"], *([*row, "young" if n % 2 else "old"] for n, row in enumerate(rows[1:]))]
    with (folder / "grouped.csv").open("w", newline="") as file:
        csv.writer(file).writerows(grouped)
    said = mien("evaluate", folder / "run", folder / "grouped.csv", "-f", folder / "store", "--resamples", 200)
    assert "group old: 10 clips of 5 participants, r " in said
    assert "group young: 10 clips of 5 participants, r " in said


def test_submit_writes_what_its_check_accepts(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    mien("submit", folder / "run", folder / "clips.csv", "-f", folder / "store", "--split", "valid", "--out", out)
    assert "valid, 20 rows" in mien("submit", "--check", out, folder / "clips.csv", "--split", "valid")


def test_submit_without_a_model_is_wrong_use(folder: Path) -> None:
    mien("submit", folder / "clips.csv", code=2)


def test_provided_features_are_imported(tmp_path: Path) -> None:
    rows = [",".join(["Filename", *EMOTIONS]), "00000,0,0,0,0,0,0", "00001,0,0,0,0,0,0"]
    (tmp_path / "train_split.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "vit").mkdir()
    (tmp_path / "vit" / "00000.pkl").write_bytes(pickle.dumps(np.ones((2, 3))))
    said = mien("import-features", tmp_path, "--out", tmp_path / "store")
    assert "vision of 1 clip" in said
    assert "no provided file for 1 clip, first 00001" in said
