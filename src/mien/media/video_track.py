"""The pictures of a clip: decode in sequence, turn into RGB only what is wanted, and do not even decode the rest.

Decoding is what a clip costs. Three things are saved: the conversion to RGB of pictures that nobody asked for, the
decoding of those among them that no other picture refers to (most B pictures of H.264 and HEVC), and the decoding of
whole groups of pictures before the part that was asked for. What is handed out stays bit-identical to decoding
everything; where a stream's times are not in good order, everything is decoded. Seeking is never used: on short clips
it costs more than it saves, and it breaks on damaged ones.

Shapes: pictures are ``(H, W, 3)`` uint8 RGB. Times are in ticks (``timeline``), presentation times unless said.
"""

from collections.abc import Iterator
from typing import cast

import numpy as np
import numpy.typing as npt
from av.error import EOFError as EndOfFile
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from mien.media.orientation import display_matrix, turned
from mien.media.timeline import SECOND, RecentTimestamps, SamplingGrid, TimeBase, TimestampRepair

SKIPPING_CODECS = frozenset({"h264", "hevc", "mpeg4", "mpeg2video"})
"""Codecs whose decoder leaves out exactly the pictures that no other refers to, when told to."""

PROGRESSIVE = (0, 1)
"""Field orders (unknown, progressive) in which a packet is a whole picture."""

USUAL_STEP = SECOND // 25

HELD_BYTES = 1 << 26
"""Packets kept back before the part asked for; a group of pictures larger than this is decoded from its beginning."""

SCALED_FIRST = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p"})
"""Formats that are scaled as they are and turned into RGB then: three times as fast as both at once."""

BELIEVABLE_ASPECT = (0.25, 4.0)
"""Width to height of one stored pixel; what lies outside is taken for damage."""


class VideoTrack:
    """Pictures on their way in.

    Args:
        track: the video stream.
        grid: the moments at which pictures are wanted, counted from the start of the clip.
        length: pictures at or after this time of the clip are not wanted; ``None`` is the end of the file.
        threads: of the decoder.

    Attributes:
        decoded: pictures that came out of the decoder.
        damaged: packets that could not be decoded; ``first_damaged`` is when the first would be shown.
        repaired: pictures that the decoder completed by guessing.
        complaint: what the decoder said of the last packet that it could not decode.
        clock: what was made of their presentation times.
        pixel_aspect: width to height of one stored pixel.
        last: when the last picture ends; ``None`` before any.
    """

    def __init__(self, track: VideoStream, grid: SamplingGrid, length: int | None, threads: int) -> None:
        self.decoded = self.damaged = self.repaired = 0
        self.first_damaged: int | None = None
        self.last: int | None = None
        self.complaint = ""
        self.clock = TimestampRepair(_usual_step(track))
        self.pixel_aspect = _pixel_aspect(track)
        self._ruler = TimeBase(track.time_base)
        self._grid = grid
        self._length = length
        self._codec = track.codec_context
        self._codec.thread_type = "AUTO"
        self._codec.thread_count = threads
        self._counted = track.container.format.name == "avi"  # stores no presentation times: those seen are guesses
        self._first_packet: int | None = None
        self._delay: int | None = None
        self._neighbours = RecentTimestamps()
        self._last_dts: int | None = None
        self._held: list[tuple[int, Packet]] = []
        self._may_hold = True
        self._orderly = (
            self._codec.name in SKIPPING_CODECS
            and self._codec.field_order in PROGRESSIVE
            and not self._counted
            and not _has_temporal_layers(track)
        )

    def add(self, packet: Packet | None, origin: int) -> Iterator[tuple[int, frozenset[str], VideoFrame]]:
        """Decode a packet, or with ``None`` what the decoder still holds back.

        Args:
            packet: of this track.
            origin: when the clip starts.

        Yields:
            The time from the start of the clip, the rates it serves, and the picture: only those that are wanted.
        """
        if self._first_packet is None and packet is not None:
            self._first_packet = self.time_of(packet)
        now = None if packet is None else self._trusted_time(packet)
        if packet is not None and now is not None and self._hold(packet, now, origin):
            return
        for time, held in self._held:
            yield from self._pictures_of(held, origin, self._needless(time, origin))
        self._held.clear()
        yield from self._pictures_of(packet, origin, now is not None and self._needless(now, origin))

    def time_of(self, packet: Packet) -> int | None:
        """When a packet's picture is shown, as far as the container tells."""
        return self._ruler.read(packet.dts if self._counted else packet.pts)

    def pass_over(self, packet: Packet) -> None:
        """Take note of when a packet's picture would be shown, without decoding it."""
        if (now := self.time_of(packet)) is not None:
            self._reach(now + (self._ruler.read(packet.duration) or self.clock.step))

    def oddities(self, zero: int) -> Iterator[str]:
        """What was odd, one line each; moments are counted from ``zero``."""
        if not self.decoded:
            yield "no picture could be decoded"
        if self.damaged:
            first = ((self.first_damaged or zero) - zero) / SECOND
            yield f"damaged: {self.damaged} video packets could not be decoded, the first at {first:.1f} s"
        if self.repaired:
            yield f"damaged: {self.repaired} of {self.decoded} pictures are incomplete"
        if self._counted and self._delay:
            yield "no presentation times in AVI: counted from the order of decoding"
        elif self.clock.guessed and self.clock.guessed == self.decoded:
            yield f"no presentation times: guessed from {SECOND / self.clock.step:g} pictures per second"
        elif self.clock.guessed:
            yield f"{self.clock.guessed} of {self.decoded} pictures have no presentation time: counted on from before"
        if self.clock.restarts:
            yield f"time jumps back {self.clock.restarts} times: counted on from there"

    def _hold(self, packet: Packet, now: int, origin: int) -> bool:
        """Keep back a packet before the clip's start: when a key picture follows in time, none before it is needed."""
        if now >= origin or not self._may_hold:
            return False
        if packet.is_keyframe:
            self._held.clear()
        self._held.append((now, packet))
        self._may_hold = sum(held.size for _, held in self._held) < HELD_BYTES
        return True

    def _pictures_of(
        self, packet: Packet | None, origin: int, needless: bool
    ) -> Iterator[tuple[int, frozenset[str], VideoFrame]]:
        self._codec.skip_frame = "NONREF" if needless else "DEFAULT"
        for frame in self._decode(packet):
            now = self.clock.read(self._told(frame), self._ruler.read(frame.duration))
            self._reach(now + self.clock.step)
            self.decoded += 1
            self.repaired += frame.is_corrupt
            inside = now >= origin and (self._length is None or now - origin < self._length)
            if inside and (due := self._grid.due(now - origin)):
                yield now - origin, due, frame

    def _told(self, frame: VideoFrame) -> int | None:
        """When a picture is shown, as the file tells it; in AVI, as many pictures after the first as were decoded."""
        told = self._ruler.read(frame.dts if self._counted else frame.pts)
        if not self._counted or told is None:
            return told
        if self._delay is None:
            self._delay = told - (told if self._first_packet is None else self._first_packet)
        return told - self._delay

    def _decode(self, packet: Packet | None) -> list[VideoFrame]:
        try:
            return self._codec.decode(packet)
        except EndOfFile:
            return []
        except FFmpegError as error:
            self.damaged += 1
            self.complaint = error.strerror
            if self.first_damaged is None:
                self.first_damaged = self.last or 0
            return []

    def _needless(self, now: int, origin: int) -> bool:
        """Whether a picture shown at ``now`` serves no moment for certain, so that it may go if no other refers to it.

        It serves none if another picture comes before it and after (or at) the last moment that it could serve. That
        one need not be the very one before it, so reordering cannot deceive; in a stream in good order the one before
        a picture that no other refers to has always been met already.
        """
        if now < origin or (self._length is not None and now - origin >= self._length):
            return True
        before = self._neighbours.before(now)
        return before is not None and not self._grid.between(before - origin, now - origin)

    def _trusted_time(self, packet: Packet) -> int | None:
        """When a packet's picture is shown, as long as the times of this and all packets before are in good order."""
        now = self.time_of(packet)
        before, self._last_dts = self._last_dts, packet.dts if packet.dts is not None else self._last_dts
        self._orderly = (
            self._orderly
            and now is not None
            and self._neighbours.add(now)
            and (packet.dts is None or before is None or before < packet.dts)
            and not self.damaged
            and not self.clock.restarts
        )
        if now is not None and self._orderly:
            self.pass_over(packet)
        return now if self._orderly else None

    def _reach(self, end: int) -> None:
        self.last = end if self.last is None else max(self.last, end)


class FrameConverter:
    """Shows decoded pictures as a viewer sees them: upright, their pixels square, and no larger than needed.

    Args:
        pixel_aspect: width to height of one stored pixel.
        largest_side: a longer side is scaled down to this many pixels.
        threads: of the conversion.
    """

    def __init__(self, pixel_aspect: float, largest_side: int, threads: int) -> None:
        self._pixel_aspect = pixel_aspect
        self._largest_side = largest_side
        self._threads = threads
        self._rotation: int | None = None
        self._matrix: list[int] | None = None

    def rgb(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        """A picture as ``(H, W, 3)`` uint8 RGB."""
        threads = self._threads
        width, height = shown_size(frame.width, frame.height, self._pixel_aspect, self._largest_side)
        same = (width, height) == (frame.width, frame.height)
        sized = (
            frame if same or frame.format.name not in SCALED_FIRST else frame.reformat(width, height, threads=threads)
        )
        rgb = sized.to_ndarray(format="rgb24", width=width, height=height, threads=threads)
        if frame.rotation != self._rotation:  # side data keep their frame alive until garbage is collected: look once
            self._rotation = frame.rotation
            self._matrix = display_matrix(frame)
        rgb = cast("npt.NDArray[np.uint8]", rgb)
        return rgb if self._matrix is None else turned(rgb, self._matrix)


def shown_size(width: int, height: int, pixel_aspect: float, largest_side: int) -> tuple[int, int]:
    """Width and height of a picture with square pixels whose longer side is at most ``largest_side``.

    >>> shown_size(1920, 1080, 1.0, largest_side=1280)
    (1280, 720)
    >>> shown_size(720, 576, 16 / 15, largest_side=1280)
    (768, 576)
    """
    shown = width * pixel_aspect
    scale = min(1.0, largest_side / max(shown, height))
    return max(1, round(shown * scale)), max(1, round(height * scale))


def _has_temporal_layers(track: VideoStream) -> bool:
    """Whether HEVC pictures that nothing in their own layer refers to may be needed by another layer.

    The decoder configuration record (ISO/IEC 14496-15, 8.3.3.1) counts the layers in byte 21; without it, they may be.
    """
    if track.codec_context.name != "hevc":
        return False
    record = track.codec_context.extradata or b""
    return len(record) < 23 or record[0] != 1 or (record[21] >> 3) & 7 != 1


def _pixel_aspect(track: VideoStream) -> float:
    aspect = float(track.sample_aspect_ratio or 1)
    return aspect if BELIEVABLE_ASPECT[0] <= aspect <= BELIEVABLE_ASPECT[1] else 1.0


def _usual_step(track: VideoStream) -> int:
    """Time per picture by the container, which is used only where presentation times are missing."""
    rate = track.average_rate or track.guessed_rate
    return round(SECOND / rate) if rate and 1 <= rate <= 240 else USUAL_STEP
