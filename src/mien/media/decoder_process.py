"""The process that decodes: the only one in which libav meets a stranger's file. ``decoder`` starts and asks it.

Requests come as lines of JSON, each with an open file. A reply is two lengths, a head in JSON and plain bytes (pixels,
samples): nothing that either side says can name code. The process bounds its own memory and time, has neither network
nor file system (``sandbox.py``), and leaves when whoever started it is gone. The trade-off: pictures are copied through
a pipe once, about 2 ms for one of 1280 x 720.
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
from struct import Struct
from typing import Any, BinaryIO

import av.subtitles.stream  # noqa: F401 - av would load it with the first file, when nothing can be loaded any more
import numpy as np
import numpy.typing as npt

from mien.config import MediaSettings
from mien.errors import MediaError
from mien.media.container import told_as_media_error
from mien.media.decode import MediaReader
from mien.media.images import read_image
from mien.sandbox import deny_files

LENGTHS = Struct(">II")
"""Of the head and of the bytes after it."""

REQUEST_BYTES = 1 << 16

WATCH_SECONDS = 0.5

Reply = tuple[Mapping[str, Any], npt.NDArray[Any] | None]


def serve() -> None:
    """Answer requests until there are no more."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not get among the replies
    threading.Thread(target=_leave_when_alone, args=(os.getppid(),), daemon=True).start()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    requests = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    deny_files()  # from here on, only what comes with a request
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
            except Exception as error:  # noqa: BLE001 - whatever a file does to us is said, and the next one is read
                _send(replies, {"error": f"{Path(request['path']).name}: {type(error).__name__}: {error}"})


def _receive(requests: socket.socket) -> tuple[Mapping[str, Any], BufferedReader] | None:
    """The next request and its file; ``None`` when there will be none."""
    line, handles, *_ = socket.recv_fds(requests, REQUEST_BYTES, 1)
    while not line.endswith(b"\n"):
        if not (more := requests.recv(REQUEST_BYTES)):
            return None
        line += more
    return json.loads(line), os.fdopen(handles[0], "rb")


def _reply(request: Mapping[str, Any], file: BufferedReader, replies: BinaryIO) -> None:
    """Send what is asked for; when it returns, nothing is held of it."""
    answer = {"recording": _recording, "still": _still, "sha256": _sha256}[request["kind"]]
    settings = MediaSettings.model_validate(request["settings"])
    for head, values in answer(Path(request["path"]), file, settings, request):
        _send(replies, head, values)


def _recording(path: Path, file: BinaryIO, settings: MediaSettings, request: Mapping[str, Any]) -> Iterator[Reply]:
    asked = {name: request[name] for name in ("rates", "sound", "start", "end")}
    with MediaReader(path, settings, **asked, file=file) as recording:
        yield {"has_video": recording.has_video}, None
        for frame in recording.frames():
            yield {"seconds": frame.seconds, "wanted": sorted(frame.wanted), "shape": frame.rgb.shape}, frame.rgb
        sound = recording.sound()
        yield {"length": recording.seconds, "notes": recording.notes, "mute": recording.mute}, sound


def _still(path: Path, file: BinaryIO, settings: MediaSettings, _: Mapping[str, Any]) -> Iterator[Reply]:
    picture = read_image(path, settings, file)
    yield {"still": True, "shape": picture.shape}, picture


def _sha256(path: Path, file: BufferedReader, _: MediaSettings, __: Mapping[str, Any]) -> Iterator[Reply]:
    with told_as_media_error(path):
        yield {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}, None


def _send(replies: BinaryIO, head: Mapping[str, Any], values: npt.NDArray[Any] | None = None) -> None:
    told = json.dumps(head).encode()
    payload = b"" if values is None else np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
    for part in (LENGTHS.pack(len(told), len(payload)), told, payload):
        view = memoryview(part)
        while view.nbytes:
            view = view[replies.write(view) :]


def _limit(gigabytes: float, seconds: float) -> None:
    """Bound the memory, and the processor's time for one request, should nobody be left to stop us."""
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    _lower(resource.RLIMIT_AS, round(gigabytes * 1e9))
    _lower(resource.RLIMIT_CPU, round(used + seconds) + 10)


def _lower(which: int, wanted: int) -> None:
    """Set a limit that can be raised again by the next request, within what the system allows us at most."""
    most = resource.getrlimit(which)[1]
    resource.setrlimit(which, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


def _too_large(gigabytes: float) -> str:
    return f"needs more than {gigabytes:g} GB of memory to decode; make it smaller or raise compute.decoder_gigabytes"


def _leave_when_alone(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(0)
