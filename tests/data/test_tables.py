"""Tables as Excel, R, pandas and people save them, byte for byte: read, or refused in a line that names the cause."""

import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.data.manifest import clips_of, read_manifest
from mien.errors import DataError
from mien.schema import Manifest

NFC, NFD = (unicodedata.normalize(form, "müller.mp4") for form in ("NFC", "NFD"))


def read(folder: Path, content: bytes | str, **options: float | list[str]) -> Manifest:
    """A table with these bytes."""
    table = folder / "clips.csv"
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_manifest(table, **options)  # type: ignore[arg-type]


R_NA = (
    b'"path","participant","transcript","start","end","Joy"\n"a.mp4","P01",NA,NA,NA,0.5\n"b.mp4",NA,NA,0,2,NA\n'
    b'"c.mp4",NA,"hello there",NA,NA,0.2\n"d.mp4",NA,NA,NA,NA,0.2\n'
)


def test_na_is_missing_in_every_kind_of_column(tmp_path: Path) -> None:
    made = read(tmp_path, R_NA)
    assert [clip.participant for clip in made.clips] == ["P01", None, None, None]
    assert [clip.transcript for clip in made.clips] == [None, None, "hello there", None]
    assert [(clip.start, clip.end) for clip in made.clips] == [(None, None), (0, 2), (None, None), (None, None)]
    assert [clip.labels for clip in made.clips] == [(0.5,), None, (0.2,), (0.2,)]
    # 3 participants, 3 transcripts, 3 starts and 3 ends
    note = f"{tmp_path}/clips.csv: 12 cells such as NA read as missing (first: transcript, line 2)"
    assert note in made.notes


@pytest.mark.parametrize("word", ["NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", ""])
def test_a_missing_word_of_any_program_is_missing_in_text_and_numbers(word: str, tmp_path: Path) -> None:
    made = read(tmp_path, f"path,participant,group,split,start,Joy\na.mp4,{word},{word},{word},{word},{word}\n")
    (clip,) = made.clips
    assert (clip.participant, clip.group, clip.split, clip.start, clip.labels) == (None,) * 5


def test_words_that_only_look_missing_stay_in_text(tmp_path: Path) -> None:
    made = read(tmp_path, "path,participant,group\na.mp4,Na,none\n")
    assert (made.clips[0].participant, made.clips[0].group) == ("Na", "none")


def test_parquet_of_pandas_is_read_without_its_index_and_missing_words(tmp_path: Path) -> None:
    columns = {"Unnamed: 0": [0, 1], "path": ["a.mp4", "b.mp4"], "participant": ["P1", "NaN"], "Joy": [0.5, None]}
    pq.write_table(pa.table(columns), tmp_path / "clips.parquet")
    made = read_manifest(tmp_path / "clips.parquet")
    assert (made.targets, [clip.participant for clip in made.clips]) == (("Joy",), ["P1", None])


PANDAS = ",path,participant,Joy,Anger\n0,a.mp4,P01,50,20\n1,b.mp4,P02,70,10\n2,c.mp4,P03,30,0\n3,d.mp4,P04,20,90\n"


def test_the_index_of_pandas_is_no_label_and_labels_are_listed(tmp_path: Path) -> None:
    made = read(tmp_path, PANDAS, label_scale=100)
    assert (made.targets, made.clips[0].labels) == (("Joy", "Anger"), (0.5, 0.2))
    assert f"{tmp_path}/clips.csv: labels are Joy, Anger (all columns of ratings; --targets names others)" in made.notes
    assert f"{tmp_path}/clips.csv: a column without a name ignored" in made.notes
    with pytest.raises(DataError, match=r"clips\.csv:2: Joy = 50, but .*--label-scale 100"):
        read(tmp_path, PANDAS)


@pytest.mark.parametrize("name", ["Unnamed: 0", "index", "X", "rownames", "...1", "#", "level_0"])
def test_row_numbers_of_any_program_are_no_label(name: str, tmp_path: Path) -> None:
    made = read(tmp_path, f"{name},path,Joy\n1,a.mp4,.5\n2,b.mp4,1\n")
    assert made.targets == ("Joy",)
    assert f"{tmp_path}/clips.csv: column {name!r} of row numbers ignored" in made.notes


@pytest.mark.parametrize(
    ("header", "scale", "complaint"),
    [
        ("path,age,Joy", 1.0, r"clips\.csv:1: is column 'age' \(23 to 61\) a rating\? .*as in --targets Joy$"),
        ("path,age,Joy", 100.0, r"is column 'age' \(23 to 61\) a rating\? .*--targets Joy$"),
        ("path,Trial_1,Joy", 100.0, r"is column 'Trial_1' \(23 to 61\) a rating"),
        ("path,stress,Joy", 1.0, r"is column 'stress' \(23 to 61\) a rating\? .*--targets Joy$"),
    ],
)
def test_whole_numbers_beside_ratings_are_asked_about(
    header: str, scale: float, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=complaint) as caught:
        read(tmp_path, f"{header}\na.mp4,23,0.5\nb.mp4,61,0.25\n", label_scale=scale)
    assert "\n" not in str(caught.value)
    column = header.split(",")[1]
    assert read(tmp_path, f"{header}\na.mp4,23,0.5\n", targets=["Joy"]).targets == ("Joy",)
    assert read(tmp_path, f"{header}\na.mp4,23,50\n", targets=[column, "Joy"], label_scale=100).clips[0].labels == (
        0.23, 0.5
    )  # fmt: skip


def test_the_question_names_every_option_that_is_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--targets Joy,Awe --label-scale 100$"):
        read(tmp_path, "path,age,trial,Joy,Awe\na.mp4,40,1,50,20\n")


def test_a_table_with_ages_and_no_ratings_is_unlabelled(tmp_path: Path) -> None:
    made = read(tmp_path, "path,age\na.mp4,40\n")
    assert (made.targets, made.clips[0].labels) == ((), None)
    assert f"{tmp_path}/clips.csv: column 'age' not taken as a rating (pass --targets age if it is one)" in made.notes


def test_scoring_reads_no_labels(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text("path,age,Joy\na.mp4,40,70\n")
    made = clips_of([tmp_path / "clips.csv"])
    assert ([clip.labels for clip in made.clips], made.notes) == ([None], ())


@pytest.mark.parametrize(("cell", "label"), [("50%", 0.5), ("50 %", 0.5), ("12,5 %", 0.125), ("100%", 1.0)])
@pytest.mark.parametrize("scale", [1.0, 7.0, 100.0])
def test_a_percentage_is_of_the_scale(cell: str, label: float, scale: float, tmp_path: Path) -> None:
    made = read(tmp_path, f"path;Joy\na.mp4;{cell}\n", label_scale=scale)
    assert made.clips[0].labels == pytest.approx((label,))
    assert f"{tmp_path}/clips.csv: 1 label in percent (first: {cell})" in made.notes


def test_an_underscore_is_no_part_of_a_number(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"clips\.csv:3: Joy = '1_0' is not a number"):
        read(tmp_path, "path,Joy\na.mp4,.5\nb.mp4,1_0\n")


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "\ufeffsep=;"])
def test_a_separator_line_of_excel_is_followed_and_lines_are_counted_with_it(line: str, tmp_path: Path) -> None:
    made = read(tmp_path, f"{line}\r\npath;participant;Joy\r\nvids/a.mp4;001;0,5\r\n")
    (clip,) = made.clips
    assert (clip.id, clip.participant, clip.labels) == ("vids/a", "001", (0.5,))
    with pytest.raises(DataError, match=r"clips\.csv:4: Joy = 'much'"):
        read(tmp_path, f"{line}\r\npath;Joy\r\na.mp4;0,5\r\nb.mp4;much\r\n")


@pytest.mark.parametrize("header", ["path,Joy,,", "path,Joy,", "path,Joy"])
def test_empty_cells_at_the_end_of_lines_are_no_columns(header: str, tmp_path: Path) -> None:
    made = read(tmp_path, f"{header}\na.mp4,0.5,,\n,,,\n")
    assert (made.targets, made.clips[0].labels, len(made.clips)) == (("Joy",), (0.5,), 1)


def test_a_header_whose_names_hold_commas_is_divided_by_its_semicolons(tmp_path: Path) -> None:
    made = read(tmp_path, '"path";"Joy, rated, first"\na.mp4;0,5\n')
    assert made.targets == ("Joy, rated, first",)


def test_a_decimal_comma_in_a_table_of_commas_is_named_as_the_cause(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"clips\.csv:2: 3 cells, but the header names 2; a decimal comma \(then sep"):
        read(tmp_path, "path,Joy\na.mp4,0,5\n")


def test_a_table_in_another_encoding_is_refused_with_what_to_do(tmp_path: Path) -> None:
    for content in ("path\nmüller.mp4\n".encode("cp1252"), "path\na.mp4\n".encode("utf-16")):
        with pytest.raises(DataError, match=r"clips\.csv: not in UTF-8; in Excel, save it as 'CSV UTF-8'$"):
            read(tmp_path, content)
    with pytest.raises(DataError, match=r"clips\.csv: not a text table \(unexpected end of data\); save it as CSV"):
        read(tmp_path, 'path\n"a.mp4\n')


def test_paths_of_windows_are_found(tmp_path: Path) -> None:
    (tmp_path / "vids").mkdir()
    (tmp_path / "vids" / "a.mp4").touch()
    made = read(tmp_path, "path,sound\nvids\\a.mp4,vids\\a.mp4\nvids\\later.mp4,\n")
    assert [(clip.id, clip.path) for clip in made.clips] == [
        ("vids/a", tmp_path / "vids" / "a.mp4"), ("vids/later", tmp_path / "vids" / "later.mp4")
    ]  # fmt: skip
    assert made.clips[0].sound == tmp_path / "vids" / "a.mp4"


def test_a_file_with_a_backslash_in_its_name_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a\\b.mp4").touch()
    (clip,) = read(tmp_path, "path\na\\b.mp4\n").clips
    assert (clip.id, clip.path) == ("a\\b", tmp_path / "a\\b.mp4")


def test_a_path_on_a_windows_drive_is_named_as_the_cause(tmp_path: Path) -> None:
    made = read(tmp_path, "path\nC:\\videos\\a.mp4\n")
    assert made.notes == (
        f"{tmp_path}/clips.csv: 1 paths are of Windows drives (first: C:\\videos\\a.mp4); make them relative to the "
        "table",
    )


@pytest.mark.parametrize(("written", "stored"), [(NFC, NFD), (NFD, NFC)])
def test_accents_are_found_however_they_are_composed(written: str, stored: str, tmp_path: Path) -> None:
    (tmp_path / stored[:-4]).mkdir()
    (tmp_path / stored[:-4] / stored).touch()
    (clip,) = read(tmp_path, f"path\n{written[:-4]}/{written}\n").clips
    assert clip.path == tmp_path / stored[:-4] / stored
    assert clip.path.is_file()


def test_an_apostrophe_is_removed_only_from_tables_that_were_escaped(tmp_path: Path) -> None:
    escaped = read(tmp_path, "id,path,participant\n'=1,a.mp4,'@anna\n''=1,b.mp4,P2\n")
    assert [clip.id for clip in escaped.clips] == ["=1", "'=1"]
    assert escaped.clips[0].participant == "@anna"
    raw = read(tmp_path, "id,path,participant\n'=1,a.mp4,@anna\n=1,b.mp4,P2\n")
    assert [clip.id for clip in raw.clips] == ["'=1", "=1"]
    numbers = read(tmp_path, "id,path,x1,change\n'=1,a.mp4,1,-0.5\n", targets=["change"][:0])
    assert numbers.clips[0].id == "=1"


def test_known_columns_and_splits_may_have_capitals(tmp_path: Path) -> None:
    made = read(
        tmp_path, "Path,Participant,Start,End,Split,Joy\na.mp4,P1,1,2,Train,.5\nb.mp4,P2,,,TEST,1\nc.mp4,P3,,,train,0\n"
    )
    first, second, _ = made.clips
    assert (first.participant, first.start, first.end, first.split) == ("P1", 1, 2, "train")
    assert (second.split, made.targets) == ("test", ("Joy",))
    file = tmp_path / "clips.csv"
    columns = "Path, Participant, Start, End, Split read as path, participant, start, end, split"
    assert made.notes[:2] == (f"{file}: columns {columns}", f"{file}: splits Train, TEST read as train, test")
    for named in (["Group"], None):  # a target keeps its name, and so does a column beside one of mien's own
        kept = read(tmp_path, "path,Group,group\na.mp4,.5,x\nb.mp4,1,y\n", targets=named)
        assert (kept.targets, kept.clips[0].group) == (("Group",), "x")


def test_times_with_a_decimal_comma_are_counted(tmp_path: Path) -> None:
    made = read(tmp_path, "path;start;end\na.mp4;1,234;2,5\nb.mp4;0;1\n")
    assert (made.clips[0].start, made.clips[0].end) == (1.234, 2.5)
    assert f"{tmp_path}/clips.csv: 2 times with a decimal comma (first: 1,234)" in made.notes


def test_a_text_beside_a_video_is_no_transcript(tmp_path: Path) -> None:
    """Only ``text/`` holds transcripts, also where paths are absolute or lead upwards."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.txt").write_text("Notes: camera was too dark.")
    (tmp_path / "table" / "text").mkdir(parents=True)
    (tmp_path / "table" / "text" / "b.txt").write_text("so happy")
    made = read(tmp_path / "table", f"path\n{tmp_path}/videos/a.mp4\n../videos/a.mp4\nb.mp4\n")
    assert [clip.transcript for clip in made.clips] == [None, None, "so happy"]


def test_a_small_parquet_table_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    text = pa.array(["x" * 8192]).dictionary_encode()
    rows = pa.DictionaryArray.from_arrays(pa.array([0] * 120_000, pa.int32()), text.dictionary)
    pq.write_table(pa.table({"path": rows.cast(pa.string())}), tmp_path / "clips.parquet", compression="zstd")
    assert (tmp_path / "clips.parquet").stat().st_size < 1_000_000
    with pytest.raises(DataError, match=r"clips\.parquet: more than 200 MB when unpacked"):
        read_manifest(tmp_path / "clips.parquet")
