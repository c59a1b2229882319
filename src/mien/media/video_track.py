"""The video track of a clip: frames are decoded in sequence, and only requested ones are converted to RGB.

Decoding takes most of the time of a clip. Three things are saved: conversion of frames that are not requested, decoding
of those to which no other frame refers (most B frames of H.264 and HEVC), and decoding of whole groups of pictures
before the requested part. The frames returned are bit-identical to those of full decoding; if a stream's times are out
of order, everything is decoded. Seeking is not used: it is slower on short clips, and fails on damaged ones.

Shapes: frames are ``(H, W, 3)`` uint8 RGB. Times are in ticks (``timeline``), presentation times unless stated.
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
"""Codecs with a decoder that can skip exactly the frames to which no other refers."""

PROGRESSIVE = (0, 1)
"""Field orders (unknown, progressive) in which a packet is a complete frame."""

NOMINAL_STEP = SECOND // 25

HELD_BYTES = 1 << 26
"""Packets buffered before the requested part; a larger group of pictures is decoded from its start."""

SCALED_FIRST = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p"})
"""Formats that are scaled first and then converted to RGB: three times as fast as both at once."""

PLAUSIBLE_ASPECT = (0.25, 4.0)
"""Width to height of a stored pixel; values outside are considered damaged."""


class VideoTrack:
    """A video stream being decoded.

    Args:
        track: the video stream.
        grid: the requested times, counted from the start of the clip.
        length: frames at or after this time of the clip are not returned; ``None`` is the end of the file.
        threads: of the decoder.

    Attributes:
        decoded: number of decoded frames.
        damaged: packets that could not be decoded; ``first_damaged`` is the time of the first.
        repaired: incomplete frames that the decoder concealed.
        last_error: the decoder's message for the last packet that could not be decoded.
        timestamps: the repair of their presentation times.
        pixel_aspect: width to height of a stored pixel.
        last: end of the last frame; ``None`` before any.
    """

    def __init__(self, track: VideoStream, grid: SamplingGrid, length: int | None, threads: int) -> None:
        self.decoded = self.damaged = self.repaired = 0
        self.first_damaged: int | None = None
        self.last: int | None = None
        self.last_error = ""
        self.timestamps = TimestampRepair(_nominal_step(track))
        self.pixel_aspect = _pixel_aspect(track)
        self._time_base = TimeBase(track.time_base)
        self._grid = grid
        self._length = length
        self._codec = track.codec_context
        self._codec.thread_type = "AUTO"
        self._codec.thread_count = threads
        self._count_frames = track.container.format.name == "avi"  # has no presentation times: libav guesses
        self._first_packet: int | None = None
        self._delay: int | None = None
        self._recent = RecentTimestamps()
        self._last_dts: int | None = None
        self._held: list[tuple[int, Packet]] = []
        self._may_hold = True
        self._in_order = (
            self._codec.name in SKIPPING_CODECS
            and self._codec.field_order in PROGRESSIVE
            and not self._count_frames
            and not _has_temporal_layers(track)
        )

    def add(self, packet: Packet | None, origin: int) -> Iterator[tuple[int, frozenset[str], VideoFrame]]:
        """Decode a packet; ``None`` flushes the decoder.

        Args:
            packet: of this track.
            origin: start of the clip.

        Yields:
            For each requested frame: the time from the start of the clip, the rates it serves, and the frame.
        """
        if self._first_packet is None and packet is not None:
            self._first_packet = self.time_of(packet)
        now = None if packet is None else self._trusted_time(packet)
        if packet is not None and now is not None and self._hold(packet, now, origin):
            return
        for time, held in self._held:
            yield from self._decode_wanted(held, origin, self._is_unneeded(time, origin))
        self._held.clear()
        yield from self._decode_wanted(packet, origin, now is not None and self._is_unneeded(now, origin))

    def time_of(self, packet: Packet) -> int | None:
        """The presentation time of a packet's frame by the container; ``None`` if it is not stated."""
        return self._time_base.read(packet.dts if self._count_frames else packet.pts)

    def skip(self, packet: Packet) -> None:
        """Record the time of a packet's frame without decoding it."""
        if (now := self.time_of(packet)) is not None:
            self._reach(now + (self._time_base.read(packet.duration) or self.timestamps.step))

    def warnings(self, zero: int) -> Iterator[str]:
        """Irregularities of the track, one line each; times are counted from ``zero``."""
        if not self.decoded:
            yield "no video frame could be decoded"
        if self.damaged:
            first = ((self.first_damaged or zero) - zero) / SECOND
            yield f"damaged: {self.damaged} video packets could not be decoded, the first at {first:.1f} s"
        if self.repaired:
            yield f"damaged: {self.repaired} of {self.decoded} frames are incomplete"
        if self._count_frames and self._delay:
            yield "no presentation times in AVI: counted from the order of decoding"
        elif self.timestamps.guessed and self.timestamps.guessed == self.decoded:
            yield f"no presentation times: guessed from {SECOND / self.timestamps.step:g} frames per second"
        elif self.timestamps.guessed:
            yield f"{self.timestamps.guessed} of {self.decoded} frames have no presentation time: continued from before"
        if self.timestamps.restarts:
            yield f"time jumps back {self.timestamps.restarts} times: continued from there"

    def _hold(self, packet: Packet, now: int, origin: int) -> bool:
        """Buffer a packet before the clip's start: if a key frame follows in time, those before it are not needed."""
        if now >= origin or not self._may_hold:
            return False
        if packet.is_keyframe:
            self._held.clear()
        self._held.append((now, packet))
        self._may_hold = sum(held.size for _, held in self._held) < HELD_BYTES
        return True

    def _decode_wanted(
        self, packet: Packet | None, origin: int, unneeded: bool
    ) -> Iterator[tuple[int, frozenset[str], VideoFrame]]:
        self._codec.skip_frame = "NONREF" if unneeded else "DEFAULT"
        for frame in self._decode(packet):
            now = self.timestamps.read(self._stated_time(frame), self._time_base.read(frame.duration))
            self._reach(now + self.timestamps.step)
            self.decoded += 1
            self.repaired += frame.is_corrupt
            inside = now >= origin and (self._length is None or now - origin < self._length)
            if inside and (due := self._grid.due(now - origin)):
                yield now - origin, due, frame

    def _stated_time(self, frame: VideoFrame) -> int | None:
        """The presentation time that the file states for a frame; in AVI, counted in decoded frames from the first."""
        stated = self._time_base.read(frame.dts if self._count_frames else frame.pts)
        if not self._count_frames or stated is None:
            return stated
        if self._delay is None:
            self._delay = stated - (stated if self._first_packet is None else self._first_packet)
        return stated - self._delay

    def _decode(self, packet: Packet | None) -> list[VideoFrame]:
        try:
            return self._codec.decode(packet)
        except EndOfFile:
            return []
        except FFmpegError as error:
            self.damaged += 1
            self.last_error = error.strerror
            if self.first_damaged is None:
                self.first_damaged = self.last or 0
            return []

    def _is_unneeded(self, now: int, origin: int) -> bool:
        """Whether a frame at ``now`` certainly serves no requested time, so that it may be skipped if unreferenced.

        It serves none if another frame lies before it and after (or at) the last requested time that it could serve.
        That frame need not be the one directly before, so reordering does no harm; in a stream in order, the frame
        before one without references has always been read already.
        """
        if now < origin or (self._length is not None and now - origin >= self._length):
            return True
        before = self._recent.before(now)
        return before is not None and not self._grid.between(before - origin, now - origin)

    def _trusted_time(self, packet: Packet) -> int | None:
        """The presentation time of a packet's frame, while the times of this and all earlier packets are in order."""
        now = self.time_of(packet)
        before, self._last_dts = self._last_dts, packet.dts if packet.dts is not None else self._last_dts
        self._in_order = (
            self._in_order
            and now is not None
            and self._recent.add(now)
            and (packet.dts is None or before is None or before < packet.dts)
            and not self.damaged
            and not self.timestamps.restarts
        )
        if now is not None and self._in_order:
            self.skip(packet)
        return now if self._in_order else None

    def _reach(self, end: int) -> None:
        self.last = end if self.last is None else max(self.last, end)


class FrameConverter:
    """Converts decoded frames for display: upright, with square pixels, and scaled down to a largest side.

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
        """A frame as ``(H, W, 3)`` uint8 RGB."""
        threads = self._threads
        width, height = shown_size(frame.width, frame.height, self._pixel_aspect, self._largest_side)
        same = (width, height) == (frame.width, frame.height)
        sized = (
            frame if same or frame.format.name not in SCALED_FIRST else frame.reformat(width, height, threads=threads)
        )
        rgb = sized.to_ndarray(format="rgb24", width=width, height=height, threads=threads)
        if frame.rotation != self._rotation:  # side data keep their frame alive until garbage collection: read once
            self._rotation = frame.rotation
            self._matrix = display_matrix(frame)
        rgb = cast("npt.NDArray[np.uint8]", rgb)
        return rgb if self._matrix is None else turned(rgb, self._matrix)


def shown_size(width: int, height: int, pixel_aspect: float, largest_side: int) -> tuple[int, int]:
    """Width and height of a frame with square pixels whose longer side is at most ``largest_side``.

    >>> shown_size(1920, 1080, 1.0, largest_side=1280)
    (1280, 720)
    >>> shown_size(720, 576, 16 / 15, largest_side=1280)
    (768, 576)
    """
    shown = width * pixel_aspect
    scale = min(1.0, largest_side / max(shown, height))
    return max(1, round(shown * scale)), max(1, round(height * scale))


def _has_temporal_layers(track: VideoStream) -> bool:
    """Whether HEVC frames without references in their own layer may be needed by another layer.

    The decoder configuration record (ISO/IEC 14496-15, 8.3.3.1) counts the layers in byte 21; without it, they may be.
    """
    if track.codec_context.name != "hevc":
        return False
    record = track.codec_context.extradata or b""
    return len(record) < 23 or record[0] != 1 or (record[21] >> 3) & 7 != 1


def _pixel_aspect(track: VideoStream) -> float:
    aspect = float(track.sample_aspect_ratio or 1)
    return aspect if PLAUSIBLE_ASPECT[0] <= aspect <= PLAUSIBLE_ASPECT[1] else 1.0


def _nominal_step(track: VideoStream) -> int:
    """Time per frame by the container; used only where presentation times are missing."""
    rate = track.average_rate or track.guessed_rate
    return round(SECOND / rate) if rate and 1 <= rate <= 240 else NOMINAL_STEP
