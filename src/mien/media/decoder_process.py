"""The decoder process: the only one in which libav reads untrusted files. ``decoder`` starts and queries it.

Requests are lines of JSON, each with an open file. A reply is two lengths, a header in JSON and raw bytes (pixels,
samples): neither side can send code. The process limits its own memory and time, has no access to the network or the
file system (``sandbox.py``), and exits when its parent is gone. The trade-off: frames are copied through a pipe once,
about 2 ms for one of 1280 x 720.
"""

import hashlib
import json
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import av.subtitles.stream  # noqa: F401 - av would import it with the first file, when the sandbox forbids it
import numpy as np
import numpy.typing as npt

from mien.config import MediaSettings
from mien.errors import MediaError
from mien.media.browser_support import why_unplayable
from mien.media.container import as_media_error
from mien.media.decode import MediaReader
from mien.media.frames import LENGTHS, Frame
from mien.media.images import read_image
from mien.sandbox import deny_files

REQUEST_BYTES = 1 << 16

WATCH_SECONDS = 0.5

STREAMED = "the audio of a stream is not collected"

Reply = tuple[Mapping[str, Any], npt.NDArray[Any] | None]


def serve() -> None:
    """Answer requests until the connection is closed."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # output of libraries must not mix with the replies
    threading.Thread(target=_exit_without_parent, args=(os.getppid(),), daemon=True).start()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    requests = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    deny_files()  # from here on, only files that come with a request
    while (received := _receive(requests)) is not None:
        request, file = received
        with file:
            try:
                _limit(request["gigabytes"], request["seconds"])
                _reply(request, file, replies)
            except BrokenPipeError:
                return
            except MediaError as error:
                _send(replies, {"error": str(error)})
            except MemoryError:
                _send(replies, {"error": f"{Path(request['path']).name}: {_too_large(request['gigabytes'])}"})
            except Exception as error:  # noqa: BLE001 - any failure is reported, and the next file is read
                _send(replies, {"error": f"{Path(request['path']).name}: {type(error).__name__}: {error}"})


def _receive(requests: socket.socket) -> tuple[Mapping[str, Any], BufferedReader] | None:
    """The next request and its file; ``None`` at the end."""
    line, handles, *_ = socket.recv_fds(requests, REQUEST_BYTES, 1)
    while not line.endswith(b"\n"):
        if not (more := requests.recv(REQUEST_BYTES)):
            return None
        line += more
    return json.loads(line), os.fdopen(handles[0], "rb")


def _reply(request: Mapping[str, Any], file: BufferedReader, replies: BinaryIO) -> None:
    """Send the reply to a request; nothing of it is kept in memory."""
    answer = {"media": _media, "live": _live, "image": _image, "sha256": _sha256, "unplayable": _unplayable}[
        request["kind"]
    ]
    settings = MediaSettings.model_validate(request["settings"])
    for head, values in answer(Path(request["path"]), file, settings, request):
        _send(replies, head, values)


def _media(path: Path, file: BinaryIO, settings: MediaSettings, request: Mapping[str, Any]) -> Iterator[Reply]:
    arguments = {name: request[name] for name in ("rates", "audio", "start", "end")}
    with MediaReader(path, settings, **arguments, file=file) as reader:
        yield {"has_video": reader.has_video}, None
        for frame in reader.frames():
            yield _frame(frame)
        waveform = reader.audio()
        yield {"length": reader.seconds, "notes": reader.notes, "no_audio_reason": reader.no_audio_reason}, waveform


def _live(path: Path, file: BinaryIO, settings: MediaSettings, request: Mapping[str, Any]) -> Iterator[Reply]:
    arguments = {name: request[name] for name in ("rates", "audio", "resume")}
    with MediaReader(path, settings, **arguments, file=file, live=True) as reader:
        yield {"has_video": reader.has_video, "has_audio": reader.has_audio}, None
        for number, part in enumerate(reader.parts()):
            if not number:
                yield {"zero": reader.zero}, None
            yield _frame(part) if isinstance(part, Frame) else ({"samples": len(part.values)}, part.values)
        yield {"length": reader.seconds, "notes": reader.notes, "no_audio_reason": STREAMED}, None


def _frame(frame: Frame) -> Reply:
    return {"seconds": frame.seconds, "wanted": sorted(frame.wanted), "shape": frame.rgb.shape}, frame.rgb


def _image(path: Path, file: BinaryIO, settings: MediaSettings, _: Mapping[str, Any]) -> Iterator[Reply]:
    image = read_image(path, settings, file)
    yield {"image": True, "shape": image.shape}, image


def _sha256(path: Path, file: BufferedReader, _: MediaSettings, __: Mapping[str, Any]) -> Iterator[Reply]:
    with as_media_error(path):
        yield {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}, None


def _unplayable(path: Path, file: BinaryIO, _: MediaSettings, __: Mapping[str, Any]) -> Iterator[Reply]:
    with as_media_error(path):
        yield {"unplayable": why_unplayable(path, file)}, None


def _send(replies: BinaryIO, head: Mapping[str, Any], values: npt.NDArray[Any] | None = None) -> None:
    header = json.dumps(head).encode()
    payload = b"" if values is None else np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
    for part in (LENGTHS.pack(len(header), len(payload)), header, payload):
        view = memoryview(part)
        while view.nbytes:
            view = view[replies.write(view) :]


def _limit(gigabytes: float, seconds: float) -> None:
    """Limit the memory, and the processor time for one request in case the parent cannot kill this process."""
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    _lower(resource.RLIMIT_AS, round(gigabytes * 1e9))
    _lower(resource.RLIMIT_CPU, round(used + seconds) + 10)


def _lower(which: int, wanted: int) -> None:
    """Set a soft limit, at most the hard limit; the next request can raise it again."""
    most = resource.getrlimit(which)[1]
    resource.setrlimit(which, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


def _too_large(gigabytes: float) -> str:
    return f"needs more than {gigabytes:g} GB of memory to decode; make it smaller or raise compute.decoder_gigabytes"


def _exit_without_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(0)
