"""Scores from any file are joined with participants and conditions, and what does not match is reported."""

import csv
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mien.cli import app
from mien.errors import DataError
from mien.scores.conditions import read_scored
from mien.scores.exports import write_scores
from tests.scores.scored import scored

ABOUT = "clip,condition,participant\nanna/01,happy,Anna\n02,sad,Ben\n"


def about(folder: Path, text: str = ABOUT) -> Path:
    (folder / "people.csv").write_text(text)
    return folder / "people.csv"


@pytest.mark.parametrize("name", ["scores.json", "scores.csv", "scores.tsv", "scores.parquet"])
def test_every_file_of_scores_gives_the_same(tmp_path: Path, name: str) -> None:
    write_scores(scored(), tmp_path / name)
    made, notes = read_scored(tmp_path / name, "condition", about(tmp_path))
    assert made.targets == ("Joy", "Empathic Pain")
    assert made.clips == ("anna/01", "02", "bad")
    assert made.participants == ("Anna", "Ben", None)
    assert made.conditions == ("happy", "sad", None)
    np.testing.assert_array_equal(made.scores, [[0.5, 0.25], [0.75, 0.125], [np.nan, np.nan]])
    assert made.errors == (None, None, "bad.mp4: not a video")
    assert notes == ("1 scored clip not in people.csv (first: bad)",)


def test_a_condition_may_stand_beside_the_scores(tmp_path: Path) -> None:
    write_scores(scored(), tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "mood"])
        writer.writeheader()
        writer.writerows({**row, "mood": "up"} for row in rows)
    made, notes = read_scored(tmp_path / "mine.csv", "mood")
    assert (made.conditions, notes) == (("up", "up", "up"), ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clip,mood\n02,a\n", "no column 'condition'; it has clip, mood"),
        ("clip,condition\n02,a\n02,b\n", "people.csv:3: clip '02' occurs twice with different values"),
    ],
)
def test_a_table_that_does_not_fit_is_reported(tmp_path: Path, text: str, said: str) -> None:
    write_scores(scored(), tmp_path / "scores.json")
    with pytest.raises(DataError, match=said):
        read_scored(tmp_path / "scores.json", "condition", about(tmp_path, text))


def test_a_missing_condition_and_a_table_without_scores_are_reported(tmp_path: Path) -> None:
    write_scores(scored(), tmp_path / "scores.csv")
    with pytest.raises(DataError, match="no column 'condition'; name a table that has it with --about"):
        read_scored(tmp_path / "scores.csv", "condition")
    with pytest.raises(DataError, match="no scores found"):
        read_scored(about(tmp_path), "condition")


def test_the_command_compares_and_writes_a_tidy_table(tmp_path: Path) -> None:
    names = [f"{who}{k}" for who in "ABCDEFGH" for k in range(2)]
    head = "clip,participant,condition,Joy,Joy lower,Joy upper\n"
    rows = (f"{name},{name[0]},{'ab'[int(name[1])]},{0.1 * n + 0.5 * int(name[1])},,\n" for n, name in enumerate(names))
    (tmp_path / "scores.csv").write_text(head + "".join(rows))
    words = ["summarize", str(tmp_path / "scores.csv"), "--by", "condition", "--out", str(tmp_path / "tidy.csv")]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    with (tmp_path / "tidy.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["what"] for row in rows] == ["mean", "mean", "difference"]
    # within each of 8 people b is .1 + .5 above a
    assert float(rows[2]["value"]) == pytest.approx(0.6)
    assert (rows[2]["design"], rows[2]["people"]) == ("within", "8")
    assert float(rows[2]["p"]) == pytest.approx(2 / 2**8)


def test_names_that_do_not_match_at_all_are_shown_from_both_sides(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("clip,Joy,Joy lower,Joy upper\n001,0.5,0,1\n002,0.5,0,1\n")
    (tmp_path / "people.csv").write_text("clip,mood\n1,calm\n2,calm\n")
    words = ["summarize", str(tmp_path / "scores.csv"), "--by", "mood", "--about", str(tmp_path / "people.csv")]
    ran = CliRunner().invoke(app, words)
    assert str(ran.exception).startswith("no clip has both a score and a condition")
    assert "2 scored clips not in people.csv (first: 001)" in ran.output
    assert "2 clips of people.csv without scores (first: 1)" in ran.output


def test_missing_words_are_no_condition_and_no_participant(tmp_path: Path) -> None:
    """As ``write.csv`` of R saves them: NA without quotes."""
    header = '"clip","participant","Joy","Joy lower","Joy upper"'
    (tmp_path / "scores.csv").write_text(header + '\n"a",NA,0.5,NA,NA\n"b","p",NA,0,1\n')
    (tmp_path / "people.csv").write_text('"clip","participant","mood"\n"a",NA,"calm"\n"b","P2",NA\n')
    made, notes = read_scored(tmp_path / "scores.csv", "mood", tmp_path / "people.csv")
    assert (made.participants, made.conditions) == ((None, "P2"), ("calm", None))
    assert made.scores[0, 0] == 0.5 and np.isnan(made.scores[1, 0])
    assert notes == (f"{tmp_path}/people.csv: 2 cells such as NA read as missing (first: participant, line 2)",)


def test_clips_are_matched_however_their_names_are_spelt(tmp_path: Path) -> None:
    """``ü`` as macOS and as Linux compose it, the separators of Windows, and names with their suffix."""
    composed, split = (unicodedata.normalize(form, "müller") for form in ("NFC", "NFD"))
    names = {split: composed, "sub/b": "sub\\b", "c": "c.mp4", "d.wav": "d.wav"}
    rows = "".join(f"{clip},0.5,0,1\n" for clip in names)
    (tmp_path / "scores.csv").write_text("clip,Joy,Joy lower,Joy upper\n" + rows)
    (tmp_path / "people.csv").write_text("clip,mood\n" + "".join(f"{name},calm\n" for name in names.values()))
    made, notes = read_scored(tmp_path / "scores.csv", "mood", tmp_path / "people.csv")
    assert (made.conditions, notes) == (("calm",) * 4, ())
    (tmp_path / "people.csv").write_text("clip,mood\n,calm\n")
    with pytest.raises(DataError, match=r"people\.csv:2: column 'clip' is empty"):
        read_scored(tmp_path / "scores.csv", "mood", tmp_path / "people.csv")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_of_windows_is_refused_and_the_format_with_a_row_per_clip_is_named(tmp_path: Path, suffix: str) -> None:
    """Windows of ``anna/01`` would count as its clips, and a long clip more than a short one."""
    file = tmp_path / f"windows{suffix}"
    write_scores(scored(), file, "windows")
    lines = (1, 2) if suffix == ".parquet" else (2, 3)  # the header is a line
    said = f"windows{suffix}:{lines[1]}: id 'anna/01' occurs twice .first in .*:{lines[0]}.*; .*a row per clip, .* wide"
    with pytest.raises(DataError, match=said):
        read_scored(file, "condition", about(tmp_path))


def test_a_p_too_small_for_its_digits_is_not_0_and_a_missing_one_is_null(tmp_path: Path) -> None:
    """20 people in each condition with scores 0.4 apart: p is far below .0001. Of Awe, five: no p and no interval."""
    head = "clip,participant,condition,Joy,Joy lower,Joy upper,Awe,Awe lower,Awe upper\n"
    rows = [
        f"{who}{k},{who}{k},{'ab'[k]},{0.2 + 0.01 * (who % 5) + 0.4 * k},,,{0.1 * who if who < 5 else ''},,\n"
        for who in range(20)
        for k in range(2)
    ]
    (tmp_path / "scores.csv").write_text(head + "".join(rows))
    out = tmp_path / "summary.parquet"
    ran = CliRunner().invoke(app, ["summarize", str(tmp_path / "scores.csv"), "--by", "condition", "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    assert "0.0000" not in ran.output and ran.output.count("<0.0001") == 2
    rows = {(row["what"], row["target"]): row for row in pq.read_table(out).to_pylist()}
    joy, awe = rows["difference", "Joy"], rows["difference", "Awe"]
    assert 0 < joy["p"] < 1e-4 and joy["low"] < joy["value"] < joy["high"]
    assert [awe[name] for name in ("p", "q", "low", "high")] == [None] * 4 and awe["people"] == 10
