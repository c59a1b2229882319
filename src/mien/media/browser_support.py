"""Can a browser play a file? By its container, codecs and pixel format, without decoding anything.

The trade-off: a file counts as playable when the big browsers of today all play it. HEVC, which some of them do, does
not: a page that plays here and is dark at a reader's is worse than one that says so at once.
"""

from pathlib import Path

from mien.config import MediaSettings
from mien.media.container import open_container, picture_track, sound_track

PICTURES = {"h264", "vp8", "vp9", "av1"}
SOUNDS = {"aac", "mp3", "opus", "vorbis", "flac"}
PIXELS = {"yuv420p", "yuvj420p"}
"""Eight bits, 4:2:0; browsers play H.264 of other forms in part or not at all."""
TYPES = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm", ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg", ".wav": "audio/wav", ".ogg": "audio/ogg", ".opus": "audio/ogg", ".flac": "audio/flac",
}  # fmt: skip
"""What a browser calls the containers that it reads; a QuickTime file is read as the MP4 it nearly is."""


def media_type(path: Path) -> str:
    """What a browser calls a playable file: ``video/mp4``, ``audio/wav`` …"""
    return TYPES[path.suffix.lower()]


def why_unplayable(path: Path) -> str | None:
    """Why browsers do not play a file, in a few words that many files may share; ``None`` when they do.

    Raises:
        MediaError: it is missing, cannot be read, or is no video or sound file.
    """
    if path.suffix.lower() not in TYPES:
        return f"{path.suffix or 'no ending'} files"
    file, container = open_container(path, MediaSettings())
    with file, container:
        picture, sound = picture_track(container), sound_track(container)
        if picture is not None:
            codec, form = picture.codec, picture.codec_context.pix_fmt
            if codec.canonical_name not in PICTURES:
                return f"{codec.long_name} pictures"
            if form not in PIXELS:
                return f"{codec.canonical_name} pictures of the form {form}"
        if sound is not None and not _heard(path, sound.codec.canonical_name):
            return f"{sound.codec.canonical_name} sound in {path.suffix.lower()} files"
        return None if picture or sound else "nothing to see or hear"


def _heard(path: Path, codec: str) -> bool:
    return codec in SOUNDS or (codec.startswith("pcm_") and path.suffix.lower() == ".wav")
