"""Decoding in a process of its own, so that a file may crash its codec, hang it or fill its memory and nothing is lost.

    decoder = Decoder(settings)
    with decoder.recording(path, rates={"vision": 4}) as recording:    # as ``decode.MediaReader``
        for frame in recording.frames(): ...
        sound = recording.sound()

The process starts in the time of one ``import av`` (a third of a second) and is kept for the next file; it is killed
when a file's time is over, and another takes its place. It can open no file and no connection itself (``sandbox.py``):
files are opened here, and handed over as descriptors. It is plain ``subprocess``, not ``multiprocessing``: that one
would run its caller's script again, and unpickle what a compromised codec sends.
"""

import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from mien.config import ComputeSettings, MediaSettings
from mien.deadline import Deadline
from mien.errors import MediaError
from mien.media.container import open_file
from mien.media.crops import Image
from mien.media.decode import Frame
from mien.media.decoder_process import LENGTHS
from mien.schema import SAMPLE_RATE
from mien.storage.files import open_regular

PIPE_BYTES = 1 << 20
LARGEST_HEAD = 1 << 20
LAST = frozenset({"error", "length", "still", "sha256"})
"""Words in the last head of an answer."""

START = "from mien.sandbox import deny_network; deny_network(); from mien.media.decoder_process import serve; serve()"
"""What the process runs: it gives the network up before anything native is loaded."""

NAME = "mien-decoder"
"""Its last argument, by which it is known in lists of processes."""

BASE_SECONDS, BYTES_PER_SECOND = 600.0, 50_000
"""Time that a clip may take when nobody says: a base, and one second more for so many bytes of its file.

Its length would be the better measure, but is only claimed; what its file takes on the disk is a fact.
"""

_BLOCK = 512
"""Bytes in which ``st_blocks`` counts."""


def seconds_for(path: Path, compute: ComputeSettings) -> float:
    """How long the work on a clip may take."""
    if compute.clip_seconds is not None:
        return compute.clip_seconds
    try:
        found = path.stat()
        return BASE_SECONDS + min(found.st_size, found.st_blocks * _BLOCK) / BYTES_PER_SECOND
    except OSError:  # whoever opens it will say so
        return BASE_SECONDS


class DecoderClient:
    """A process that decodes one file after another.

    Args:
        media: limits, and the size of the pictures.
        compute: time and memory.
    """

    def __init__(self, media: MediaSettings, compute: ComputeSettings) -> None:
        self._media = media
        self._compute = compute
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._end: weakref.finalize[Any, Any] | None = None
        self._deadline: Deadline | None = None

    def begin(self, path: Path, seconds: float | None = None) -> None:
        """Start the time of a clip: all that is asked until the next one begins counts, also other files of it.

        Without it, every request has a time of its own.

        Args:
            path: the clip.
            seconds: how long it may take; by default as the settings say.
        """
        self._deadline = Deadline(seconds_for(path, self._compute) if seconds is None else seconds)

    def start(self) -> subprocess.Popen[bytes]:
        """Have a process at hand; does not wait until it is ready."""
        if self._process is None or self._process.poll() is not None:
            self.kill()
            path = os.pathsep.join(place for place in sys.path if place)
            self._requests, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", START, NAME],
                    stdin=theirs.fileno(),
                    stdout=subprocess.PIPE,
                    bufsize=0,
                    pipesize=PIPE_BYTES,
                    env=os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
                    process_group=0,  # an interrupt from the keyboard is for us to handle
                )
            self._end = weakref.finalize(self, _end, self._process, self._requests)
        return self._process

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        if self._end is not None:
            self._end()
        self._process = None

    def recording(
        self,
        path: Path,
        *,
        rates: Mapping[str, float],
        sound: bool = True,
        start: float | None = None,
        end: float | None = None,
    ) -> "RemoteReader":
        """Decode a video or sound file; the arguments are those of ``decode.MediaReader``, and so are the complaints.

        Raises:
            MediaError: also while frames are read: it took too long or too much memory, or the process died of it.
        """
        asked = {"rates": dict(rates), "sound": sound, "start": start, "end": end}
        return RemoteReader(self._ask("recording", path, open_file(path), asked))

    def sound(self, path: Path) -> npt.NDArray[np.float32]:
        """All sound of a file, ``(N,)`` float32 in [-1, 1] at 16 kHz mono.

        Raises:
            MediaError: as for ``recording``, or there is no sound in it.
        """
        with self.recording(path, rates={}) as reading:
            sound = reading.sound()
        if sound is None:
            raise MediaError(f"{path.name}: no sound in it")
        return sound

    def still(self, path: Path) -> Image:
        """The picture in a file, ``(H, W, 3)`` RGB.

        Raises:
            MediaError: as for ``stills.read_image``; it took too long or too much memory, or the process died of it.
        """
        answer = self._ask("still", path, open_file(path))
        head, payload = answer.next()
        return answer.picture(head, payload, math.inf)

    def sha256(self, path: Path) -> str:
        """The SHA-256 of a file's bytes, in hexadecimal, within the time of the clip.

        Raises:
            OSError: it cannot be opened, or is not a regular file.
            MediaError: it cannot be read, or not in time.
        """
        head, _ = self._ask("sha256", path, open_regular(path)).next()
        return str(head["sha256"])

    @property
    def most_bytes(self) -> int:
        """More than this never comes in one piece: a picture, or all sound."""
        sound = (self._media.longest_seconds + 60) * SAMPLE_RATE * 4
        return round(max(self._media.largest_megapixels * 3e6, sound))

    @property
    def largest_side(self) -> int:
        """No picture of a video has a longer side."""
        return self._media.largest_side

    @property
    def gigabytes(self) -> float:
        """What the process may use of memory."""
        return self._compute.decoder_gigabytes

    def _ask(self, kind: str, path: Path, file: BinaryIO, asked: Mapping[str, Any] | None = None) -> "_Answer":
        """Send a request with an open file, which is closed here, and give what will be the answer."""
        deadline = self._deadline or Deadline(seconds_for(path, self._compute))
        request = {"kind": kind, "path": str(path), "settings": self._media.model_dump(mode="json"),
                   "gigabytes": self.gigabytes, "seconds": deadline.left(), **(asked or {})}  # fmt: skip
        with file:
            process, requests = self.start(), self._requests
            assert requests is not None
            try:
                socket.send_fds(requests, [json.dumps(request).encode() + b"\n"], [file.fileno()])
            except OSError as error:
                raise MediaError(f"{path.name}: the process that decodes did not start") from error
        return _Answer(self, process, path, deadline)


class RemoteReader:
    """A file that is being decoded elsewhere, with the face of ``decode.MediaReader``.

    Attributes:
        seconds: length of the clip; known when ``frames()`` is exhausted.
        notes: what was odd about the file; complete when ``frames()`` is exhausted.
        mute: why ``sound()`` gives none, empty when it does; known when ``frames()`` is exhausted.
    """

    def __init__(self, answer: "_Answer") -> None:
        self.seconds = 0.0
        self.notes: list[str] = []
        self.mute = ""
        self._answer = answer
        self._heard: npt.NDArray[np.float32] | None = None

    def __enter__(self) -> Self:
        self.has_video = bool(self._answer.next()[0].get("has_video"))
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.drop()

    def frames(self) -> Iterator[Frame]:
        """The pictures that were asked for, in order of time."""
        while not self._answer.finished:
            head, payload = self._answer.next()
            if "length" in head:
                self._conclude(head, payload)
            else:
                rgb = self._answer.picture(head, payload, self._answer.largest_side)
                yield Frame(float(head["seconds"]), rgb, frozenset(map(str, head["wanted"])))

    def sound(self) -> npt.NDArray[np.float32] | None:
        """All sound of the clip, as ``decode.MediaReader.sound``; pictures that were not read yet are lost."""
        for _ in self.frames():
            pass
        return self._heard

    def _conclude(self, head: Mapping[str, Any], payload: npt.NDArray[np.uint8]) -> None:
        self.seconds = float(head["length"])
        self.notes = [str(note) for note in head["notes"]]
        self.mute = str(head["mute"])
        self._heard = None if self.mute else payload.view(np.float32)


class _Answer:
    """What comes back for one request, read with an eye on the time and on what is claimed."""

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
        """The next head and the bytes that go with it.

        Raises:
            MediaError: the process says so, died, took too long, or sends what it never should.
        """
        told, size = LENGTHS.unpack(self._read(LENGTHS.size))
        if told > LARGEST_HEAD or size > self._decoder.most_bytes:
            raise self._lost("sends more than it may")
        head = json.loads(self._read(told))
        payload = np.frombuffer(self._read(size), np.uint8)
        self.finished = bool(head.keys() & LAST)
        if "error" in head:
            raise MediaError(" ".join(str(head["error"]).split()))
        return head, payload

    def picture(self, head: Mapping[str, Any], payload: npt.NDArray[np.uint8], largest_side: float) -> Image:
        """Bytes as ``(H, W, 3)``."""
        height, width, depth = map(int, head["shape"])
        if depth != 3 or height * width * 3 != payload.size or max(height, width) > largest_side:
            raise self._lost("sends a picture that is none")
        return payload.reshape(height, width, 3)

    def drop(self) -> None:
        """Read no further; unless the answer is complete, the process may be in the midst of anything, so it ends."""
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
                raise self._lost("died")
            view = view[got:]
        return values

    def _lost(self, what: str) -> MediaError:
        """The process is of no more use; what is to be said of it."""
        if what == "died":
            code = self._process.wait()
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            what = f"died of it ({name}), with at most {self._decoder.gigabytes:g} GB of memory"
        self._decoder.kill()
        return MediaError(f"{self._path.name}: the process that decodes {what}")


def _end(process: subprocess.Popen[bytes], requests: socket.socket) -> None:
    process.kill()
    process.wait()
    requests.close()
    if process.stdout is not None:
        process.stdout.close()
