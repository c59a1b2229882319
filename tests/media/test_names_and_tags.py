"""What a file is called, and what programs put in front of its content, changes nothing of what is read from it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.config import MediaSettings
from mien.media.container import open_container
from mien.media.decode import MediaReader, read_audio
from tests.media.clips import make_clip

COVER = 2_000_000
"""Bytes of a cover frame, as music programs embed them; libav looks for what a file is in its first megabyte."""


def without_tags(content: bytes) -> bytes:
    """A sound file from its first frame on."""
    if not content.startswith(b"ID3"):
        return content
    size = sum(byte << 7 * (3 - place) for place, byte in enumerate(content[6:10]))
    return content[10 + size :]


def id3(payload: bytes, foot: bool = False) -> bytes:
    """An ID3v2.4 tag with a cover frame."""

    def size(number: int) -> bytes:
        return bytes(number >> shift & 127 for shift in (21, 14, 7, 0))

    body = b"\0image/jpeg\0\x03\0" + payload
    frame = b"APIC" + size(len(body)) + b"\0\0" + body
    flags = b"\x10" if foot else b"\0"
    head = b"\x04\0" + flags + size(len(frame))
    return b"ID3" + head + frame + (b"3DI" + head if foot else b"")


@pytest.mark.parametrize("ending", ["mp3", "aac", "flac"])
@pytest.mark.parametrize("tags", ["one", "one with a foot", "two"])
def test_sound_behind_a_large_cover_frame_is_the_same_sound(ending: str, tags: str, tmp_path: Path) -> None:
    codec, container = {"mp3": ("libmp3lame", "mp3"), "aac": ("aac", "adts"), "flac": ("flac", "flac")}[ending]
    bare = make_clip(tmp_path / f"bare.{ending}", codec=None, sound=codec, container=container)
    content, cover = without_tags(bare.read_bytes()), np.random.default_rng(0).bytes(COVER)
    bare.write_bytes(content)
    front = {"one": id3(cover), "one with a foot": id3(cover, foot=True), "two": id3(cover) + id3(b"small")}[tags]
    tagged = tmp_path / f"tagged.{ending}"
    tagged.write_bytes(front + content)
    np.testing.assert_array_equal(read_audio(tagged), read_audio(bare))


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A video and two sounds, under their usual names."""
    root = tmp_path_factory.mktemp("contents")
    return {
        "video": make_clip(root / "video.mp4", codec="libx264"),
        "wav": make_clip(root / "sound.wav", codec=None, sound="pcm_s16le", layout="mono"),
        "mp3": make_clip(root / "sound.mp3", codec=None, sound="libmp3lame"),
    }


@pytest.mark.parametrize("content", ["video", "wav", "mp3"])
@pytest.mark.parametrize(
    "name",
    ["clip.mpg.mp4", "clip.m4a", "clip.wav", "clip.mp3", "clip.jpg", "clip_%03d.png", "clip.m3u8", "clip.txt", "clip"],
)
def test_a_name_does_not_decide_what_a_file_is(
    content: str, name: str, contents: dict[str, Path], tmp_path: Path
) -> None:
    renamed = tmp_path / name
    shutil.copy(contents[content], renamed)
    np.testing.assert_array_equal(read_audio(renamed), read_audio(contents[content]))


def test_libav_is_told_no_name(contents: dict[str, Path]) -> None:
    file, container = open_container(contents["video"], MediaSettings())
    with file, container:
        assert container.name == "<none>"


def test_a_file_that_is_open_already_is_read_whatever_its_name_says(contents: dict[str, Path]) -> None:
    file = contents["video"].open("rb")
    file.seek(100)
    with MediaReader(Path("elsewhere.mp4"), MediaSettings(), rates={"vision": 4}, file=file) as reader:
        assert sum(1 for _ in reader.frames()) == 8  # 2 s
    assert file.closed


def test_an_image_of_a_few_megabytes_is_not_a_video(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1000, 1000, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "clip.mp4", "PNG")
    with pytest.raises(Exception, match=r"^clip\.mp4: not a video or audio file of a known format"):
        read_audio(tmp_path / "clip.mp4")
