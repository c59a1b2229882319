"""A file → an open container and its two tracks, or the reason why there are none.

The file is opened by Python and only its bytes are given to libav, with a short list of formats that are video or
sound by themselves. So neither a name (``http:…``, ``concat:…``) nor a playlist can make it open anything else. Nor
is libav told the name, or it would go by its ending more than by the content.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from mien.config import MediaSettings
from mien.errors import MediaError
from mien.media.timeline import SECOND, TimeBase, ticks
from mien.storage.files import open_regular

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,nut,ivf,dv,rm,gif,yuv4mpegpipe,"
    "h264,hevc,m4v,mpegvideo,mjpeg,obu,wav,w64,mp3,aac,flac,ac3,eac3,aiff,au,caf,amr,ape,wv,tta"
)
"""Formats that are accepted: none that points to other files (playlists, concat scripts, picture sequences)."""

INDEXED = frozenset({"mov", "matroska", "avi"})
"""Those whose header tells how long the file is."""

READ_SIZE = 1 << 18
ID3_HEAD = 10
"""Bytes of the head of an ID3 tag, and of its foot."""

FASTEST_SOUND = 768_000
"""Samples per second above which a sound track is taken for damaged."""


@contextmanager
def told_as_media_error(path: Path) -> Iterator[None]:
    """Turn what libav or the system says about a file into one line that starts with its name."""
    try:
        yield
    except FFmpegError as error:
        raise MediaError(f"{path.name}: cannot be decoded ({error.strerror})") from error
    except OSError as error:
        raise MediaError(f"{path.name}: cannot be read ({error.strerror or error})") from error


def open_container(
    path: Path, settings: MediaSettings, formats: str = FORMATS, file: BinaryIO | None = None
) -> tuple[BinaryIO, InputContainer]:
    """Open a file of one of these formats; the caller closes the container, then the file.

    Args:
        path: the file.
        settings: limits.
        formats: libav's names of those that are accepted.
        file: the same file, where it is open for reading already.

    Raises:
        MediaError: the file is missing, a folder, not a regular file, empty, not permitted, or no format we know.
    """
    file = file or open_file(path)
    try:
        container = av.open(
            _Content(file),
            "r",
            options=_limits(settings),
            container_options={"format_whitelist": formats, "protocol_whitelist": ""},
            metadata_errors="replace",
            buffer_size=READ_SIZE,
        )
    except (FFmpegError, ValueError) as error:
        with file:
            raise MediaError(f"{path.name}: {_not_media(file, error, formats)}") from error
    return file, container


class _Content:
    """The bytes of a file for libav, without its name, and without an ID3 tag in front of them.

    A tag holds the cover picture of a song, often megabytes, behind which libav does not look for what the file is.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = _after_tags(file)
        self.read = file.read
        self.seek(0)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place counted from the start of the content, from here, or from its end."""
        if whence == io.SEEK_SET:
            offset += self._start
        return self._file.seek(offset, whence) - self._start

    def tell(self) -> int:
        """The place counted from the start of the content."""
        return self._file.tell() - self._start


def _after_tags(file: BinaryIO) -> int:
    """Where the ID3 tags at the start of a file end (ID3v2.4.0 structure, 3.1); 0 without any."""
    end = 0
    while True:
        file.seek(end)
        head = file.read(ID3_HEAD)
        if len(head) < ID3_HEAD or head[:3] != b"ID3" or max(head[6:]) > 127:
            return end
        size = sum(byte << 7 * (3 - place) for place, byte in enumerate(head[6:]))
        end += ID3_HEAD * (2 if head[5] & 0x10 else 1) + size


def open_file(path: Path) -> BinaryIO:
    """Open a video, sound or picture file, of whatever content.

    Raises:
        MediaError: it is missing, a folder, not a regular file, or not permitted.
    """
    with told_as_media_error(path):
        try:
            return open_regular(path)
        except FileNotFoundError as error:
            raise MediaError(f"{path.name}: no such file in {path.parent}") from error
        except IsADirectoryError as error:
            raise MediaError(f"{path.name}: a folder, expected a video or sound file") from error


def _not_media(file: BinaryIO, error: Exception, formats: str) -> str:
    file.seek(0)
    start = file.read(12)
    what = "a video or sound file" if formats == FORMATS else "a picture (JPEG, PNG, WebP, BMP)"
    if not start:
        return "an empty file (0 bytes)"
    if start[4:8] == b"ftyp" and formats == FORMATS:
        return "its index (moov) is missing or damaged, as when recording or copying was cut short; copy it again"
    if not start.strip(b"\0"):
        return f"holds zeros, expected {what}; copy it again"
    reason = error.strerror if isinstance(error, FFmpegError) else str(error)
    return f"not {what} of a known format ({reason})"


def picture_track(container: InputContainer) -> VideoStream | None:
    """The video stream to look at: libav's choice, but never a cover picture and never one without a decoder."""
    best = container.streams.best("video")
    tracks = [best, *container.streams.video] if isinstance(best, VideoStream) else container.streams.video
    for track in tracks:
        if track.codec_context is not None and not track.disposition & Disposition.attached_pic:
            return track
    return None


def sound_track(container: InputContainer) -> AudioStream | None:
    """The audio stream to listen to: libav's choice, or the first one that has a decoder and a believable rate."""
    best = container.streams.best("audio")
    tracks = [best, *container.streams.audio] if isinstance(best, AudioStream) else container.streams.audio
    for track in tracks:
        if track.codec_context is not None and 0 < track.codec_context.sample_rate <= FASTEST_SOUND:
            return track
    return None


def check_size(path: Path, track: VideoStream, settings: MediaSettings) -> None:
    """Refuse pictures that are too large, and make the decoder refuse those whose header told less.

    Raises:
        MediaError: the header tells of more than ``settings.largest_megapixels``.
    """
    width, height = track.codec_context.width, track.codec_context.height
    megapixels = width * height / 1e6
    if megapixels > settings.largest_megapixels:
        raise MediaError(
            f"{path.name}: pictures of {width} x {height} = {megapixels:.1f} megapixels, but at most "
            f"{settings.largest_megapixels:g} are decoded; make them smaller or raise media.largest_megapixels"
        )
    if not megapixels:
        raise MediaError(
            f"{path.name}: its pictures have no size, or more than {settings.largest_megapixels:g} megapixels; "
            f"if they are that large, make them smaller or raise media.largest_megapixels"
        )
    track.codec_context.options = _limits(settings)


def _limits(settings: MediaSettings) -> dict[str, str]:
    return {"max_pixels": str(round(settings.largest_megapixels * 1e6))}


def start_of(track: VideoStream | AudioStream | None) -> int | None:
    """When a track starts, in ticks, by its header; ``None`` when that does not tell."""
    return None if track is None else TimeBase(track.time_base).read(track.start_time)


def told_seconds(container: InputContainer, tracks: Sequence[VideoStream | AudioStream], zero: int) -> float | None:
    """When tracks end by the header; ``None`` where it does not tell, or guesses from the size of the file.

    The length of the whole file says nothing of some of its tracks: one that was left out may be the longest.

    Args:
        container: the file.
        tracks: those that were read.
        zero: the time from which seconds are counted, in ticks.
    """
    if not INDEXED & set(container.format.name.split(",")):
        return None
    if len(tracks) == len(container.streams) and container.duration:
        return container.duration / av.time_base
    ends = [end for track in tracks if (end := _end_of(track)) is not None]
    return (max(ends) - zero) / SECOND if len(ends) == len(tracks) else None


def _end_of(track: VideoStream | AudioStream) -> int | None:
    """When a track ends, in ticks, by its header; in Matroska by its tag, as libav makes up the rest."""
    if "matroska" not in track.container.format.name:
        ruler = TimeBase(track.time_base)
        length = ruler.read(track.duration)
        return (ruler.read(track.start_time) or 0) + length if length else None
    tag = re.fullmatch(r"(\d{1,4}):(\d\d):(\d\d\.\d+)", track.metadata.get("DURATION", ""))
    return ticks(int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])) if tag else None
