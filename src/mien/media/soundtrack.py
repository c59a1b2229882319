"""The sound of a clip, gathered packet by packet while its pictures are decoded: 16 kHz, mono, float32.

Sound is laid out by presentation time, so that a word is heard at the moment at which it is seen: a gap in the track
is filled with silence, and a track that starts late is pushed back. Only the sound that was asked for is kept.
"""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.error import EOFError as EndOfFile
from av.error import FFmpegError
from av.packet import Packet

from mien.media.container import FASTEST_SOUND
from mien.media.timeline import Clock, seconds_of
from mien.schema import SAMPLE_RATE

TOLERANCE = Fraction(1, 10)
"""Gaps shorter than this, in seconds, are the rounding of containers and codecs, not silence."""


class SoundTrack:
    """Sound on its way in.

    Args:
        track: the audio stream.
        longest: silence longer than this, in seconds, is never filled in; what to do then is the caller's to decide.

    Attributes:
        damaged: how many packets or blocks could not be decoded.
        filled: how many seconds of silence stand for gaps in the track.
        first: presentation time at which the sound starts, in seconds; ``None`` before any was decoded.
    """

    def __init__(self, track: AudioStream, longest: Fraction) -> None:
        self.damaged = 0
        self.filled = Fraction(0)
        self.first: Fraction | None = None
        self._track = track
        self._longest = longest
        self._clock = Clock(step=Fraction(0))
        self._resampler = _resampler()
        self._blocks: deque[npt.NDArray[np.float32]] = deque()
        self._samples = 0

    @property
    def last(self) -> Fraction | None:
        """Presentation time at which the sound decoded so far ends."""
        return None if self.first is None else self.first + Fraction(self._samples, SAMPLE_RATE)

    def oddities(self, zero: Fraction, beside_pictures: bool) -> Iterator[str]:
        """What was odd, one line each; ``zero`` is the presentation time from which moments are counted."""
        if self.damaged:
            yield f"damaged: {self.damaged} sound packets could not be decoded"
        if self.first is None:
            yield "the sound track could not be decoded"
        elif beside_pictures and self.first - zero > TOLERANCE:
            yield f"sound begins {float(self.first - zero):.2f} s after the picture: silence stands before it"
        if self.filled:
            yield f"gaps of {float(self.filled):.1f} s in the sound are filled with silence"

    def add(self, packet: Packet | None) -> None:
        """Decode a packet, or with ``None`` what the decoder and the resampler still hold back."""
        try:
            frames = self._track.codec_context.decode(packet)
        except EndOfFile:
            frames = []
        except FFmpegError:
            self.damaged += 1
            frames = []
        for frame in frames:
            self._take(frame)
        if packet is None:
            self._keep(self._resampler.resample(None))

    def _take(self, frame: AudioFrame) -> None:
        if not 0 < frame.sample_rate <= FASTEST_SOUND:
            self.damaged += 1
            return
        told = seconds_of(frame.pts, frame.time_base or self._track.time_base)
        now = self._clock.read(told, Fraction(frame.samples, frame.sample_rate))
        if self.first is None:
            self.first = now
        elif (gap := now - self.first - Fraction(self._samples, SAMPLE_RATE)) > TOLERANCE:
            self._silence(gap)
        self._keep(self._resampled(frame))

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

    def _silence(self, seconds: Fraction) -> None:
        self.filled += seconds
        self._lengthen(np.zeros(round(min(seconds, self._longest + 1) * SAMPLE_RATE), np.float32))

    def _keep(self, frames: list[AudioFrame]) -> None:
        for frame in frames:
            self._lengthen(frame.to_ndarray()[0])

    def _lengthen(self, block: npt.NDArray[np.float32]) -> None:
        self._blocks.append(block)
        self._samples += len(block)

    def between(self, start: Fraction, end: Fraction | None) -> npt.NDArray[np.float32] | None:
        """The sound from ``start`` to ``end``, presentation times in seconds; hands over all that was kept.

        Returns:
            ``(N,)`` float32 in [-1, 1], with silence before the track starts but none after it ends; ``None`` when
            nothing was decoded in that part of the file.
        """
        if self.first is None:
            return None
        skip = round((start - self.first) * SAMPLE_RATE)  # negative: the track starts later
        stop = self._samples if end is None else min(self._samples, round((end - self.first) * SAMPLE_RATE))
        if stop <= max(skip, 0):
            return None
        sound = np.zeros(stop - skip, np.float32)
        place = -skip
        while self._blocks:  # each block is let go as soon as it is copied
            block = self._blocks.popleft()
            begin, finish = max(place, 0), min(place + len(block), len(sound))
            if finish > begin:
                sound[begin:finish] = block[begin - place : finish - place]
            place += len(block)
        np.nan_to_num(sound, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
        return np.clip(sound, -1.0, 1.0, out=sound)


def _resampler() -> av.AudioResampler:
    return av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
