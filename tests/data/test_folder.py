"""Folders as they lie on servers and laptops: every clip once, and what is left out is counted."""

import os
from pathlib import Path

import pytest

from mien.config import ComputeSettings, MediaSettings
from mien.data.manifest import clips_of, read_manifest
from mien.errors import DataError
from mien.media.decoder import DecoderClient
from tests.media.clips import make_clip


def files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def ids(root: Path) -> list[str]:
    return [clip.id for clip in read_manifest(root).clips]


def test_hidden_folders_are_skipped_and_counted(tmp_path: Path) -> None:
    files(tmp_path, "a.mp4", ".snapshot/hourly.0/a.mp4", ".Trashes/501/b.mp4", "@eaDir/a.mp4/SYNOVIDEO.mp4",
          ".AppleDouble/a.mp4", "__MACOSX/a.mp4", "sub/._b.mp4", "sub/b.mp4", ".DS_Store")  # fmt: skip
    made = read_manifest(tmp_path)
    assert [clip.id for clip in made.clips] == ["a", "sub/b"]
    assert made.notes == (f"{tmp_path}: 6 hidden files and folders left out (first: .AppleDouble)",)


def test_a_linked_folder_is_followed_once(tmp_path: Path) -> None:
    files(tmp_path, "data/a.mp4", "data/sub/b.mp4", "elsewhere/far.mp4")
    data = tmp_path / "data"
    (data / "0 link").symlink_to("../elsewhere")
    (data / "again").symlink_to("../elsewhere")
    (data / "loop").symlink_to(".")
    (data / "sub" / "up").symlink_to("..")
    made = read_manifest(data)
    assert [clip.id for clip in made.clips] == ["0 link/far", "a", "sub/b"]
    assert made.notes == (f"{data}: 3 linked folders read under another name (first: again)",)


@pytest.mark.parametrize(
    "suffix", ".3g2 .f4v .divx .dv .mod .caf .aiff .oga .mka .aif .ac3 .m2v .qt .MOD .AIFF".split()
)
def test_every_container_is_a_clip(suffix: str, tmp_path: Path) -> None:
    files(tmp_path, f"a{suffix}", "b.txt")
    assert ids(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("name", "container", "codec", "sound", "rate"),
    [("a.3g2", "3g2", "mpeg4", "aac", 44_100), ("a.f4v", "f4v", "libx264", "aac", 44_100),
     ("a.divx", "avi", "mpeg4", "libmp3lame", 44_100), ("a.mod", "mpeg", "mpeg2video", "mp2", 44_100),
     ("a.dv", "dv", "dvvideo", "pcm_s16le", 48_000), ("a.caf", "caf", None, "pcm_s16le", 44_100),
     ("a.aiff", "aiff", None, "pcm_s16be", 44_100), ("a.oga", "oga", None, "flac", 44_100)],
)  # fmt: skip
def test_these_containers_are_decoded(
    name: str, container: str, codec: str | None, sound: str, rate: int, tmp_path: Path
) -> None:
    """One second of a tone: 16,000 samples, give or take the padding of the codec."""
    size = {"size": (720, 576), "pix_fmt": "yuv420p"} if container == "dv" else {}
    make_clip(tmp_path / name, container=container, codec=codec, sound=sound, sound_rate=rate, seconds=1, **size)
    (clip,) = read_manifest(tmp_path).clips
    decoder = DecoderClient(MediaSettings(), ComputeSettings())
    try:
        waveform = decoder.read_audio(clip.path)
    finally:
        decoder.kill()
    assert len(waveform) == pytest.approx(16_000, abs=2_000)
    assert abs(waveform).max() > 0.05


def test_an_audio_file_beside_a_video_renames_nothing(tmp_path: Path) -> None:
    files(tmp_path, "a.mov", "b.mp4")
    before = ids(tmp_path)
    files(tmp_path, "a.wav", "b.avi", "a.txt", "b.mp4.txt")
    assert before == ["a", "b"]
    assert ids(tmp_path) == ["a", "a.wav", "b.avi", "b"]
    names = {clip.path.name: clip.id for clip in read_manifest(tmp_path).clips}
    assert (names["a.mov"], names["b.mp4"]) == ("a", "b")


def test_a_clip_that_is_named_twice_counts_once_under_its_own_name(tmp_path: Path) -> None:
    files(tmp_path, "a.mp4", "b.mp4")
    made = clips_of([tmp_path, tmp_path / "a.mp4", tmp_path / "." / "a.mp4"])
    assert [clip.id for clip in made.clips] == ["a", "b"]
    assert made.notes == ("2 clips named twice, counted once",)


def test_clips_of_two_tables_with_one_name_are_never_merged(tmp_path: Path) -> None:
    for name, start in (("x.csv", 0), ("y.csv", 5)):
        (tmp_path / name).write_text(f"id,path,start,end\n1,v.mp4,{start},{start + 5}\n")
    with pytest.raises(DataError, match=r"v\.mp4: id '.*v\.mp4' occurs twice"):
        clips_of([tmp_path / "x.csv", tmp_path / "y.csv"])


@pytest.mark.parametrize("layout", ["folder", "table", "challenge"])
def test_a_transcript_is_one_clips_matter(layout: str, tmp_path: Path) -> None:
    """One in UTF-8, one with a byte order mark, one of Notepad (UTF-16), one in Latin-1, and four that are no text."""
    names = [f"{number:05d}" for number in range(8)]
    files(tmp_path, *(f"raw/{name}.mp4" for name in names))
    text = (tmp_path if layout != "folder" else tmp_path / "raw") / "text"
    text.mkdir()
    contents = ["Müller".encode(), "\ufeffMüller".encode(), "Müller".encode("utf-16"), "Müller".encode("latin-1"),
                b"PK\x03\x04\0\x81\x8d", b"x" * 1_000_001]  # fmt: skip
    for name, content in zip(names, contents, strict=False):
        (text / f"{name}.txt").write_bytes(content)
    os.mkfifo(text / f"{names[6]}.txt")
    (text / f"{names[7]}.txt").mkdir()
    if layout == "table":
        (tmp_path / "clips.csv").write_text("id,path\n" + "".join(f"{name},raw/{name}.mp4\n" for name in names))
        made = read_manifest(tmp_path / "clips.csv")
    elif layout == "challenge":
        (tmp_path / "train_split.csv").write_text("Filename,Joy\n" + "".join(f"{name},0.5\n" for name in names))
        made = read_manifest(tmp_path)
    else:
        made = read_manifest(tmp_path / "raw")
    said = [clip.transcript for clip in made.clips]
    assert said == ["Müller"] * 4 + [None] * 4
    assert f"{text}: 2 transcripts are not UTF-8 and were converted (first: {names[2]}.txt: utf-16)" in made.notes
    assert [note for note in made.notes if note.startswith(f"{text}: 4 transcripts cannot be read and are not used")]
