"""Manifests: every layout is read, and every error names the line and what to do."""

import math
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.data.manifest import clips_of, read_manifest
from mien.errors import DataError
from mien.schema import EMOTIONS

HEADER = "Filename," + ",".join(EMOTIONS)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def challenge(root: Path) -> Path:
    write(root / "train_split.csv", f"{HEADER}\n00000,0.5,0,0,0,0.25,0\n00001,0,1,0,0,0,0\n")
    write(root / "valid_split.csv", f"{HEADER}\n00042,0,0,0.2,0,0,0\n")
    write(root / "raw" / "00000.mp4", "x")
    write(root / "text" / "00000.txt", "so  proud\n")
    write(root / "audio" / "00000.mp3", "x")
    (root / "face_images" / "00000").mkdir(parents=True)
    return root


def test_the_challenge_folder_is_read_as_it_is(tmp_path: Path) -> None:
    manifest = read_manifest(challenge(tmp_path))
    assert manifest.targets == EMOTIONS
    assert [(clip.id, clip.split) for clip in manifest.clips] == [
        ("00000", "train"), ("00001", "train"), ("00042", "valid")]  # fmt: skip
    first, second, _ = manifest.clips
    assert first.labels == (0.5, 0, 0, 0, 0.25, 0)
    assert first.path == tmp_path / "raw" / "00000.mp4"
    assert (first.transcript, second.transcript) == ("so proud", None)
    assert first.sound == tmp_path / "audio" / "00000.mp3"
    assert first.crops == tmp_path / "face_images" / "00000"
    assert second.sound is None


def test_a_clip_name_too_long_for_a_file_has_no_companion_files(tmp_path: Path) -> None:
    write(challenge(tmp_path) / "train_split.csv", f"{HEADER}\n{'a' * 300},0.5,0,0,0,0.25,0\n")
    first = read_manifest(tmp_path).clips[0]
    assert (first.transcript, first.sound, first.crops) == (None, None, None)


def test_participants_come_from_their_companion_table(tmp_path: Path) -> None:
    challenge(tmp_path)
    write(tmp_path / "participants.csv", "Filename,Participant,Seed\n00000,p7,s1\n00042,p9,s1\n")
    assert [clip.participant for clip in read_manifest(tmp_path).clips] == ["p7", None, "p9"]


def test_test_clips_are_found_without_a_table_and_are_unlabelled(tmp_path: Path) -> None:
    challenge(tmp_path)
    write(tmp_path / "test_data" / "raw" / "12660.mp4", "x")
    write(tmp_path / "test_data" / "raw" / "._12660.mp4", "of macOS")
    *others, last = read_manifest(tmp_path).clips
    assert [clip.split for clip in others].count("test") == 0
    assert (last.id, last.split, last.labels) == ("12660", "test", None)


def test_a_test_table_of_zeros_holds_no_labels(tmp_path: Path) -> None:
    challenge(tmp_path)
    write(tmp_path / "test_split.csv", f"{HEADER}\n12660,0,0,0,0,0,0\n")
    assert read_manifest(tmp_path).clips[-1].labels is None


def test_ids_that_lost_their_zeros_get_them_back_with_a_note(tmp_path: Path) -> None:
    challenge(tmp_path)
    write(tmp_path / "train_split.csv", f"{HEADER}\n7,0,0,0,0,0,0\n")
    manifest = read_manifest(tmp_path)
    assert manifest.clips[0].id == "00007"
    assert "1 id without leading zeros" in manifest.notes[0]


def test_any_table_gives_its_own_targets(tmp_path: Path) -> None:
    table = write(
        tmp_path / "clips.csv",
        "id;path;start;end;split;participant;transcript;Awe;Boredom;comment\n"
        "a;v/a.mp4;1.5;4;train;p1;hello there;0.25;;fine\nb;v/b.mp4;;;valid;p2;;1;0.5;\n",
    )
    manifest = read_manifest(table)
    a, b = manifest.clips
    assert manifest.targets == ("Awe", "Boredom")
    assert (a.id, a.path, a.start, a.end, a.transcript) == ("a", tmp_path / "v/a.mp4", 1.5, 4.0, "hello there")
    assert a.labels is not None and a.labels[0] == 0.25 and math.isnan(a.labels[1])
    assert (b.labels, b.transcript, b.split) == ((1.0, 0.5), None, "valid")
    missing = "1 label is missing; a clip without a label is not used for that target"
    assert f"{table}: {missing}" in manifest.notes
    assert any("'comment'" in note or "comment" in note for note in manifest.notes)


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a.mp4", "b.mp4"], "Joy": [0.5, None]}), tmp_path / "clips.parquet")
    manifest = read_manifest(tmp_path / "clips.parquet")
    assert [clip.labels for clip in manifest.clips] == [(0.5,), None]
    assert [clip.id for clip in manifest.clips] == ["a", "b"]


def test_a_folder_of_videos_keeps_odd_names_and_counts_what_it_leaves_out(tmp_path: Path) -> None:
    for name in ("b b.MP4", "übung/é.mov", "twin.mp4", "twin.avi", "notes.pdf", ".hidden.mp4"):
        write(tmp_path / name, "x")
    (tmp_path / "folder.mp4").mkdir()
    manifest = read_manifest(tmp_path)
    assert [clip.id for clip in manifest.clips] == ["b b", "twin.avi", "twin", "übung/é"]
    assert manifest.notes == (
        f"{tmp_path}: 1 hidden file or folder left out (first: .hidden.mp4)",
        f"{tmp_path}: 1 file without video or audio left out (first: notes.pdf)",
        f"{tmp_path}: 1 clip named with the suffix, as another file has the name (first: twin.avi)",
    )
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "gone.mov").symlink_to(tmp_path / "nowhere.mov")
    assert read_manifest(tmp_path).clips == manifest.clips
    assert "2 names without a regular file left out (first: gone.mov)" in read_manifest(tmp_path).notes[2]


def test_clips_named_one_by_one_stay_apart(tmp_path: Path) -> None:
    paths = [write(tmp_path / folder / "a.mp4", "x") for folder in ("x", "y")]
    assert [clip.id for clip in clips_of(paths).clips] == [str(path) for path in paths]
    assert [clip.id for clip in clips_of(paths[:1]).clips] == ["a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,Joy\na.mp4,1.7\n", r"clips.csv:2: Joy = 1.7, but intensities lie in \[0, 1\].*--label-scale 100"),
        ("path,Joy\na.mp4,-0.1\n", "clips.csv:2: Joy = -0.1"),
        ("path,Joy\na.mp4,.5\nb.mp4,o.5\n", "clips.csv:3: Joy = 'o.5' is not a number"),
        ("id,path\nx,a.mp4\nx,b.mp4\n", r"clips.csv:3: id 'x' occurs twice \(first in .*clips.csv:2\)"),
        ("a.mp4,0.3\nb.mp4,0.4\n", "clips.csv:1: no column 'path'.*first line must name the columns"),
        ("path,Joy\na.mp4\n", "clips.csv:2: 1 cell, but the header names 2"),
        ("path,path\na,b\n", "column 'path' occurs twice"),
        ("path,Joy\n,.5\n", "clips.csv:2: column 'path' is empty"),
        ("path,start,end\na.mp4,5,4\n", "clips.csv:2: end = 4.0 s is not after start = 5.0 s"),
        ("path,start\na.mp4,-1\n", "clips.csv:2: start = -1.0 s is before the file begins"),
        ("path,Start,START\na.mp4,1,2\n", "clips.csv:1: columns 'Start' and 'START' both name 'start'; rename one"),
        ("path,id\na.mp4,a\nb\0.mp4,b\n", r"clips.csv:3: path = 'b\\x00.mp4' contains a NUL character; remove it"),
        ("path,start\na.mp4,soon\n", "clips.csv:2: start = 'soon' is not a number"),
        ("path\n", "no clips found"),
        ("", "no clips found"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(write(tmp_path / "clips.csv", text))
    assert "\n" not in str(caught.value)


def test_labels_of_another_scale_are_divided(tmp_path: Path) -> None:
    table = write(tmp_path / "clips.csv", "path,Joy\na.mp4,40\nb.mp4,100\n")
    assert [clip.labels for clip in read_manifest(table, label_scale=100).clips] == [(0.4,), (1.0,)]


def test_a_scale_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="label_scale = 0, but it is the highest possible rating"):
        read_manifest(write(tmp_path / "clips.csv", "path,Joy\na.mp4,1\n"), label_scale=0)


def test_targets_can_be_named(tmp_path: Path) -> None:
    table = write(tmp_path / "clips.csv", "path,age,Joy\na.mp4,40,.5\n")
    assert read_manifest(table, targets=["Joy"]).clips[0].labels == (0.5,)
    with pytest.raises(DataError, match="no column 'Awe'"):
        read_manifest(table, targets=["Awe"])


def test_a_missing_file_or_one_that_is_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_manifest(tmp_path / "nowhere")
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00\x01" * 10)
    with pytest.raises(DataError, match="not in UTF-8"):
        read_manifest(tmp_path / "x.csv")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataError, match="Parquet"):
        read_manifest(tmp_path / "x.parquet")


def test_an_id_in_two_tables_is_refused_with_both_lines(tmp_path: Path) -> None:
    challenge(tmp_path)
    write(tmp_path / "valid_split.csv", f"{HEADER}\n00042,0,0,.2,0,0,0\n00001,0,0,.2,0,0,0\n")
    train, valid = tmp_path / "train_split.csv", tmp_path / "valid_split.csv"
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path)
    assert str(caught.value) == f"{valid}:3: id '00001' occurs twice (first in {train}:3); ids must be unique"


def test_a_test_video_with_the_id_of_another_clip_is_refused_with_both_lines(tmp_path: Path) -> None:
    challenge(tmp_path)
    video = write(tmp_path / "test_data" / "raw" / "00042.mp4", "x")
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path)
    first = tmp_path / "valid_split.csv"
    assert str(caught.value) == f"{video}: id '00042' occurs twice (first in {first}:2); ids must be unique"


def test_a_clip_of_two_people_is_refused_instead_of_taking_the_last(tmp_path: Path) -> None:
    challenge(tmp_path)
    table = write(tmp_path / "participants.csv", "Filename,Participant\n00000,p7\n00000,p8\n")
    with pytest.raises(DataError, match=rf"^{table}:3: id '00000' occurs twice \(first in {table}:2\)"):
        read_manifest(tmp_path)


def test_participants_are_found_although_a_spreadsheet_removed_leading_zeros(tmp_path: Path) -> None:
    challenge(tmp_path)
    write(tmp_path / "participants.csv", "Filename,Participant\n0,p7\n42,p9\n")
    manifest = read_manifest(tmp_path)
    assert [clip.participant for clip in manifest.clips] == ["p7", None, "p9"]
    assert any("participants.csv: 2 ids without leading zeros" in note for note in manifest.notes)


@pytest.mark.parametrize("ending", [".mp3", ".wav", ".flac", ".m4a", ".ogg", ".WAV"])
def test_audio_beside_the_data_is_used_whatever_its_format(ending: str, tmp_path: Path) -> None:
    challenge(tmp_path)
    sound = write(tmp_path / "audio" / f"00042{ending}", "x")
    write(tmp_path / "audio" / "00001.txt", "x")
    (tmp_path / "audio" / "00001.wav").mkdir()
    manifest = read_manifest(tmp_path)
    assert [clip.sound for clip in manifest.clips] == [tmp_path / "audio" / "00000.mp3", None, sound]
    assert manifest.notes == ()


def test_of_several_audio_files_of_a_clip_the_first_format_is_used_with_a_note(tmp_path: Path) -> None:
    challenge(tmp_path)
    for name in ("00000.wav", "00001.ogg", "00001.flac", "00001.m4a", "00042.wav"):
        write(tmp_path / "audio" / name, "x")
    manifest = read_manifest(tmp_path)
    assert [clip.sound.name for clip in manifest.clips if clip.sound] == ["00000.mp3", "00001.flac", "00042.wav"]
    assert manifest.notes == (
        f"{tmp_path / 'audio'}: 2 clips with more than one audio file; the first of .mp3, .wav, .flac, .m4a, .ogg "
        "is used (first: 00000.mp3)",
    )


def test_test_clips_in_their_own_folder_have_their_own_audio(tmp_path: Path) -> None:
    challenge(tmp_path)
    write(tmp_path / "test_data" / "raw" / "12660.mp4", "x")
    sound = write(tmp_path / "test_data" / "audio" / "12660.wav", "x")
    write(tmp_path / "audio" / "12660.mp3", "x")
    assert read_manifest(tmp_path).clips[-1].sound == sound


def test_a_transcript_saved_by_a_windows_editor_begins_with_its_first_word(tmp_path: Path) -> None:
    challenge(tmp_path)
    (tmp_path / "text" / "00000.txt").write_bytes(b"\xef\xbb\xbfso proud\r\n")
    assert read_manifest(tmp_path).clips[0].transcript == "so proud"


def test_a_table_written_by_r_is_read_without_its_row_numbers(tmp_path: Path) -> None:
    """``write.csv`` quotes texts, writes NA, and puts the numbers of the rows into a column without a name."""
    table = write(tmp_path / "clips.csv", '"","path","Joy"\n"1","a.mp4",0.25\n"2","b.mp4",NA\n')
    manifest = read_manifest(table)
    assert (manifest.targets, [clip.labels for clip in manifest.clips]) == (("Joy",), [(0.25,), None])
    assert f"{table}: a column without a name ignored" in manifest.notes


def test_a_table_from_a_german_spreadsheet_is_read_with_its_decimal_commas(tmp_path: Path) -> None:
    """Semicolons, decimal commas, a byte order mark, Windows line ends, and the empty columns that were once used."""
    table = tmp_path / "clips.csv"
    table.write_bytes("\ufeffpath;start;Joy;Awe;;\r\nä.mp4;1,5;0,25;1;;\r\nb.mp4;;0,5;0;;\r\n;;;;;\r\n".encode())
    manifest = read_manifest(table)
    assert manifest.targets == ("Joy", "Awe")
    assert [(clip.start, clip.labels) for clip in manifest.clips] == [(1.5, (0.25, 1.0)), (None, (0.5, 0.0))]
    assert manifest.notes == (
        f"{table}: 1 time with a decimal comma (first: 1,5)",
        f"{table}: labels are Joy, Awe (all columns of ratings; --targets names others)",
        f"{table}: 2 labels with a decimal comma (first: 0,25)",
    )


def test_a_folder_without_clips_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no clips found; the folder is empty"):
        read_manifest(tmp_path)
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"photo")
    with pytest.raises(DataError, match=r"no clips found; 2 files without video or audio left out \(first: a\.jpg\)"):
        read_manifest(tmp_path)
    (tmp_path / "notes.txt").write_text("path\n")
    with pytest.raises(
        DataError, match="no clips found; expected a table with a column 'path' or 'transcript' and a line per clip"
    ):
        read_manifest(tmp_path / "notes.txt")
