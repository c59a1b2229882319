"""Playability follows from container, codec and pixel format; a headless browser checks it in tests/reporting."""

from pathlib import Path

import pytest

from mien.errors import MediaError
from mien.media.browser_support import media_type, why_unplayable
from tests.media.clips import make_clip


@pytest.mark.parametrize(
    ("name", "made", "reason"),
    [
        ("a.mp4", {}, None),
        ("a.mov", {}, None),
        ("a.webm", {"codec": "libvpx-vp9", "sound": "libopus", "sound_rate": 48_000}, None),
        ("a.webm", {"codec": "libvpx", "sound": "libopus", "sound_rate": 48_000}, None),
        ("a.mp4", {"codec": "libx264", "sound": None}, None),
        ("a.wav", {"codec": None, "sound": "pcm_s16le"}, None),
        ("a.mp4", {"codec": "mpeg4"}, "MPEG-4 part 2 video"),
        ("a.mp4", {"codec": "libx265"}, "HEVC (High Efficiency Video Coding) video"),
        ("a.mp4", {"pix_fmt": "yuv444p"}, "h264 video of the form yuv444p"),
        ("a.mov", {"sound": "pcm_s16le"}, "pcm_s16le audio in .mov files"),
        ("a.mkv", {}, ".mkv files"),
    ],
)
def test_a_browser_plays_it_or_the_reason_is_told(tmp_path: Path, name: str, made: dict, reason: str | None) -> None:
    assert why_unplayable(make_clip(tmp_path / name, seconds=0.4, still=True, **made)) == reason


def test_what_is_no_film_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing at all")
    with pytest.raises(MediaError, match=r"a\.mp4: not a video"):
        why_unplayable(tmp_path / "a.mp4")


def test_a_quicktime_film_is_offered_as_the_mp4_it_nearly_is() -> None:
    assert media_type(Path("A.MOV")) == "video/mp4"
