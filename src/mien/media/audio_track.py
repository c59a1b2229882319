"""The sound of a clip, gathered packet by packet while its pictures are decoded: 16 kHz, mono, float32.

Sound is laid out by presentation time, so that a word is heard at the moment at which it is seen: a gap in the track
is filled with silence, and a track that starts late is pushed back. Times are in ticks (``timeline``).
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

from mien.media.container import FASTEST_SOUND
from mien.media.timeline import SECOND, TimeBase, TimestampRepair
from mien.schema import SAMPLE_RATE

TOLERANCE = SECOND // 10
"""Shorter gaps are the rounding of containers and codecs, not silence."""

SAMPLE = SECOND // SAMPLE_RATE
"""Ticks from one sample to the next."""


BLOCK = 1 << 23
"""Samples of a block: more than 32 MB, which the C library never keeps for itself; what is not filled takes none."""


class AudioTrack:
    """Sound on its way in.

    Args:
        track: the audio stream.
        longest: silence longer than this is never filled in; what to do then is the caller's to decide.

    Attributes:
        damaged: how many packets or blocks could not be decoded.
        filled: how much silence stands for gaps in the track.
        first: when the sound starts; ``None`` before any was decoded.
        last: when what was decoded or passed over so far ends; ``None`` before any.
    """

    def __init__(self, track: AudioStream, longest: int) -> None:
        self.damaged = 0
        self.filled = 0
        self.first: int | None = None
        self.last: int | None = None
        self._ruler = TimeBase(track.time_base)
        self._codec = track.codec_context
        self._longest = longest
        self._clock = TimestampRepair(step=0)
        self._resampler = _resampler()
        self._blocks: deque[npt.NDArray[np.float32]] = deque()
        self._open: npt.NDArray[np.float32] | None = None
        self._used = 0
        self._samples = 0
        self._offered = False

    @property
    def mute(self) -> str:
        """Why nothing was heard, where nothing was."""
        in_vain = self.first is None and self._offered
        return "the sound track could not be decoded" if in_vain else "no sound in the part of the file that was read"

    def oddities(self, zero: int, beside_pictures: bool) -> Iterator[str]:
        """What was odd, one line each; ``zero`` is the presentation time from which moments are counted."""
        if self.damaged:
            yield f"damaged: {self.damaged} sound packets could not be decoded"
        if self.first is None:
            yield self.mute
        elif beside_pictures and self.first - zero > TOLERANCE:
            yield f"sound begins {(self.first - zero) / SECOND:.2f} s after the picture: silence stands before it"
        if self.filled:
            yield f"gaps of {self.filled / SECOND:.1f} s in the sound are filled with silence"

    def add(self, packet: Packet | None) -> None:
        """Decode a packet, or with ``None`` what the decoder and the resampler still hold back."""
        self._offered |= packet is not None
        try:
            frames = self._codec.decode(packet)
        except EndOfFile:
            frames = []
        except FFmpegError:
            self.damaged += 1
            frames = []
        for frame in frames:
            self._take(frame)
        if packet is None:
            self._keep(self._resampler.resample(None))

    def pass_over(self, packet: Packet) -> None:
        """Take note of when a packet would be heard, without decoding it."""
        now = self._ruler.read(packet.pts)
        if now is not None:
            self.last = now + (self._ruler.read(packet.duration) or 0)

    def _take(self, frame: AudioFrame) -> None:
        if not 0 < frame.sample_rate <= FASTEST_SOUND:
            self.damaged += 1
            return
        now = self._clock.read(self._ruler.read(frame.pts), frame.samples * SECOND // frame.sample_rate)
        if self.first is None:
            self.first = now
        elif (gap := now - self.first - self._samples * SAMPLE) > TOLERANCE:
            self._silence(gap)
        self._keep(self._resampled(frame))
        self.last = self.first + self._samples * SAMPLE

    def _resampled(self, frame: AudioFrame) -> list[AudioFrame]:
        try:
            return self._resampler.resample(frame)
        except ValueError:  # the layout or rate changed on the way: hand over the rest, and start anew
            self._keep(self._resampler.resample(None))
            self._resampler = _resampler()
        try:
            return self._resampler.resample(frame)
        except (ValueError, FFmpegError):
            self.damaged += 1
            return []

    def _silence(self, gap: int) -> None:
        self.filled += gap
        silence = np.zeros(min(gap, self._longest + SECOND) // SAMPLE, np.float32)
        if len(silence) < BLOCK:
            self._append(silence)
            return
        self._close()
        self._blocks.append(silence)  # takes no memory until it is touched
        self._samples += len(silence)

    def _keep(self, frames: list[AudioFrame]) -> None:
        for frame in frames:
            self._append(frame.to_ndarray()[0])  # a copy: lets the frame go

    def _append(self, samples: npt.NDArray[np.float32]) -> None:
        self._samples += len(samples)
        while len(samples):
            if self._open is None:
                self._open, self._used = np.empty(BLOCK, np.float32), 0
            some = samples[: BLOCK - self._used]
            self._open[self._used : self._used + len(some)] = some
            self._used += len(some)
            samples = samples[len(some) :]
            if self._used == BLOCK:
                self._close()

    def _close(self) -> None:
        """No more comes into the open block; what is in it becomes finite, in [-1, 1]."""
        if self._open is not None:
            block = self._open[: self._used]
            np.nan_to_num(block, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
            self._blocks.append(np.clip(block, -1.0, 1.0, out=block))
            self._open = None

    def between(self, start: int, end: int | None) -> npt.NDArray[np.float32] | None:
        """The sound from ``start`` to ``end``; hands over all that was kept.

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
        sound = np.zeros(stop - skip, np.float32)
        place = -skip
        self._close()
        while self._blocks:  # each block is let go as soon as it is copied
            block = self._blocks.popleft()
            begin, finish = max(place, 0), min(place + len(block), len(sound))
            if finish > begin:
                sound[begin:finish] = block[begin - place : finish - place]
            place += len(block)
        return sound


def _resampler() -> av.AudioResampler:
    return av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
