"""Decodes a file in one pass: frames at the requested rates and all audio, with at most one frame in memory.

    with MediaReader(path, settings.media, rates={"vision": 4, "motion": 10}) as reader:
        for frame in reader.frames():
            ...                                # frame.seconds, frame.rgb, frame.wanted
        waveform = reader.audio()              # (N,) float32, 16 kHz

Time zero is the first frame (or ``start``), or the start of the audio if that is more than 0.1 s earlier. Frames and
audio share this clock, as in a player. Irregular files are read as far as possible, and ``notes`` lists what was found.

Shapes: frames ``(H, W, 3)`` uint8 RGB, audio ``(N,)`` float32 at 16 kHz. Reading order: ``timeline`` (times),
``container`` (open), ``video_track`` and ``audio_track`` (decode), then this file. Internal times are in ticks.
"""

import os
from collections.abc import Iterator, Mapping
from io import BufferedReader, FileIO
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from mien.config import MediaSettings
from mien.errors import MediaError
from mien.media.audio_track import SAMPLE, TOLERANCE, AudioTrack
from mien.media.container import (
    as_media_error,
    audio_stream,
    check_size,
    header_seconds,
    open_container,
    open_stream,
    start_of,
    video_stream,
)
from mien.media.frames import Frame, Samples
from mien.media.timeline import SECOND, SamplingGrid, TimeBase, ticks
from mien.media.video_track import FrameConverter, VideoTrack
from mien.schema import SAMPLE_RATE

TRUST = 0.05
"""A file that is shorter than its header states by more than this share and ``TOLERANCE`` is reported as cut short."""

LEAD_IN = SECOND
"""Audio decoded before the requested part: codecs depend on the packets before."""

PART_SAMPLES = SAMPLE_RATE // 10
"""Audio of a stream is returned in parts of this many samples, or a little more."""

NO_FRAME = 2 * SECOND
"""A stream without a frame for so long begins with its audio."""

TRAIL = SECOND // 5
"""Decoded after the requested part, for files that store packets later than they are shown."""


class MediaReader:
    """A video or audio file that is decoded once, from start to end.

    Args:
        path: the file.
        settings: limits, and the size of the frames.
        rates: frames per second to return, by name; empty for none.
        audio: whether the audio is decoded.
        start, end: the part of the file to read, in seconds from its own time zero; ``end`` is exclusive.
        threads: of the video decoder.
        channel: decode one of two audio channels instead of their mix.
        file: the same file, if it is already open for reading; ``close`` closes it.
        live: ``file`` is a stream that is decoded while it comes, by ``parts()``: its audio is not collected, and it
            may end anywhere. It is read from its start to its end, and not sought.
        resume: of such a stream that begins with a later part: its time zero in ticks, and the number of samples that
            were returned of it before; ``parts()`` continues the times and the audio.

    Attributes:
        width, height: of the frames as stored, before they are rotated and scaled; 0 without video.
        seconds: length of the clip by presentation times; known when ``frames()`` is exhausted.
        notes: irregularities of the file, one line each; complete when ``frames()`` is exhausted.

    Raises:
        MediaError: the file is missing, a folder, not readable, empty, not video or audio, has neither kind of
            stream, or frames are requested that are larger than ``settings.largest_megapixels``; ``start`` and ``end``
            are not an interval. While frames are read: nothing can be decoded, the part lies outside the file, or it
            is longer than ``settings.longest_seconds``.
        ValueError: a rate is not positive.
    """

    def __init__(
        self,
        path: Path,
        settings: MediaSettings,
        *,
        rates: Mapping[str, float],
        audio: bool = True,
        start: float | None = None,
        end: float | None = None,
        threads: int = 1,
        channel: int | None = None,
        file: BinaryIO | None = None,
        live: bool = False,
        resume: tuple[int, int] | None = None,
    ) -> None:
        if (start or 0) < 0 or (end is not None and end <= (start or 0)):
            raise MediaError(f"{path.name}: no such part: start {start}, end {end} seconds")
        grid = SamplingGrid(rates)
        self.path = path
        self.seconds = 0.0
        self.notes: list[str] = []
        self._settings = settings
        self._threads = threads
        self._channel = channel
        self._longest = ticks(settings.longest_seconds)
        self._start = ticks(start or 0)
        self._length = None if end is None else ticks(end) - self._start
        self._zero = None if resume is None else resume[0]
        self._heard = 0 if resume is None else resume[1] * SAMPLE
        self._resumed = resume is not None
        self._waveform: npt.NDArray[np.float32] | None = None
        self._read_error = ""
        self._skip_frames = self._read_all = False
        self._live = live
        if live:
            assert isinstance(file, BufferedReader) and isinstance(file.raw, FileIO), "a stream comes as a descriptor"
            self._file, self._container = file, open_stream(path, settings, file.raw)
        else:
            self._file, self._container = open_container(path, settings, file=file)
        try:
            self._choose_tracks(grid, want_video=bool(rates), want_audio=audio)
        except BaseException:
            self.close()
            raise
        self._pass = self._one_pass()

    def _choose_tracks(self, grid: SamplingGrid, want_video: bool, want_audio: bool) -> None:
        video, audio = video_stream(self._container), audio_stream(self._container)
        if video is None and audio is None:
            kinds = ", ".join(sorted(stream.type for stream in self._container.streams)) or "none"
            raise MediaError(f"{self.path.name}: no video and no audio that can be decoded (streams: {kinds})")
        if want_video and video is not None:
            check_size(self.path, video, self._settings)
        self.width = video.codec_context.width if video else 0
        self.height = video.codec_context.height if video else 0
        self._video_stream, self._audio_stream = video, audio
        self._time_bases = {track.index: TimeBase(track.time_base) for track in (video, audio) if track is not None}
        self._want_video = want_video and video is not None
        self._video_track = VideoTrack(video, grid, self._length, self._threads) if video else None
        aspect = self._video_track.pixel_aspect if self._video_track else 1.0
        self._converter = FrameConverter(aspect, self._settings.largest_side, self._threads)
        self._audio_track = (
            AudioTrack(audio, self._longest + self._start, self._channel) if audio and want_audio else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()
        self._file.close()

    @property
    def zero(self) -> int | None:
        """Time zero in ticks of the container; known with the first part."""
        return self._zero

    @property
    def has_video(self) -> bool:
        """Whether there is video; also false once all was read and no frame could be decoded."""
        track = self._video_track
        none_decoded = self._read_all and self._want_video and track is not None and not track.decoded
        return self._video_stream is not None and not none_decoded

    @property
    def has_audio(self) -> bool:
        """Whether there is audio; also false once all was read and none of it could be decoded."""
        none_decoded = self._read_all and self._audio_track is not None and self._audio_track.first is None
        return self._audio_stream is not None and not none_decoded

    @property
    def no_audio_reason(self) -> str:
        """Why ``audio()`` returns ``None``; empty when it does not. Known when ``frames()`` is exhausted."""
        if self._waveform is not None:
            return ""
        if self._audio_stream is None:
            return "no audio track"
        return self._audio_track.no_audio_reason if self._audio_track else "no audio was requested"

    def frames(self) -> Iterator[Frame]:
        """The requested frames, in order of time; the audio is decoded in the same pass.

        For each rate ``r``, the first frame at or after each of 0, 1/r, 2/r … seconds, each frame once. There is one
        pass over the file: a second call continues where the first stopped.
        """
        return (part for part in self._pass if isinstance(part, Frame))

    def parts(self) -> Iterator[Frame | Samples]:
        """The requested frames and the audio of a stream, as they come; frames as from ``frames()``."""
        return self._pass

    def audio(self) -> npt.NDArray[np.float32] | None:
        """All audio of the clip, ``(N,)`` float32 in [-1, 1] at 16 kHz, aligned with the frames.

        Reads the rest of the file and discards its frames. ``None`` when there is no audio track, it was not
        requested, or nothing in it could be decoded.
        """
        self._skip_frames = True
        for _ in self._pass:
            pass
        return self._waveform

    def _one_pass(self) -> Iterator[Frame | Samples]:
        with as_media_error(self.path):
            for packet in self._packets():
                if packet.stream is self._audio_stream:
                    self._decode_audio(packet)
                    yield from self._new_samples(PART_SAMPLES)
                else:
                    yield from self._decode_video(packet)
                self._refuse_too_long()
            yield from self._decode_video(None)
            if self._audio_track is not None:
                self._audio_track.add(None)
        self._finish()
        yield from self._new_samples(1)

    def _new_samples(self, least: int) -> Iterator[Samples]:
        """The audio of a stream that came since the last call, once there are ``least`` samples of it."""
        track = self._audio_track
        if not self._live or track is None or track.first is None:
            return
        late = self._zero is None and (track.last or 0) - track.first > NO_FRAME
        if not self._resumed and (self._video_stream is None or late):  # audio leads
            self._zero = track.first
        if (
            self._zero is not None
            and (values := track.take(self._zero + self._heard, least)) is not None
            and len(values)
        ):
            yield Samples(values)

    def _packets(self) -> Iterator[Packet]:
        """The packets of the streams in use, up to the end of the requested part or of what can be read."""
        streams = self._streams()
        unfinished = {stream.index for stream in streams}
        packets = self._container.demux(*streams)
        while unfinished:
            try:
                packet = next(packets, None)
            except (FFmpegError, OSError) as error:
                self._read_error = error.strerror or str(error)
                return
            if packet is None:
                return
            if packet.size:
                self._find_zero(packet)
                if self._is_past(packet):
                    unfinished.discard(packet.stream_index)
                else:
                    yield packet

    def _find_zero(self, packet: Packet) -> None:
        """Set time zero from the first packet of the leading track, unless an edit list hides the track's start."""
        if self._zero is not None or packet.stream is not (self._video_stream or self._audio_stream):
            return
        audio_start = start_of(self._audio_stream)
        time = audio_start
        if self._video_track is not None:
            time = start_of(self._video_stream) if packet.is_discard else self._video_track.time_of(packet)
        if time is None or (audio_start is not None and audio_start < time - TOLERANCE):
            time = audio_start
        self._zero = time or 0

    @property
    def _origin(self) -> int:
        """The start of the clip."""
        return (self._zero or 0) + self._start

    def _is_past(self, packet: Packet) -> bool:
        """Whether a packet lies after the requested part."""
        if self._length is None or self._zero is None or packet.dts is None:
            return False
        time = self._time_bases[packet.stream_index].read(packet.dts)
        return time is not None and time > self._origin + self._length + TRAIL

    def _decode_video(self, packet: Packet | None) -> Iterator[Frame]:
        if self._video_track is None:
            return
        if not self._want_video:
            if packet is not None:
                self._video_track.skip(packet)
            return
        for time, wanted, frame in self._video_track.add(packet, self._origin):
            if not self._skip_frames:
                yield Frame(time / SECOND, self._converter.rgb(frame), wanted)

    def _decode_audio(self, packet: Packet) -> None:
        if self._audio_track is None:
            return
        time = self._time_bases[packet.stream_index].read(packet.pts)
        if self._start and time is not None and self._zero is not None and time < self._origin - LEAD_IN:
            self._audio_track.skip(packet)
        else:
            self._audio_track.add(packet)

    def _reached(self) -> int | None:
        """The latest end of a frame or of audio so far."""
        tracks = (self._video_track, self._audio_track)
        return max((track.last for track in tracks if track is not None and track.last is not None), default=None)

    def _refuse_too_long(self) -> None:
        reached, origin = self._reached(), self._origin
        if self._zero is None and self._audio_track is not None:  # audio before the first frame: the clock may be late
            origin += self._audio_track.first or 0
        within = self._length is not None and self._length <= self._longest
        if reached is not None and not within and reached - origin > self._longest:
            raise MediaError(
                f"{self.path.name}: longer than {self._settings.longest_seconds:g} s by its presentation times; "
                f"cut it, select a part with start and end, or raise media.longest_seconds"
            )

    def _finish(self) -> None:
        """After the last packet: determine the length, the audio and the notes."""
        self._read_all = True
        if (
            self._audio_track
            and not self._start
            and not self._resumed
            and (self._video_stream is None or self._zero is None)
        ):
            self._zero = self._audio_track.first  # audio that leads starts at its first sample
        reached = self._reached()
        if reached is not None and reached <= self._origin:
            whole = (reached - self._origin + self._start) / SECOND
            raise MediaError(
                f"{self.path.name}: the part from {self._start / SECOND:g} s lies outside the file ({whole:.1f} s long)"
            )
        requested = self._want_video or self._audio_track
        decoded = (self._want_video and self.has_video) or (self._audio_track and self.has_audio)
        if requested and not decoded:
            last_error = self._video_track.last_error if self._video_track else ""
            remedy = "; an MP4 with its index at the end cannot be read while it comes" if self._live else ""
            reason = last_error or self._read_error or "no data"
            raise MediaError(f"{self.path.name}: nothing in it could be decoded ({reason}){remedy}")
        if reached is None:
            return
        length = reached - self._origin
        self.seconds = (length if self._length is None else min(length, self._length)) / SECOND
        self.notes += self._warnings(length)
        if self._audio_track and not self._live:
            end = None if self._length is None else self._origin + self._length
            self._waveform = self._audio_track.between(self._origin, end)
            if self._channel is None and (channel := self._audio_track.better_channel) is not None:
                self._read_channel(channel)

    def _read_channel(self, channel: int) -> None:
        """Decode the audio again from one of two channels that cancel each other in the mix."""
        start, end = self._start / SECOND, None if self._length is None else (self._start + self._length) / SECOND
        file = os.fdopen(os.dup(self._file.fileno()), "rb")
        with MediaReader(
            self.path, self._settings, rates={}, start=start, end=end, channel=channel, file=file
        ) as reader:
            waveform = reader.audio()
        if waveform is not None:
            self._waveform = waveform
            self.notes += [note for note in reader.notes if note not in self.notes]

    def _warnings(self, length: int) -> Iterator[str]:
        video, audio = self._video_track, self._audio_track
        end = (self._start + length) / SECOND
        if self._live:  # it may end anywhere, and its header knows no length
            if audio and audio.better_channel is not None:
                yield "the two audio channels cancel each other (one is inverted): their mix was used, which is silent"
        elif self._read_error:
            yield f"damaged: reading stopped at {end:.1f} s ({self._read_error})"
        elif (stated := self._header_seconds()) and stated - end > max(TRUST * stated, TOLERANCE / SECOND):
            yield f"cut short: ends at {end:.1f} s, but its header states {stated:.1f} s"
        if self._length is not None and self._length - length > TOLERANCE:
            yield f"the requested part ends at {(self._start + self._length) / SECOND:g} s, but the file at {end:.1f} s"
        if video and self._want_video:
            yield from video.warnings(self._zero or 0)
        if audio:
            yield from audio.warnings(self._origin, has_video=video is not None)
        if audio and (tracks := len(self._container.streams.audio)) > 1:
            yield f"{tracks} audio tracks: only track {self._audio_stream.index if self._audio_stream else 0} is used"

    def _header_seconds(self) -> float | None:
        """The end of the streams in use by the header; ``None`` where only a part was read."""
        if self._length is not None:
            return None
        return header_seconds(self._container, self._streams(), self._zero or 0)

    def _streams(self) -> list[VideoStream | AudioStream]:
        """The streams that are read."""
        streams = (self._video_stream, self._audio_stream if self._audio_track else None)
        return [stream for stream in streams if stream is not None]


def read_audio(path: Path, settings: MediaSettings | None = None) -> npt.NDArray[np.float32]:
    """All audio of a file, ``(N,)`` float32 in [-1, 1] at 16 kHz mono.

    Raises:
        MediaError: the file cannot be read, or has no audio.
    """
    with MediaReader(path, settings or MediaSettings(), rates={}) as reader:
        waveform = reader.audio()
    if waveform is None:
        raise MediaError(f"{path.name}: no audio in it")
    return waveform
