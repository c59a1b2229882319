"""Exports: other programs read them, they hold what the document holds, and names cannot collide."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pyarrow.parquet
import pytest

from mien.errors import DataError, SettingsError
from mien.scores.document import json_schema, read_document
from mien.scores.exports import FORMATS, check_form, tabular, write_scores
from mien.scores.exports.format import FolderFormat, TableFormat, file_names
from tests.scores.scored import FAILED, PLAIN, WINDOWED, scored

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "docs" / "schema" / "mien-scores-2.json"


def test_the_published_schema_is_that_of_the_code() -> None:
    assert json.loads(PUBLISHED.read_text()) == json_schema(), "run: mien schema --out docs/schema/mien-scores-2.json"


def test_a_document_is_valid_by_its_published_schema_and_reads_back(tmp_path: Path) -> None:
    write_scores(scored(), tmp_path / "s.json")
    made, schema = json.loads((tmp_path / "s.json").read_text()), json.loads(PUBLISHED.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(made, schema)
    assert read_document(tmp_path / "s.json") == scored()
    made["clips"][0]["scores"]["Joy"] = "much"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(made, schema)


def test_a_wide_table_has_a_row_per_clip_and_its_parts_add_up() -> None:
    rows = tabular.wide(scored()).to_pylist()
    assert [row["clip"] for row in rows] == ["anna/01", "02", "bad"]
    assert (rows[0]["Joy"], rows[0]["Joy lower"], rows[0]["Joy upper"]) == (0.5, 0.25, 0.75)
    assert sum(rows[0][f"Joy from {part}"] for part in ("nothing", "text", "audio")) == pytest.approx(rows[0]["Joy"])
    assert rows[0]["Empathic Pain lower"] is None  # an interval without ends
    assert rows[1]["Joy from audio"] is None  # no contributions were computed
    assert (rows[1]["present"], rows[1]["absent"], rows[1]["error"]) == ("audio", "text: nothing is said", "")
    assert (rows[2]["Joy"], rows[2]["seconds"], rows[2]["error"]) == (None, None, "bad.mp4: not a video")


def test_a_wide_table_has_no_columns_of_what_nobody_asked_for() -> None:
    assert tabular.wide(scored(PLAIN)).column_names == [
        "clip", "participant", "seconds", "Joy", "Empathic Pain", "Joy lower", "Empathic Pain lower", "Joy upper",
        "Empathic Pain upper", "present", "absent", "error", "notes", "faces",
        "seconds with several faces",
    ]  # fmt: skip


def test_a_long_table_has_a_row_per_clip_or_window_and_target() -> None:
    rows = tabular.long(scored()).to_pylist()
    assert len(rows) == (1 + 3) * 2 + 2 + 2  # a clip with three windows, and two clips; two targets
    assert [(row["start"], row["end"], row["score"]) for row in rows if row["unit"] == "window"][::2] == [
        (0, 4, 0.1), (1, 5, 0.2), (2, 6, 0.3)
    ]  # fmt: skip
    assert [(row["clip"], row["end"]) for row in rows if row["unit"] == "clip" and row["target"] == "Joy"] == [
        ("anna/01", 6.0), ("02", 2.5), ("bad", None)
    ]  # fmt: skip


def test_words_and_reasons_have_tables_of_their_own() -> None:
    words = tabular.words(scored()).to_pylist()
    assert [row["word"] for row in words] == ["she", "said", '"yes"', "&", "left"]
    why = tabular.why(scored()).to_pylist()
    assert (why[0]["modality"], why[0]["target"], why[0]["shapley"], why[0]["left_out"]) == ("text", "Joy", 0.3, 0.35)
    assert tabular.why(scored(PLAIN)).num_rows == 0


@pytest.mark.parametrize("form", ["wide", "long", "words", "why"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".json"])
def test_every_table_is_written_in_every_format(form: str, suffix: str, tmp_path: Path) -> None:
    out = tmp_path / f"t{suffix}"
    write_scores(scored(), out, form)
    expected = tabular.wide(scored()).num_rows if form == "wide" else len(_table(form))
    match suffix:
        case ".parquet":
            assert pyarrow.parquet.read_table(out).num_rows == expected
        case ".json":
            assert len(json.loads(out.read_text())) == expected
        case _:
            with out.open(newline="") as file:
                assert len(list(csv.DictReader(file, delimiter="," if suffix == ".csv" else "\t"))) == expected


def _table(form: str) -> list[object]:
    return {"long": tabular.long, "words": tabular.words, "why": tabular.why}[form](scored()).to_pylist()


def test_the_hume_json_has_the_shape_that_parsers_of_it_walk(tmp_path: Path) -> None:
    """The path that public parsers of the batch API's answer take, down to name and score."""
    write_scores(scored(), tmp_path / "h.json", "hume")
    windowed, plain, failed = json.loads((tmp_path / "h.json").read_text())
    group = windowed["results"]["predictions"][0]["models"]["prosody"]["grouped_predictions"][0]
    assert group["id"] == "Anna"
    assert [prediction["time"] for prediction in group["predictions"]] == [
        {"begin": 0, "end": 4}, {"begin": 1, "end": 5}, {"begin": 2, "end": 6}
    ]  # fmt: skip
    assert group["predictions"][0]["emotions"] == [
        {"name": "Joy", "score": 0.1}, {"name": "Empathic Pain", "score": 0.9}
    ]  # fmt: skip
    assert group["predictions"][1]["text"] == "& left"  # "yes" has its middle at 0.975 s, before this window
    assert windowed["source"] == {"type": "file", "filename": "anna 01.mp4", "content_type": None, "md5sum": ""}
    whole = plain["results"]["predictions"][0]
    assert whole["file_type"] == "audio"
    part = whole["models"]["prosody"]["grouped_predictions"][0]["predictions"][0]
    assert part["time"] == {"begin": 10.0, "end": 12.5}  # of the file, in which the clip begins at 10 s
    assert failed["results"] == {
        "predictions": [], "errors": [{"message": "bad.mp4: not a video", "file": "bad.mp4"}]
    }  # fmt: skip


def test_annotation_files_have_safe_names_and_failed_clips_are_named(tmp_path: Path) -> None:
    for form, suffix in (("eaf", ".eaf"), ("textgrid", ".TextGrid")):
        notes = write_scores(scored(), tmp_path / form, form)
        assert sorted(file.name for file in (tmp_path / form).iterdir()) == [f"02{suffix}", f"anna_01{suffix}"]
        assert notes == ("1 clip not scored, so without a file (first: bad: bad.mp4: not a video)",)
    assert write_scores(scored(PLAIN), tmp_path / "one", "eaf") == ()


def test_names_that_would_be_one_file_are_kept_apart() -> None:
    names = file_names(["a/b", "a\\b", "A_B", "../../etc/passwd", ".", "", "ü" * 300, "ü" * 299])
    assert len({name.lower() for name in names}) == 8
    assert names[:4] == ["a_b", "a_b-2", "A_B-3", "etc_passwd"]
    assert all("/" not in name and not name.startswith(".") and len(name.encode()) <= 210 for name in names)


def test_long_names_of_any_script_are_names_of_files(tmp_path: Path) -> None:
    """File systems bound bytes, and one character of Japanese is three."""
    clips = ["あ" * 60 + "/" + "い" * 60, "う" + "い" * 120, "x" * 500, "a" * 120 + "." + "b" * 119]
    predictions = [replace(PLAIN, clip=clip) for clip in clips]
    assert write_scores(scored(*predictions), tmp_path / "made", "eaf") == ()
    names = sorted(file.name for file in (tmp_path / "made").iterdir())
    assert len(names) == 4 and not any(name.startswith(".") for name in names)
    assert {"い" * 40 + ".eaf", "い" * 40 + "-2.eaf", "b" * 119 + ".eaf"} < set(names)


@pytest.mark.parametrize(
    ("out", "form", "complaint"),
    [("s.json", "elan", "elan: unknown format; use json, wide"), ("s.xls", None, "cannot write .xls"),
     ("s.csv", "hume", "hume is written as JSON"), ("s.csv", "json", "json is written as JSON"),
     ("s.eaf", "eaf", "eaf writes a file per clip; name a folder"), ("folder", "long", "cannot write"),
     ("s.csv", "eaf", "eaf writes a file per clip; name a folder")],
)  # fmt: skip
def test_a_form_that_does_not_fit_the_file_is_refused(out: str, form: str | None, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        check_form(Path(out), form)


@pytest.mark.parametrize("name", ["s.csv", "s.parquet", "s.json"])
def test_a_folder_in_the_place_of_the_file_is_refused_before_hours_of_work(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(SettingsError, match=rf"{name}: a folder; move it away, or name another file"):
        check_form(tmp_path / name)


def test_a_table_is_not_taken_for_a_document(tmp_path: Path) -> None:
    write_scores(scored(), tmp_path / "t.csv")
    with pytest.raises(DataError, match=r"t\.csv: not valid JSON \(.*\); expected scores of mien predict --out scores"):
        read_document(tmp_path / "t.csv")


def test_the_ending_says_the_form() -> None:
    assert [check_form(Path(f"s{end}")) for end in (".json", ".csv", ".tsv", ".parquet")] == ["json", *["wide"] * 3]


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_written_to_what_it_accepts(form: str, tmp_path: Path) -> None:
    """The contract of a format: one line about it, a place that it takes and another that it refuses."""
    made = FORMATS[form]
    assert made.name == form and made.about and "\n" not in made.about
    folder = isinstance(made, FolderFormat)
    out = tmp_path / ("made" if folder else "made.json")
    assert check_form(out, form) == form
    notes = made.write(scored(), out, raw_cells=False)
    assert out.is_dir() == folder and out.exists()
    assert len(notes) == folder  # the clip that could not be scored has no file of its own
    with pytest.raises(SettingsError):
        check_form(tmp_path / ("s.json" if folder else "s.xls"), form)


@pytest.mark.parametrize("form", [name for name, made in FORMATS.items() if isinstance(made, TableFormat)])
def test_a_table_has_the_columns_that_its_format_names(form: str) -> None:
    made, document = FORMATS[form], scored()
    assert isinstance(made, TableFormat)
    parts = {"<target>": document.targets, "<modality>": document.model.modalities}
    expected = {name for column in made.columns for name in _filled(column, parts)}
    assert set(made.make(document).column_names) == expected


def _filled(column: str, parts: dict[str, list[str]]) -> list[str]:
    names = [column]
    for blank, values in parts.items():
        names = [name.replace(blank, value) for name in names for value in (values if blank in name else [""])]
    return names


def test_another_version_or_file_is_no_document(tmp_path: Path) -> None:
    write_scores(scored(FAILED, WINDOWED), tmp_path / "s.json")
    other = json.loads((tmp_path / "s.json").read_text()) | {"version": 3}
    (tmp_path / "s.json").write_text(json.dumps(other))
    with pytest.raises(DataError, match="version 3, but this mien reads version 2"):
        read_document(tmp_path / "s.json")
    (tmp_path / "s.json").write_text("[]")
    with pytest.raises(DataError, match="not a document of scores"):
        read_document(tmp_path / "s.json")
