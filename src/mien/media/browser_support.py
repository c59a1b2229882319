"""Whether browsers can play a file, by its container, codecs and pixel format; nothing is decoded.

The trade-off: a file counts as playable only when all major browsers play it. HEVC, which only some support, does not:
a report must not play for its author and stay dark for a reader.
"""

from pathlib import Path
from typing import BinaryIO

from mien.config import MediaSettings
from mien.media.container import audio_stream, open_container, video_stream

VIDEO_CODECS = {"h264", "vp8", "vp9", "av1"}
AUDIO_CODECS = {"aac", "mp3", "opus", "vorbis", "flac"}
PIXEL_FORMATS = {"yuv420p", "yuvj420p"}
"""Eight bits, 4:2:0; browsers play other kinds of H.264 in part or not at all."""
TYPES = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm", ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg", ".wav": "audio/wav", ".ogg": "audio/ogg", ".opus": "audio/ogg", ".flac": "audio/flac",
}  # fmt: skip
"""Media type by suffix. Browsers read QuickTime files as MP4, which they nearly are."""


def media_type(path: Path) -> str:
    """The media type of a playable file: ``video/mp4``, ``audio/wav`` …"""
    return TYPES[path.suffix.lower()]


def why_unplayable(path: Path, file: BinaryIO | None = None) -> str | None:
    """Why browsers do not play a file, in a few words that many files can share; ``None`` when they do.

    Args:
        path: the file.
        file: the same file, if it is already open for reading.

    Raises:
        MediaError: it is missing, cannot be read, or is not a video or audio file.
    """
    if path.suffix.lower() not in TYPES:
        return f"{path.suffix or 'no ending'} files"
    file, container = open_container(path, MediaSettings(), file=file)
    with file, container:
        video, audio = video_stream(container), audio_stream(container)
        if video is not None:
            codec, form = video.codec, video.codec_context.pix_fmt
            if codec.canonical_name not in VIDEO_CODECS:
                return f"{codec.long_name} video"
            if form not in PIXEL_FORMATS:
                return f"{codec.canonical_name} video of the form {form}"
        if audio is not None and not _plays_audio(path, audio.codec.canonical_name):
            return f"{audio.codec.canonical_name} audio in {path.suffix.lower()} files"
        return None if video or audio else "nothing to see or hear"


def _plays_audio(path: Path, codec: str) -> bool:
    return codec in AUDIO_CODECS or (codec.startswith("pcm_") and path.suffix.lower() == ".wav")
