"""A file → the pictures that are wanted and all of its sound, in one pass, holding no more than one picture at a time.

    with Recording(path, settings.media, rates={"vision": 4, "motion": 10}) as recording:
        for frame in recording.frames():
            ...                                # frame.seconds, frame.rgb, frame.wanted
        sound = recording.sound()              # (N,) float32, 16 kHz

Time zero is the first picture (or ``start``); sound that starts more than 0.1 s earlier moves it to its own start. So
pictures and sound share one clock, as a viewer has it. What is odd about a file is survived and said in ``notes``.

Shapes: pictures ``(H, W, 3)`` uint8 RGB, sound ``(N,)`` float32 at 16 kHz. Reading order: ``timeline`` (when),
``container`` (open), ``video_track`` and ``audio_track`` (decode), then this. Inside, times are in ticks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import numpy.typing as npt
from av.error import FFmpegError
from av.packet import Packet

from mien.config import MediaSettings
from mien.errors import MediaError
from mien.media.audio_track import TOLERANCE, AudioTrack
from mien.media.container import (
    check_size,
    open_container,
    picture_track,
    sound_track,
    start_of,
    told_as_media_error,
    told_seconds,
)
from mien.media.timeline import SECOND, SamplingGrid, TimeBase, ticks
from mien.media.video_track import FrameConverter, VideoTrack

TRUST = 0.05
"""A file shorter than its header says by more than this share, and by more than ``TOLERANCE``, is called cut short."""

LEAD_IN = SECOND
"""Sound decoded before the part asked for: its codecs lean on what was before."""

RUN_OUT = SECOND // 5
"""Decoded after the part asked for, for files that store packets later than they are shown."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture that was asked for.

    Attributes:
        seconds: presentation time from the start of the clip.
        rgb: ``(H, W, 3)`` uint8, upright.
        wanted: the asked rates that it serves.
    """

    seconds: float
    rgb: npt.NDArray[np.uint8]
    wanted: frozenset[str]


class MediaReader:
    """A video or sound file that is decoded once, from its beginning to its end.

    Args:
        path: the file.
        settings: limits, and the size of the pictures.
        rates: pictures wanted per second, by name; empty when none are.
        sound: whether the sound is wanted.
        start, end: the part of the file that counts, in seconds from its own time zero; the end does not belong to it.
        threads: of the picture decoder.
        file: the same file, where it is open for reading already; it is closed in the end.

    Attributes:
        width, height: of the pictures as stored, before they are turned and scaled; 0 without pictures.
        seconds: length of the clip by presentation times; known when ``frames()`` is exhausted.
        notes: what was odd about the file, one line each; complete when ``frames()`` is exhausted.

    Raises:
        MediaError: the file is missing, a folder, not permitted, empty, not video or sound, has neither kind of
            stream, or has pictures larger than ``settings.largest_megapixels`` that are wanted; the part asked for is
            not a part at all. While frames are read: nothing can be decoded, the part lies outside the file, or it is
            longer than ``settings.longest_seconds``.
        ValueError: a rate is not positive.
    """

    def __init__(
        self,
        path: Path,
        settings: MediaSettings,
        *,
        rates: Mapping[str, float],
        sound: bool = True,
        start: float | None = None,
        end: float | None = None,
        threads: int = 1,
        file: BinaryIO | None = None,
    ) -> None:
        if (start or 0) < 0 or (end is not None and end <= (start or 0)):
            raise MediaError(f"{path.name}: no such part: start {start}, end {end} seconds")
        grid = SamplingGrid(rates)
        self.path = path
        self.seconds = 0.0
        self.notes: list[str] = []
        self._settings = settings
        self._threads = threads
        self._longest = ticks(settings.longest_seconds)
        self._start = ticks(start or 0)
        self._length = None if end is None else ticks(end) - self._start
        self._zero: int | None = None
        self._heard: npt.NDArray[np.float32] | None = None
        self._broken_off = ""
        self._hurried = self._read_all = False
        self._file, self._container = open_container(path, settings, file=file)
        try:
            self._choose_tracks(grid, look=bool(rates), listen=sound)
        except BaseException:
            self.close()
            raise
        self._pass = self._one_pass()

    def _choose_tracks(self, grid: SamplingGrid, look: bool, listen: bool) -> None:
        video, audio = picture_track(self._container), sound_track(self._container)
        if video is None and audio is None:
            kinds = ", ".join(sorted(stream.type for stream in self._container.streams)) or "none"
            raise MediaError(f"{self.path.name}: no video and no sound that can be decoded (streams: {kinds})")
        if look and video is not None:
            check_size(self.path, video, self._settings)
        self.width = video.codec_context.width if video else 0
        self.height = video.codec_context.height if video else 0
        self._video, self._audio = video, audio
        self._rulers = {track.index: TimeBase(track.time_base) for track in (video, audio) if track is not None}
        self._look = look and video is not None
        self._pictures = VideoTrack(video, grid, self._length, self._threads) if video else None
        aspect = self._pictures.pixel_aspect if self._pictures else 1.0
        self._viewer = FrameConverter(aspect, self._settings.largest_side, self._threads)
        self._sound = AudioTrack(audio, self._longest + self._start) if audio and listen else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()
        self._file.close()

    @property
    def has_video(self) -> bool:
        """Whether there are pictures; false also when all was read and none could be decoded."""
        looked_in_vain = self._read_all and self._look and self._pictures is not None and not self._pictures.decoded
        return self._video is not None and not looked_in_vain

    @property
    def has_sound(self) -> bool:
        """Whether there is a sound track; false also when all was read and none of it could be decoded."""
        listened_in_vain = self._read_all and self._sound is not None and self._sound.first is None
        return self._audio is not None and not listened_in_vain

    @property
    def mute(self) -> str:
        """Why ``sound()`` gives none, empty when it does; known when ``frames()`` is exhausted."""
        if self._heard is not None:
            return ""
        if self._audio is None:
            return "no sound track"
        return self._sound.mute if self._sound else "the sound was not asked for"

    def frames(self) -> Iterator[Frame]:
        """The pictures that were asked for, in order of time; gathers the sound on its way through the file.

        For each rate ``r``, the first picture at or after each of 0, 1/r, 2/r … seconds, each picture once. There is
        one pass over the file: a second call goes on where the first one stopped.
        """
        return self._pass

    def sound(self) -> npt.NDArray[np.float32] | None:
        """All sound of the clip, ``(N,)`` float32 in [-1, 1] at 16 kHz, aligned with the pictures.

        Reads what is left of the file; pictures on the way are then lost. ``None`` when there is no sound track, it
        was not asked for, or nothing in it could be decoded.
        """
        self._hurried = True
        for _ in self._pass:
            pass
        return self._heard

    def _one_pass(self) -> Iterator[Frame]:
        with told_as_media_error(self.path):
            for packet in self._packets():
                if packet.stream is self._audio:
                    self._listen(packet)
                else:
                    yield from self._see(packet)
                self._refuse_too_long()
            yield from self._see(None)
            if self._sound is not None:
                self._sound.add(None)
        self._conclude()

    def _packets(self) -> Iterator[Packet]:
        """The packets of the tracks in use, up to the end of the part asked for or of what can be read."""
        tracks = [track for track in (self._video, self._audio if self._sound else None) if track is not None]
        unfinished = {track.index for track in tracks}
        packets = self._container.demux(*tracks)
        while unfinished:
            try:
                packet = next(packets, None)
            except (FFmpegError, OSError) as error:
                self._broken_off = error.strerror or str(error)
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
        """The first packet of the leading track sets the clip's time zero, unless an edit list hides its start."""
        if self._zero is not None or packet.stream is not (self._video or self._audio):
            return
        heard = start_of(self._audio)
        shown = heard
        if self._pictures is not None:
            shown = start_of(self._video) if packet.is_discard else self._pictures.time_of(packet)
        if shown is None or (heard is not None and heard < shown - TOLERANCE):
            shown = heard
        self._zero = shown or 0

    @property
    def _origin(self) -> int:
        """When the clip starts."""
        return (self._zero or 0) + self._start

    def _is_past(self, packet: Packet) -> bool:
        """Whether a packet belongs to what comes after the part asked for."""
        if self._length is None or self._zero is None or packet.dts is None:
            return False
        time = self._rulers[packet.stream_index].read(packet.dts)
        return time is not None and time > self._origin + self._length + RUN_OUT

    def _see(self, packet: Packet | None) -> Iterator[Frame]:
        if self._pictures is None:
            return
        if not self._look:
            if packet is not None:
                self._pictures.pass_over(packet)
            return
        for time, wanted, frame in self._pictures.add(packet, self._origin):
            if not self._hurried:
                yield Frame(time / SECOND, self._viewer.rgb(frame), wanted)

    def _listen(self, packet: Packet) -> None:
        if self._sound is None:
            return
        time = self._rulers[packet.stream_index].read(packet.pts)
        if self._start and time is not None and self._zero is not None and time < self._origin - LEAD_IN:
            self._sound.pass_over(packet)
        else:
            self._sound.add(packet)

    def _reached(self) -> int | None:
        """When the last picture and the last sound so far have ended."""
        ends = [track.last for track in (self._pictures, self._sound) if track is not None and track.last is not None]
        return max(ends, default=None)

    def _refuse_too_long(self) -> None:
        reached = self._reached()
        within = self._length is not None and self._length <= self._longest
        if reached is not None and not within and reached - self._origin > self._longest:
            raise MediaError(
                f"{self.path.name}: longer than {self._settings.longest_seconds:g} s by its presentation times; "
                f"cut it, name a part by start and end, or raise media.longest_seconds"
            )

    def _conclude(self) -> None:
        """The file was read: settle its length and its sound, and say what was odd."""
        self._read_all = True
        if self._sound and not self._start and (self._video is None or self._zero is None):
            self._zero = self._sound.first  # where sound leads, it leads from its first sample
        reached = self._reached()
        if reached is not None and reached <= self._origin:
            whole = (reached - self._origin + self._start) / SECOND
            raise MediaError(
                f"{self.path.name}: the part from {self._start / SECOND:g} s lies outside the file ({whole:.1f} s long)"
            )
        if (self._look or self._sound) and not (self._look and self.has_video) and not (self._sound and self.has_sound):
            complaint = self._pictures.complaint if self._pictures else ""
            raise MediaError(
                f"{self.path.name}: nothing in it could be decoded ({complaint or self._broken_off or 'no data'})"
            )
        if reached is None:
            return
        length = reached - self._origin
        self.seconds = (length if self._length is None else min(length, self._length)) / SECOND
        self.notes += self._oddities(length)
        if self._sound:
            end = None if self._length is None else self._origin + self._length
            self._heard = self._sound.between(self._origin, end)

    def _oddities(self, length: int) -> Iterator[str]:
        pictures, sound = self._pictures, self._sound
        end = (self._start + length) / SECOND
        if self._broken_off:
            yield f"damaged: reading stopped at {end:.1f} s ({self._broken_off})"
        elif (told := self._told_seconds()) and told - end > max(TRUST * told, TOLERANCE / SECOND):
            yield f"ends at {end:.1f} s, though its header says {told:.1f} s; cut short?"
        if self._length is not None and self._length - length > TOLERANCE:
            yield f"the part asked for ends at {(self._start + self._length) / SECOND:g} s, but the file at {end:.1f} s"
        if pictures and self._look:
            yield from pictures.oddities(self._zero or 0)
        if sound:
            yield from sound.oddities(self._zero or 0, beside_pictures=pictures is not None)
        if sound and (tracks := len(self._container.streams.audio)) > 1:
            yield f"{tracks} sound tracks: only track {self._audio.index if self._audio else 0} is heard"

    def _told_seconds(self) -> float | None:
        """When the tracks that were read end by the header, where all of them were read."""
        if self._length is not None:
            return None
        tracks = [track for track in (self._video, self._audio if self._sound else None) if track is not None]
        return told_seconds(self._container, tracks, self._zero or 0)


def read_sound(path: Path, settings: MediaSettings | None = None) -> npt.NDArray[np.float32]:
    """All sound of a file, ``(N,)`` float32 in [-1, 1] at 16 kHz mono.

    Raises:
        MediaError: the file cannot be read, or there is no sound in it.
    """
    with MediaReader(path, settings or MediaSettings(), rates={}) as recording:
        sound = recording.sound()
    if sound is None:
        raise MediaError(f"{path.name}: no sound in it")
    return sound
