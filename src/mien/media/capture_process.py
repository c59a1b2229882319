"""The process that records a camera and a microphone: writes them to its standard output as Matroska, while they come.

    {"camera": ["v4l2", "/dev/video0"], "microphone": ["alsa", "plughw:0"]}     its only argument; each may be null

Both are read by a thread of their own. Times are those of the devices, from the moment of the first frame that came. It
ends with the reader of its output, or by SIGTERM; why it could not go on is the last line of its error stream.

The trade-off: what arrives while the encoder is busy is dropped by the device. Encoder settings are the fastest, with a
key frame twice a second, so that a decoder that is replaced goes on at once.
"""

import json
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from fractions import Fraction
from time import monotonic
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.video.frame import PictureType
from av.video.stream import VideoStream

FPS, SIZE = 30, "640x480"
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "v4l2": {"video_size": SIZE, "framerate": str(FPS)},
    "alsa": {"channels": "1", "sample_rate": "48000"},
}
H264 = {"preset": "ultrafast", "tune": "zerolatency", "g": "15"}
MUXER = {"cluster_time_limit": "250", "flush_packets": "1", "live": "1", "max_interleave_delta": "300000"}
MILLISECOND = Fraction(1, 1000)
SAMPLE_RATE = 48_000


class _Recorder:
    """Encodes what two threads read, into one stream."""

    def __init__(self) -> None:
        self._lock, self._over = threading.Lock(), threading.Event()
        self._began = 0.0
        self.failure = ""

    def run(self, devices: Mapping[str, InputContainer]) -> None:
        """Until told to stop, or a device ends."""
        with suppress(BrokenPipeError), av.open("pipe:1", "w", format="matroska", options=MUXER) as file:
            works = {"camera": self._film, "microphone": self._hear}
            encoders = {name: _encoder(file, device) for name, device in devices.items()}
            self._began = monotonic()
            threads = [
                threading.Thread(target=self._read, args=(name, works[name], file, device, encoders[name]))
                for name, device in devices.items()
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def stop(self, *_: object) -> None:
        """End after the frame at hand."""
        self._over.set()

    def _read(self, name: str, work: Callable[..., None], *given: Any) -> None:
        try:
            work(*given)
        except BrokenPipeError:  # the reader has ended
            pass
        except (FFmpegError, OSError) as error:
            self.failure = self.failure or f"{name}: {error.strerror or error}"
        finally:
            self._over.set()

    def _film(self, file: OutputContainer, device: InputContainer, stream: VideoStream) -> None:
        first: float | None = None
        last = -1
        for frame in device.decode(video=0):
            if self._over.is_set():
                break
            if first is None:
                first = frame.time - (monotonic() - self._began)
            time = max(last + 1, round(1000 * (frame.time - first)))
            image = frame.reformat(stream.width, stream.height, "yuv420p")
            image.pts, image.time_base, last = time, MILLISECOND, time
            image.pict_type = PictureType.NONE
            self._write(file, stream, image)
        self._write(file, stream, None)

    def _hear(self, file: OutputContainer, device: InputContainer, stream: AudioStream) -> None:
        resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE, frame_size=960)
        at: int | None = None
        for frame in device.decode(audio=0):
            if self._over.is_set():
                break
            if at is None:
                at = round(SAMPLE_RATE * (monotonic() - self._began))
            frame.pts = None
            for part in resampler.resample(frame):
                part.pts, part.time_base = at, Fraction(1, SAMPLE_RATE)
                at += part.samples
                self._write(file, stream, part)
        self._write(file, stream, None)

    def _write(self, file: OutputContainer, stream: Any, frame: Any) -> None:
        packets = stream.encode(frame)
        with self._lock:
            file.mux(packets)


def _encoder(file: OutputContainer, device: InputContainer) -> VideoStream | AudioStream:
    if device.streams.video:
        picture = device.streams.video[0]
        made = file.add_stream("libx264", rate=FPS, options=H264)
        assert isinstance(made, VideoStream)
        made.width, made.height, made.pix_fmt = picture.width // 2 * 2, picture.height // 2 * 2, "yuv420p"
        made.codec_context.time_base = MILLISECOND
        made.codec_context.thread_count = 1
        return made
    track = file.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
    assert isinstance(track, AudioStream)
    return track


def record() -> None:
    """Record until the end; the process's only task."""
    asked = json.loads(sys.argv[-1])
    recorder = _Recorder()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, recorder.stop)
    devices: dict[str, InputContainer] = {}
    for name, source in asked.items():
        if source is not None:
            kind, address = source
            try:
                device = av.open(address, format=kind, options=dict(OPTIONS.get(kind, {})))
                assert isinstance(device, InputContainer)
                devices[name] = device
            except (FFmpegError, OSError, ValueError) as error:
                sys.exit(f"{name} {address}: cannot be opened ({getattr(error, 'strerror', None) or error})")
    recorder.run(devices)
    sys.exit(recorder.failure or 0)
