"""Opens a file as a container and chooses its video and audio streams.

The file is opened by Python and only its bytes are passed to libav, with a short list of formats that contain video or
audio themselves. So neither a name (``http:…``, ``concat:…``) nor a playlist can make libav open another file. libav
does not get the name either: it would trust the suffix more than the content.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
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
from mien.media.open_file import open_file
from mien.media.timeline import SECOND, TimeBase, ticks
from mien.storage.files import LFS_POINTER

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,nut,ivf,dv,rm,gif,yuv4mpegpipe,"
    "h264,hevc,m4v,mpegvideo,mjpeg,obu,wav,w64,mp3,aac,flac,ac3,eac3,aiff,au,caf,amr,ape,wv,tta"
)
"""Formats that are accepted: none that refers to other files (playlists, concat scripts, image sequences)."""

INDEXED = frozenset({"mov", "matroska", "avi"})
"""Formats whose header states the duration."""

READ_SIZE = 1 << 18
STREAM_READ_SIZE = 1 << 15
STREAM_HEAD = 12
MATROSKA = b"\x1a\x45\xdf\xa3"
PROBE_DESCRIBED = {"probesize": "32768", "analyzeduration": "0"}
"""A stream begins at once: what a container states is not confirmed from its content."""

PROBE_OTHER = {"probesize": "1000000", "analyzeduration": "2000000"}
"""MPEG-TS does not state the size of its frames: libav reads up to the first key frame, at most so far."""

ID3_HEAD = 10
"""Bytes of an ID3 tag's header, and of its footer."""

MAX_SAMPLE_RATE = 768_000
"""Samples per second above which an audio stream is considered damaged."""


@contextmanager
def as_media_error(path: Path) -> Iterator[None]:
    """Turn errors of libav or the system into a one-line ``MediaError`` that starts with the file name."""
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
        formats: libav's names of the accepted formats.
        file: the same file, if it is already open for reading.

    Raises:
        MediaError: the file is missing, a folder, not a regular file, empty, not readable, or of an unknown format.
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


def open_stream(path: Path, settings: MediaSettings, file: FileIO) -> InputContainer:
    """Open bytes that arrive one after the other, as from a pipe: they are read once, and waited for.

    Only containers that can be read from start to end can be opened: Matroska, WebM, MPEG-TS, fragmented MP4.

    Args:
        path: the name in messages.
        settings: limits.
        file: unbuffered, so that a read returns what is there.

    Raises:
        MediaError: nothing comes, or it is not of such a format.
    """
    content = _Arriving(file)
    described = content.head[:4] == MATROSKA or content.head[4:8] == b"ftyp"  # codecs are stated in its header
    probing = PROBE_DESCRIBED if described else PROBE_OTHER
    try:
        return av.open(
            content,
            "r",
            options=_limits(settings),
            container_options={"format_whitelist": FORMATS, "protocol_whitelist": "", **probing},
            metadata_errors="replace",
            buffer_size=STREAM_READ_SIZE,
        )
    except (FFmpegError, ValueError) as error:
        if not content.head:
            raise MediaError(f"{path.name}: the stream ended before its first byte") from error
        reason = error.strerror if isinstance(error, FFmpegError) else str(error)
        raise MediaError(
            f"{path.name}: not a stream that can be decoded while it comes ({reason}); send Matroska, WebM, MPEG-TS or "
            f"fragmented MP4, e.g. from ffmpeg -i SOURCE -f matroska -"
        ) from error


class _Arriving:
    """A stream for libav: without ``seek``, and with its first bytes known."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self.head = b""
        while len(self.head) < STREAM_HEAD and (more := file.read(STREAM_HEAD - len(self.head))):
            self.head += more
        self._unread = self.head

    def read(self, size: int) -> bytes:
        """What is there, at most ``size`` bytes; waits for the first of them, and is empty at the end only."""
        if self._unread:
            some, self._unread = self._unread[:size], self._unread[size:]
            return some
        return self._file.read(size)


class _Content:
    """The bytes of a file for libav, without its name and without leading ID3 tags.

    A tag holds a cover image, often of megabytes, and libav does not probe for the format behind it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = _after_tags(file)
        self.read = file.read
        self.seek(0)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset from the start of the content, from the current position, or from its end."""
        if whence == io.SEEK_SET:
            offset += self._start
        return self._file.seek(offset, whence) - self._start

    def tell(self) -> int:
        """The offset from the start of the content."""
        return self._file.tell() - self._start


def _after_tags(file: BinaryIO) -> int:
    """The offset at which the leading ID3 tags of a file end (ID3v2.4.0 structure, 3.1); 0 without any."""
    end = 0
    while True:
        file.seek(end)
        head = file.read(ID3_HEAD)
        if len(head) < ID3_HEAD or head[:3] != b"ID3" or max(head[6:]) > 127:
            return end
        size = sum(byte << 7 * (3 - place) for place, byte in enumerate(head[6:]))
        end += ID3_HEAD * (2 if head[5] & 0x10 else 1) + size


def _not_media(file: BinaryIO, error: Exception, formats: str) -> str:
    file.seek(0)
    start = file.read(len(LFS_POINTER))
    what = "a video or audio file" if formats == FORMATS else "an image (JPEG, PNG, WebP, BMP)"
    if not start:
        return "an empty file (0 bytes)"
    if start[4:8] == b"ftyp" and formats == FORMATS:
        return "its index (moov) is missing or damaged, as when recording or copying was interrupted; copy it again"
    if start == LFS_POINTER:
        return "a pointer of Git LFS, not the file itself; run `git lfs pull` in its repository"
    if not start.strip(b"\0"):
        return f"contains only zeros, expected {what}; copy it again"
    reason = error.strerror if isinstance(error, FFmpegError) else str(error)
    return f"not {what} of a known format ({reason})"


def video_stream(container: InputContainer) -> VideoStream | None:
    """The video stream to decode: libav's choice, but never a cover image or a stream without a decoder."""
    best = container.streams.best("video")
    tracks = [best, *container.streams.video] if isinstance(best, VideoStream) else container.streams.video
    for track in tracks:
        if track.codec_context is not None and not track.disposition & Disposition.attached_pic:
            return track
    return None


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The audio stream to decode: libav's choice, or the first with a decoder and a plausible sample rate."""
    best = container.streams.best("audio")
    tracks = [best, *container.streams.audio] if isinstance(best, AudioStream) else container.streams.audio
    for track in tracks:
        if track.codec_context is not None and 0 < track.codec_context.sample_rate <= MAX_SAMPLE_RATE:
            return track
    return None


def check_size(path: Path, track: VideoStream, settings: MediaSettings) -> None:
    """Refuse frames that are too large, and make the decoder refuse frames larger than the header states.

    Raises:
        MediaError: the header states more than ``settings.largest_megapixels``.
    """
    width, height = track.codec_context.width, track.codec_context.height
    megapixels = width * height / 1e6
    if megapixels > settings.largest_megapixels:
        raise MediaError(
            f"{path.name}: frames of {width} x {height} = {megapixels:.1f} megapixels, but at most "
            f"{settings.largest_megapixels:g} are decoded; make them smaller or raise media.largest_megapixels"
        )
    if not megapixels:
        raise MediaError(
            f"{path.name}: its frames have no size, or more than {settings.largest_megapixels:g} megapixels; "
            f"if they are that large, make them smaller or raise media.largest_megapixels"
        )
    track.codec_context.options = _limits(settings)


def _limits(settings: MediaSettings) -> dict[str, str]:
    return {"max_pixels": str(round(settings.largest_megapixels * 1e6))}


def start_of(track: VideoStream | AudioStream | None) -> int | None:
    """The start of a stream by its header, in ticks; ``None`` when it is not stated."""
    return None if track is None else TimeBase(track.time_base).read(track.start_time)


def header_seconds(container: InputContainer, tracks: Sequence[VideoStream | AudioStream], zero: int) -> float | None:
    """The end of streams by the header; ``None`` where it is not stated, or estimated from the size of the file.

    The duration of the file is used only if all its streams were read: the longest may be another one.

    Args:
        container: the file.
        tracks: the streams that were read.
        zero: the time from which seconds are counted, in ticks.
    """
    if not INDEXED & set(container.format.name.split(",")):
        return None
    if container.format.name == "avi":  # libav shortens its durations to the size of the file, but not the counts
        return max((float(track.frames * (track.time_base or 0)) for track in tracks), default=0) or None
    if len(tracks) == len(container.streams) and container.duration:
        return container.duration / av.time_base
    ends = [end for track in tracks if (end := _end_of(track)) is not None]
    return (max(ends) - zero) / SECOND if len(ends) == len(tracks) else None


def _end_of(track: VideoStream | AudioStream) -> int | None:
    """The end of a stream by its header, in ticks; in Matroska by its tag, since libav invents the rest."""
    if "matroska" not in track.container.format.name:
        ruler = TimeBase(track.time_base)
        length = ruler.read(track.duration)
        return (ruler.read(track.start_time) or 0) + length if length else None
    tag = re.fullmatch(r"(\d{1,4}):(\d\d):(\d\d\.\d+)", track.metadata.get("DURATION", ""))
    return ticks(int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])) if tag else None
