"""Tiny whole clips in every container and codec at hand; the rest of the suite is made of their bytes."""

from pathlib import Path
from typing import Any

from tests.media.clips import make_clip

SMALL: dict[str, Any] = {"seconds": 1.0, "fps": 12, "size": (96, 64), "still": True}

WHOLE: dict[str, dict[str, Any]] = {
    "h264.mp4": {},
    "vp9.webm": {"codec": "libvpx-vp9", "sound": "libopus", "sound_rate": 48_000},
    "mpeg4.avi": {"codec": "mpeg4", "sound": "libmp3lame"},
    "h265.mkv": {"codec": "libx265", "sound": "flac"},
    "mjpeg.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "sound": "pcm_s16le"},
    "h264.ts": {},
    "mpeg2.mpg": {"codec": "mpeg2video", "sound": "ac3", "fps": 25, "sound_rate": 48_000},
    "wmv2.wmv": {"codec": "wmv2", "sound": "libmp3lame"},
    "flv.flv": {"codec": "flv", "sound": "libmp3lame"},
    "gif.gif": {"codec": "gif", "pix_fmt": "rgb8", "sound": None},
    "ffv1.nut": {"codec": "ffv1", "sound": "pcm_s16le"},
    "sound.flac": {"codec": None, "sound": "flac"},
    "sound.wav": {"codec": None, "sound": "pcm_s16le"},
    "sound.mp3": {"codec": None, "sound": "libmp3lame"},
    "sound.ogg": {"codec": None, "sound": "libopus", "sound_rate": 48_000},
    "sound.m4a": {"codec": None, "sound": "aac", "container": "mp4"},
}
"""By name, what is asked of ``make_clip``."""


def make_sources(folder: Path) -> dict[str, bytes]:
    """The bytes of each whole clip, by its name."""
    folder.mkdir(parents=True, exist_ok=True)
    return {name: make_clip(folder / name, **SMALL | asked).read_bytes() for name, asked in WHOLE.items()}
