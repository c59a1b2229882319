"""Counts and numbers read right: one clip, no minus zero, notes of a kind counted together, everywhere alike."""

import numpy as np

from mien.cli.printing import score
from mien.cli.results import between as printed_between
from mien.cli.results import number as printed
from mien.data.manifest import read_manifest
from mien.evaluation.results import people_and_clips
from mien.inference.provenance import media_notes
from mien.metrics import Interval
from mien.reporting.blocks import Column
from mien.reporting.scores_blocks import file_notes
from mien.reporting.wording import between, number
from mien.schema import Prediction
from mien.study.wording import ends
from tests.scores.scored import scored


def test_what_rounds_to_zero_has_no_minus_in_any_table() -> None:
    tiny, wide = -0.00004, Interval(-0.00004, -0.00004, 0.25)
    assert Column("r", ".3f").text(tiny) == number(tiny) == printed(tiny) == score(tiny) == "0.000"
    assert Column("difference", "+.4f").text(tiny) == printed(tiny, "+.4f") == "+0.0000"
    assert Column("share", ".1%").text(np.float64(tiny)) == "0.0%"
    assert between(wide).text == printed_between(wide) == "0.000 to 0.250"
    assert ends(wide) == "[0.0000, 0.2500]"
    assert printed(-0.0006) == "-0.001"  # what does not round to zero keeps it


def test_one_is_not_said_in_the_plural(tmp_path) -> None:
    assert people_and_clips(1, ["a"]) == "1 rated clip of 1 participant"
    (tmp_path / "a.mp4").write_text("x")
    (tmp_path / "a.pdf").write_text("x")
    assert read_manifest(tmp_path).notes == (f"{tmp_path}: 1 file without video or audio left out (first: a.pdf)",)
    (tmp_path / "b.pdf").write_text("x")
    assert read_manifest(tmp_path).notes == (f"{tmp_path}: 2 files without video or audio left out (first: a.pdf)",)


def test_notes_that_differ_in_numbers_are_one_kind_in_the_terminal_and_in_the_report() -> None:
    notes = {"a": ("ends at 3.2 s of 4",), "b": ("ends at 5 s of 6", "two sound tracks"), "c": ("two sound tracks",)}
    made = [Prediction(name, {"Joy": 0.5, "Empathic Pain": 0.5}, notes=found) for name, found in notes.items()]
    assert media_notes(made) == ["2 clips: ends at … s of … (first: a)", "2 clips: two sound tracks (first: b)"]
    (section,) = file_notes(scored(*made))
    assert section.blocks[0].rows == [("ends at … s of …", 2, "a"), ("two sound tracks", 2, "b")]
