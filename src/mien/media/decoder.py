"""Decodes in a separate process, so that a file that crashes or hangs a codec or exhausts its memory does no harm.

    decoder = DecoderClient(settings.media, settings.compute)
    with decoder.open(path, rates={"vision": 4}) as reader:    # as ``decode.MediaReader``
        for frame in reader.frames(): ...
        waveform = reader.audio()

The process starts in the time of one ``import av`` (a third of a second) and is reused for the next file; it is killed
when a file exceeds its time, and another is started. It cannot open files or connections itself (``sandbox.py``):
files are opened here and passed as descriptors.
"""

import json
import math
import os
import select
import signal
import socket
import subprocess
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from mien.config import ComputeSettings, MediaSettings
from mien.deadline import Deadline
from mien.errors import MediaError
from mien.media.crops import Image
from mien.media.decoder_start import end, started
from mien.media.frames import LENGTHS, Frame, Samples
from mien.media.open_file import open_file
from mien.schema import SAMPLE_RATE
from mien.storage.files import open_regular

MAX_HEAD_BYTES = 1 << 20
FINAL_KEYS = frozenset({"error", "length", "image", "sha256", "unplayable"})
"""Keys of the last header of a reply."""

BASE_SECONDS, BYTES_PER_SECOND = 600.0, 50_000
"""Default time limit for a clip: a base, plus one second for so many bytes of its file.

The duration would be a better measure, but the header may be wrong; the size on disk is certain.
"""

_BLOCK = 512
"""Bytes per unit of ``st_blocks``."""


def seconds_for(path: Path | None, compute: ComputeSettings) -> float:
    """The time limit for the work on a clip; one without a file gets the base."""
    if compute.clip_seconds is not None:
        return compute.clip_seconds
    if path is None:
        return BASE_SECONDS
    try:
        found = path.stat()
        return BASE_SECONDS + min(found.st_size, found.st_blocks * _BLOCK) / BYTES_PER_SECOND
    except OSError:  # reported when the file is opened
        return BASE_SECONDS


class DecoderDied(MediaError):
    """The decoder process died, or what it sends makes no sense; another one may go on."""


class DecoderClient:
    """Starts and queries the process that decodes one file after another.

    Args:
        media: limits, and the size of the frames.
        compute: limits of time and memory.
    """

    def __init__(self, media: MediaSettings, compute: ComputeSettings) -> None:
        self._media = media
        self._compute = compute
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._end: weakref.finalize[Any, Any] | None = None
        self._deadline: Deadline | None = None

    def begin(self, path: Path | None, seconds: float | None = None) -> None:
        """Start the time limit of a clip; it covers all requests until the next ``begin``, also for other files.

        Without it, every request has its own time limit.

        Args:
            path: the clip's file, if it has one.
            seconds: the limit; by default by the settings.
        """
        self._deadline = Deadline(seconds_for(path, self._compute) if seconds is None else seconds)

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process unless it runs; does not wait until it is ready."""
        if self._process is None or self._process.poll() is not None:
            self.kill()
            self._process, self._requests = started()
            self._end = weakref.finalize(self, end, self._process, self._requests)
        return self._process

    def kill(self) -> None:
        """Kill the process."""
        if self._end is not None:
            self._end()
        self._process = None

    def open(
        self,
        path: Path,
        *,
        rates: Mapping[str, float],
        audio: bool = True,
        start: float | None = None,
        end: float | None = None,
    ) -> "RemoteReader":
        """Decode a video or audio file; arguments and errors are those of ``decode.MediaReader``.

        Raises:
            MediaError: also while frames are read: it took too long or too much memory, or the process died.
        """
        arguments = {"rates": dict(rates), "audio": audio, "start": start, "end": end}
        return RemoteReader(self._request("media", path, open_file(path), arguments))

    def open_stream(
        self,
        name: str,
        file: BinaryIO,
        *,
        rates: Mapping[str, float],
        audio: bool,
        resume: tuple[int, int] | None = None,
    ) -> "RemoteReader":
        """Decode a stream while it comes; ``parts()`` of the reader waits for it.

        ``begin`` sets how long it may last.

        Args:
            name: for messages.
            file: its bytes, e.g. the end of a pipe; closed here.
            rates: frames per second to return, by name.
            audio: whether the audio is decoded.
            resume: ``file`` is a later part: ``zero`` of the reader before, and the number of samples that it gave.

        Raises:
            MediaError: also while it is read: it is not such a stream, or took too long.
            DecoderDied: while it is read: the process died, or took too much memory.
        """
        arguments = {"rates": dict(rates), "audio": audio, "resume": resume}
        return RemoteReader(self._request("live", Path(name), file, arguments))

    def read_audio(self, path: Path) -> npt.NDArray[np.float32]:
        """All audio of a file, ``(N,)`` float32 in [-1, 1] at 16 kHz mono.

        Raises:
            MediaError: as for ``open``, or the file has no audio.
        """
        with self.open(path, rates={}) as reader:
            waveform = reader.audio()
        if waveform is None:
            raise MediaError(f"{path.name}: no audio in it")
        return waveform

    def read_image(self, path: Path) -> Image:
        """The image in a file, ``(H, W, 3)`` RGB.

        Raises:
            MediaError: as for ``images.read_image``; it took too long or too much memory, or the process died.
        """
        reply = self._request("image", path, open_file(path))
        head, payload = reply.next()
        return reply.image(head, payload, math.inf)

    def sha256(self, path: Path) -> str:
        """The SHA-256 of a file's bytes, in hexadecimal, within the time of the clip.

        Raises:
            OSError: it cannot be opened, or is not a regular file.
            MediaError: it cannot be read, or not in time.
        """
        head, _ = self._request("sha256", path, open_regular(path)).next()
        return str(head["sha256"])

    def why_unplayable(self, path: Path) -> str | None:
        """Why browsers do not play a file; ``None`` when they do.

        Raises:
            MediaError: as for ``browser_support.why_unplayable``; it took too long, or the process died.
        """
        head, _ = self._request("unplayable", path, open_file(path)).next()
        return None if head["unplayable"] is None else str(head["unplayable"])

    @property
    def max_bytes(self) -> int:
        """The largest payload of a reply: a frame, or all audio."""
        audio = (self._media.longest_seconds + 60) * SAMPLE_RATE * 4
        return round(max(self._media.largest_megapixels * 3e6, audio))

    @property
    def largest_side(self) -> int:
        """The longest side of a video frame."""
        return self._media.largest_side

    @property
    def gigabytes(self) -> float:
        """The memory limit of the process."""
        return self._compute.decoder_gigabytes

    def _request(self, kind: str, path: Path, file: BinaryIO, arguments: Mapping[str, Any] | None = None) -> "_Reply":
        """Send a request with an open file, which is closed here."""
        deadline = self._deadline or Deadline(seconds_for(path, self._compute))
        request = {"kind": kind, "path": str(path), "settings": self._media.model_dump(mode="json"),
                   "gigabytes": self.gigabytes, "seconds": deadline.left(), **(arguments or {})}  # fmt: skip
        with file:
            process, requests = self.start(), self._requests
            assert requests is not None
            try:
                socket.send_fds(requests, [json.dumps(request).encode() + b"\n"], [file.fileno()])
            except OSError as error:
                raise MediaError(f"{path.name}: the decoder process did not start") from error
        return _Reply(self, process, path, deadline)


class RemoteReader:
    """A file that the decoder process reads, with the interface of ``decode.MediaReader``.

    Attributes:
        seconds: length of the clip; known when ``frames()`` is exhausted.
        notes: irregularities of the file; complete when ``frames()`` is exhausted.
        no_audio_reason: why ``audio()`` returns ``None``, else empty; known when ``frames()`` is exhausted.
        zero: of a stream, its time zero in ticks; known with its first part.
    """

    def __init__(self, reply: "_Reply") -> None:
        self.zero: int | None = None
        self.seconds = 0.0
        self.notes: list[str] = []
        self.no_audio_reason = ""
        self._reply = reply
        self._waveform: npt.NDArray[np.float32] | None = None

    def __enter__(self) -> Self:
        head, _ = self._reply.next()
        self.has_video, self.has_audio = bool(head.get("has_video")), bool(head.get("has_audio"))
        return self

    def __exit__(self, *_: object) -> None:
        self._reply.drop()

    def frames(self) -> Iterator[Frame]:
        """The requested frames, in order of time."""
        return (part for part in self.parts() if isinstance(part, Frame))

    def parts(self) -> Iterator[Frame | Samples]:
        """The requested frames in order of time; of a stream, its audio in between."""
        while not self._reply.finished:
            head, payload = self._reply.next()
            if "length" in head:
                self._finish(head, payload)
            elif "zero" in head:
                self.zero = int(head["zero"])
            elif "samples" in head:
                yield Samples(payload.view(np.float32))
            else:
                rgb = self._reply.image(head, payload, self._reply.largest_side)
                yield Frame(float(head["seconds"]), rgb, frozenset(map(str, head["wanted"])))

    def audio(self) -> npt.NDArray[np.float32] | None:
        """All audio of the clip, as ``decode.MediaReader.audio``; frames that were not read yet are discarded."""
        for _ in self.frames():
            pass
        return self._waveform

    def _finish(self, head: Mapping[str, Any], payload: npt.NDArray[np.uint8]) -> None:
        self.seconds = float(head["length"])
        self.notes = [str(note) for note in head["notes"]]
        self.no_audio_reason = str(head["no_audio_reason"])
        self._waveform = None if self.no_audio_reason else payload.view(np.float32)


class _Reply:
    """The reply to one request, read within the time limit; stated sizes are checked."""

    def __init__(
        self, decoder: DecoderClient, process: subprocess.Popen[bytes], path: Path, deadline: Deadline
    ) -> None:
        assert process.stdout is not None
        self.largest_side = decoder.largest_side
        self._decoder = decoder
        self._process = process
        self._pipe = process.stdout.fileno()
        self._path = path
        self._deadline = deadline
        self.finished = False

    def next(self) -> tuple[Mapping[str, Any], npt.NDArray[np.uint8]]:
        """The next header and its payload.

        Raises:
            MediaError: the process reports an error, died, took too long, or sent an invalid reply.
        """
        head_size, size = LENGTHS.unpack(self._read(LENGTHS.size))
        if head_size > MAX_HEAD_BYTES or size > self._decoder.max_bytes:
            raise self._failure("sent too much data")
        head = json.loads(self._read(head_size))
        payload = np.frombuffer(self._read(size), np.uint8)
        self.finished = bool(head.keys() & FINAL_KEYS)
        if "error" in head:
            raise MediaError(" ".join(str(head["error"]).split()))
        return head, payload

    def image(self, head: Mapping[str, Any], payload: npt.NDArray[np.uint8], largest_side: float) -> Image:
        """The payload as ``(H, W, 3)``."""
        height, width, depth = map(int, head["shape"])
        if depth != 3 or height * width * 3 != payload.size or max(height, width) > largest_side:
            raise self._failure("sent an invalid image")
        return payload.reshape(height, width, 3)

    def drop(self) -> None:
        """Stop reading; unless the reply is complete, the process is killed, since its state is unknown."""
        if not self.finished:
            self._decoder.kill()

    def _read(self, size: int) -> bytearray:
        values = bytearray(size)
        view, ready = memoryview(values), select.poll()
        ready.register(self._pipe, select.POLLIN)
        while view.nbytes:
            seconds = self._deadline.until_next_look()
            if not seconds:
                self._decoder.kill()
                raise MediaError(
                    f"{self._path.name}: gave up after {self._deadline.seconds:g} s; "
                    "allow more with compute.clip_seconds"
                )
            if not ready.poll(seconds * 1000):
                continue
            got = os.readv(self._pipe, [view])
            if not got:
                raise self._failure("died")
            view = view[got:]
        return values

    def _failure(self, what: str) -> DecoderDied:
        """Kill the process, and return the error to raise."""
        if what == "died":
            code = self._process.wait()
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            what = f"died ({name}), with at most {self._decoder.gigabytes:g} GB of memory"
        self._decoder.kill()
        return DecoderDied(f"{self._path.name}: the decoder process {what}")
