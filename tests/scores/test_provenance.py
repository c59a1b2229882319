"""Every output says which model made its scores, what that was trained on, when, and what is odd about the files."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import parselmouth
import pyarrow.parquet
import pytest
from parselmouth.praat import call

from mien.schema import Faces, Prediction, Transcript, Word
from mien.scores.document import (
    ModelNote,
    ProvenanceNote,
    ScoresDocument,
    TrainingDataNote,
    WindowingNote,
    document,
    read_document,
)
from mien.scores.exports import FORMATS, write_scores
from mien.scores.exports.format import TableFormat
from mien.scores.provenance import provenance_line
from tests.scores.scored import FAILED, MODEL, PLAIN, TARGETS, WINDOWED, scored

ROOT = Path(__file__).resolve().parents[2]
BANNER = "trained on synthetic people"
LINE = (
    "trained on synthetic people; mien 0.1.0; model first, sha256 abc123; trained on stand-in (320 clips, synthetic); "
    "scored 2026-11-28T18:00:00+00:00; windows of 4 s every 1 s"
)
NOTE = "2 audio tracks: the first is used"


def known() -> ScoresDocument:
    model = ModelNote(
        **{**MODEL.model_dump(), "sha256": "abc123", "banner": BANNER,
           "trained_on": TrainingDataNote(name="stand-in", clips=320, synthetic=True)}
    )  # fmt: skip
    made = ProvenanceNote(
        mien="0.1.0", created="2026-11-28T18:00:00+00:00", windows=WindowingNote(seconds=4, hop=1), scale=(0.0, 1.0)
    )
    return document([replace(WINDOWED, notes=(NOTE,)), PLAIN], TARGETS, model, made)


def test_the_line_names_everything_and_leaves_out_what_is_unknown() -> None:
    assert provenance_line(known()) == LINE
    assert provenance_line(scored()) == "model first"


def test_the_document_holds_it(tmp_path: Path) -> None:
    write_scores(known(), tmp_path / "s.json")
    made = json.loads((tmp_path / "s.json").read_text())
    assert made["version"] == 2
    assert made["provenance"]["created"] == "2026-11-28T18:00:00+00:00"
    assert made["provenance"]["windows"] == {"seconds": 4, "hop": 1}
    assert made["model"]["trained_on"] == {"name": "stand-in", "clips": 320, "synthetic": True, "label_scale": None}
    assert (made["model"]["sha256"], made["model"]["banner"]) == ("abc123", BANNER)
    assert made["clips"][0]["notes"] == [NOTE]
    assert read_document(tmp_path / "s.json") == known()


def test_a_document_of_version_1_is_read(tmp_path: Path) -> None:
    """Exactly the fields that version 1 had: valid by its published schema, which did not allow others."""
    new = {"model": ("sha256", "trained_on", "banner"), "clips": ("notes", "clipped", "faces", "doubtful_words"),
           "words": ("doubtful",)}  # fmt: skip
    write_scores(scored(), tmp_path / "s.json")
    old = json.loads((tmp_path / "s.json").read_text()) | {"version": 1}
    del old["provenance"]
    inner = [part for clip in old["clips"] for part in (*clip["windows"], *clip["words"])]
    for part in (old["model"], *old["clips"], *inner):
        for name in (name for names in new.values() for name in names):
            part.pop(name, None)
    jsonschema.validate(old, json.loads((ROOT / "docs" / "schema" / "mien-scores-1.json").read_text()))
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert read_document(tmp_path / "old.json") == scored()


@pytest.mark.parametrize("form", [name for name, made in FORMATS.items() if isinstance(made, TableFormat)])
def test_tables_hold_it_in_a_column_or_in_their_metadata(form: str, tmp_path: Path) -> None:
    for suffix in (".csv", ".tsv", ".json"):
        out = tmp_path / f"t{suffix}"
        write_scores(known(), out, form)
        if suffix == ".json":
            rows = json.loads(out.read_text())
        else:
            with out.open(newline="") as file:
                rows = list(csv.DictReader(file, delimiter="," if suffix == ".csv" else "\t"))
        assert rows and {row["provenance"] for row in rows} == {LINE}
    write_scores(known(), tmp_path / "t.parquet", form)
    metadata = json.loads(pyarrow.parquet.read_schema(tmp_path / "t.parquet").metadata[b"mien"])
    assert metadata["model"]["sha256"] == "abc123"
    assert (metadata["mien"], metadata["windows"]) == ("0.1.0", {"seconds": 4, "hop": 1})


def test_notes_have_a_column(tmp_path: Path) -> None:
    for form in ("wide", "long"):
        write_scores(known(), tmp_path / f"{form}.csv", form)
        with (tmp_path / f"{form}.csv").open(newline="") as file:
            notes = {row["clip"]: row["notes"] for row in csv.DictReader(file)}
        assert notes == {"anna/01": NOTE, "02": ""}


def test_annotation_files_hold_it(tmp_path: Path) -> None:
    write_scores(known(), tmp_path, "eaf")
    root = ElementTree.parse(tmp_path / "anna_01.eaf").getroot()
    properties = {made.get("NAME"): made.text for made in root.iter("PROPERTY")}
    assert (properties["mien"], properties["mien.notes"]) == (LINE, NOTE)
    assert root.get("DATE") == "2026-11-28T18:00:00+00:00"
    write_scores(known(), tmp_path, "textgrid")
    grid = parselmouth.read(str(tmp_path / "anna_01.TextGrid"))
    last = call(grid, "Get number of tiers")
    assert call(grid, "Get tier name", last) == "mien"
    assert call(grid, "Get label of interval", last, 1) == f"{LINE}; {NOTE}"


def test_the_hume_json_holds_it(tmp_path: Path) -> None:
    write_scores(known(), tmp_path / "h.json", "hume")
    first, second = json.loads((tmp_path / "h.json").read_text())
    assert first["mien"]["model"]["sha256"] == "abc123"
    assert (first["mien"]["notes"], second["mien"]["notes"]) == ([NOTE], [])


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_document_gives_the_same_bytes(form: str, tmp_path: Path) -> None:
    """Dates are those of the scores, not of the export."""
    name = "out" if FORMATS[form].written_to.startswith("a folder") else "out.json"
    for folder in ("a", "b"):
        write_scores(known(), tmp_path / folder / name, form)
    one, other = (
        {file.name: file.read_bytes() for file in sorted((tmp_path / folder).rglob("*")) if file.is_file()}
        for folder in ("a", "b")
    )
    assert one and one == other


def test_faces_and_doubtful_words_are_in_the_document() -> None:
    words = (Word("a", 0.0, 0.2, 0.3), Word("talk", 0.2, 0.5, 0.6))  # mean .45
    said = Transcript("a talk a talk", "tiny", words * 2)
    made = Prediction("c", {"Joy": 0.5}, transcript=said, faces=Faces(2, 1.5))
    model = ModelNote(name="m", weights="tiny", modalities=["text"], interval_level=None, random_weights=True)
    (clip,) = document([made], ["Joy"], model).clips
    assert clip.faces is not None
    assert (clip.faces.most, clip.faces.several_seconds) == (2, 1.5)
    assert clip.doubtful_words
    assert [word.doubtful for word in clip.words] == [True, False, True, False]
    assert not replace(said, words=words).doubtful  # two words may be mumbled in any language
    (other,) = document([Prediction("c", {"Joy": 0.5})], ["Joy"], model).clips
    assert (other.faces, other.doubtful_words) == (None, False)


def test_the_number_of_faces_has_columns_and_a_place_in_the_document(tmp_path: Path) -> None:
    """Two faces for 1.5 s; none of a file that was not searched, which is not the same as no face."""
    write_scores(scored(replace(WINDOWED, faces=Faces(2, 1.5)), replace(PLAIN, faces=Faces(0, 0.0)), FAILED),
                 tmp_path / "s.json")  # fmt: skip
    made = read_document(tmp_path / "s.json")
    assert made.clips[0].faces is not None and made.clips[0].faces.most == 2
    write_scores(made, tmp_path / "s.parquet", "wide")
    rows = pyarrow.parquet.read_table(tmp_path / "s.parquet").to_pylist()
    assert [(row["faces"], row["seconds with several faces"]) for row in rows] == [(2, 1.5), (0, 0.0), (None, None)]
