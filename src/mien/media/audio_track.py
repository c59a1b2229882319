"""The audio track of a clip, decoded packet by packet beside the video: 16 kHz, mono, float32.

Samples are placed by presentation time, so that audio and video stay in step: gaps in the track and a late start are
filled with silence, overlaps are cut. Times are in ticks (``timeline``).

Shapes: ``N`` samples; ``C`` channels.
"""

from collections import deque
from collections.abc import Iterator

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.error import EOFError as EndOfFile
from av.error import FFmpegError
from av.packet import Packet

from mien.media.container import MAX_SAMPLE_RATE
from mien.media.timeline import SECOND, TimeBase, TimestampRepair
from mien.schema import SAMPLE_RATE

TOLERANCE = SECOND // 10
"""Shorter gaps and overlaps are rounding by containers and codecs."""

SAMPLE = SECOND // SAMPLE_RATE
"""Ticks from one sample to the next."""

CANCELLED = 0.1
"""Two channels cancel if their mix has less than this share of the louder one's energy: a silent channel leaves .25 of
it, a correlation of -.8 this share."""

BLOCK = 1 << 23
"""Samples of a block: 32 MB, which the C library returns to the system when freed; unused pages take no memory."""


class AudioTrack:
    """An audio stream being decoded.

    Args:
        track: the audio stream.
        longest: the longest gap that is filled with silence; the caller decides what to do about longer ones.
        channel: take one of two channels instead of their mix.

    Attributes:
        damaged: number of packets or frames that could not be decoded.
        filled: length of the silence that fills gaps.
        cut: length of the samples that were left out of overlaps.
        first: start of the audio; ``None`` before any was decoded.
        last: end of what was decoded or skipped so far; ``None`` before any.
    """

    def __init__(self, track: AudioStream, longest: int, channel: int | None = None) -> None:
        self.damaged = 0
        self.filled = 0
        self.cut = 0
        self.first: int | None = None
        self.last: int | None = None
        self._time_base = TimeBase(track.time_base)
        self._codec = track.codec_context
        self._longest = longest
        self._channel = channel
        self._energy = np.zeros(3)  # of the left channel, the right one, and their mix
        self._timestamps = TimestampRepair(step=0)
        self._resampler = _resampler()
        self._blocks: deque[npt.NDArray[np.float32]] = deque()
        self._block: npt.NDArray[np.float32] | None = None
        self._used = 0
        self._samples = 0
        self._overlap = 0
        self._has_packets = False
        self._taken = 0

    @property
    def no_audio_reason(self) -> str:
        """The reason why no audio was decoded, where none was."""
        failed = self.first is None and self._has_packets
        return "the audio track could not be decoded" if failed else "no audio in the part of the file that was read"

    @property
    def better_channel(self) -> int | None:
        """The louder of two channels that cancel each other in the mix; ``None`` if they do not."""
        *channels, mix = self._energy
        return int(np.argmax(channels)) if mix < CANCELLED * max(channels) else None

    def warnings(self, zero: int, has_video: bool) -> Iterator[str]:
        """Irregularities of the track, one line each; times count from ``zero``, the start of the part."""
        if self.damaged:
            yield f"damaged: {self.damaged} audio packets could not be decoded"
        if self.first is None:
            yield self.no_audio_reason
        elif has_video and self.first - zero > TOLERANCE:
            yield f"audio starts {(self.first - zero) / SECOND:.2f} s after the video: silence is inserted before it"
        if self.filled:
            yield f"gaps of {self.filled / SECOND:.1f} s in the audio are filled with silence"
        if self.cut:
            yield f"overlaps of {self.cut / SECOND:.1f} s in the audio are cut"
        if self._channel is not None:
            side = ("left", "right")[self._channel]
            yield f"the two audio channels cancel each other (one is inverted): only the {side} one is used"

    def add(self, packet: Packet | None) -> None:
        """Decode a packet; ``None`` flushes the decoder and the resampler."""
        self._has_packets |= packet is not None
        try:
            frames = self._codec.decode(packet)
        except EndOfFile:
            frames = []
        except FFmpegError:
            self.damaged += 1
            frames = []
        for frame in frames:
            self._add_frame(frame)
        if packet is None:
            self._append_frames(self._resampler.resample(None))

    def skip(self, packet: Packet) -> None:
        """Record the time of a packet without decoding it."""
        now = self._time_base.read(packet.pts)
        if now is not None:
            self.last = now + (self._time_base.read(packet.duration) or 0)

    def _add_frame(self, frame: AudioFrame) -> None:
        if not 0 < frame.sample_rate <= MAX_SAMPLE_RATE:
            self.damaged += 1
            return
        now = self._timestamps.read(self._time_base.read(frame.pts), frame.samples * SECOND // frame.sample_rate)
        if self.first is None:
            self.first = now
        elif (gap := now - self.first - self._samples * SAMPLE) > TOLERANCE:
            self._append_silence(gap)
        elif gap < -TOLERANCE:
            self._overlap = -gap
        if frame.layout.nb_channels == 2:
            frame = self._of_two_channels(frame)
        self._append_frames(self._resampled(frame))
        self.last = self.first + self._samples * SAMPLE

    def _of_two_channels(self, frame: AudioFrame) -> AudioFrame:
        """Measure the energy of both channels and of their mix; return the frame, or the chosen channel of it."""
        try:
            samples = frame.to_ndarray()  # (2, N) planar, (1, 2N) packed
        except ValueError:  # a sample format without an array type
            return frame
        channels = samples if frame.format.is_planar else samples.reshape(-1, 2).T
        if self._channel is not None:
            mono = np.ascontiguousarray(channels[self._channel][None])
            chosen = AudioFrame.from_ndarray(mono, format=frame.format.packed.name, layout="mono")
            chosen.sample_rate, chosen.time_base, chosen.pts = frame.sample_rate, frame.time_base, frame.pts
            return chosen
        left, right = np.nan_to_num(channels.astype(np.float64)) - (128 if samples.dtype == np.uint8 else 0)
        mix = (left + right) / 2
        self._energy += [left @ left, right @ right, mix @ mix]
        return frame

    def _resampled(self, frame: AudioFrame) -> list[AudioFrame]:
        try:
            return self._resampler.resample(frame)
        except ValueError:  # the layout or rate changed: flush, and start a new resampler
            self._append_frames(self._resampler.resample(None))
            self._resampler = _resampler()
        try:
            return self._resampler.resample(frame)
        except (ValueError, FFmpegError):
            self.damaged += 1
            return []

    def _append_silence(self, gap: int) -> None:
        self.filled += gap
        silence = np.zeros(min(gap, self._longest + SECOND) // SAMPLE, np.float32)
        if len(silence) < BLOCK:
            self._append(silence)
            return
        self._finish_block()
        self._blocks.append(silence)  # zero pages take no memory until they are written
        self._samples += len(silence)

    def _append_frames(self, frames: list[AudioFrame]) -> None:
        for frame in frames:
            samples = frame.to_ndarray()[0]  # a copy, so that the frame is freed
            skipped = min(len(samples), self._overlap // SAMPLE)
            self.cut += skipped * SAMPLE
            self._overlap = (self._overlap // SAMPLE - skipped) * SAMPLE
            self._append(samples[skipped:])

    def _append(self, samples: npt.NDArray[np.float32]) -> None:
        self._samples += len(samples)
        while len(samples):
            if self._block is None:
                self._block, self._used = np.empty(BLOCK, np.float32), 0
            some = samples[: BLOCK - self._used]
            self._block[self._used : self._used + len(some)] = some
            self._used += len(some)
            samples = samples[len(some) :]
            if self._used == BLOCK:
                self._finish_block()

    def _finish_block(self) -> None:
        """Finish the current block; its samples become finite and lie in [-1, 1]."""
        if self._block is not None:
            block = self._block[: self._used]
            np.nan_to_num(block, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
            self._blocks.append(np.clip(block, -1.0, 1.0, out=block))
            self._block = None

    def take(self, start: int, least: int) -> npt.NDArray[np.float32] | None:
        """The samples that were decoded since the last call, for a stream; all calls together give ``between``.

        Args:
            start: of the clip; the same in each call.
            least: ``None`` is returned until so many samples are there.

        Returns:
            ``(N,)`` float32 in [-1, 1]; before the first sample of the track, silence.
        """
        if self.first is None or self._samples - self._taken < least:
            return None
        skip = round((start - self.first) / SAMPLE)  # negative: the track starts later
        self._finish_block()
        new = np.concatenate([*self._blocks, np.empty(0, np.float32)])
        self._blocks.clear()
        if not self._taken and skip < 0:
            new = np.concatenate([np.zeros(-skip, np.float32), new])
        elif self._taken < skip:
            new = new[skip - self._taken :]
        self._taken = self._samples
        return new

    def between(self, start: int, end: int | None) -> npt.NDArray[np.float32] | None:
        """The samples from ``start`` to ``end``; may be called once, since blocks are freed as they are copied.

        Returns:
            ``(N,)`` float32 in [-1, 1], with silence before the track starts but none after it ends; ``None`` when
            nothing was decoded in that part of the file.
        """
        if self.first is None:
            return None
        skip = round((start - self.first) / SAMPLE)  # negative: the track starts later
        stop = self._samples if end is None else min(self._samples, round((end - self.first) / SAMPLE))
        if stop <= max(skip, 0):
            return None
        waveform = np.zeros(stop - skip, np.float32)
        place = -skip
        self._finish_block()
        while self._blocks:  # each block is freed once it is copied
            block = self._blocks.popleft()
            begin, finish = max(place, 0), min(place + len(block), len(waveform))
            if finish > begin:
                waveform[begin:finish] = block[begin - place : finish - place]
            place += len(block)
        return waveform


def _resampler() -> av.AudioResampler:
    return av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
