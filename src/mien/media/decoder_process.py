"""The process that decodes: the only one in which libav meets a stranger's file. ``decoder`` starts and asks it.

Requests come as lines of JSON. A reply is two lengths, a head in JSON and plain bytes (pixels, samples): nothing that
either side says can name code. The process bounds its own memory and time, can write no file, and leaves when whoever
started it is gone. The trade-off: pictures are copied through a pipe once, about 2 ms for one of 1280 x 720.
"""

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mien.config import MediaSettings
from mien.errors import MediaError
from mien.media.decode import Recording
from mien.media.stills import read_still

LENGTHS = Struct(">II")
"""Of the head and of the bytes after it."""

WATCH_SECONDS = 0.5

Reply = tuple[Mapping[str, Any], npt.NDArray[Any] | None]


def serve() -> None:
    """Answer requests until there are no more."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not get among the replies
    threading.Thread(target=_leave_when_alone, args=(os.getppid(),), daemon=True).start()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _limit(request["gigabytes"], request["seconds"])
        try:
            _reply(request, replies)
        except BrokenPipeError:
            return
        except MediaError as error:
            _send(replies, {"error": str(error)})
        except MemoryError:
            name = Path(request["path"]).name
            _send(replies, {"error": f"{name}: {_too_large(request['gigabytes'])}"})
        except Exception as error:  # noqa: BLE001 - whatever a file does to us is said, and the next one is read
            _send(replies, {"error": f"{Path(request['path']).name}: {type(error).__name__}: {error}"})


def _reply(request: Mapping[str, Any], replies: BinaryIO) -> None:
    """Send what is asked for; when it returns, nothing is held of it."""
    for head, values in _answers(request):
        _send(replies, head, values)


def _answers(request: Mapping[str, Any]) -> Iterator[Reply]:
    answer: Callable[[Path, MediaSettings, Mapping[str, Any]], Iterator[Reply]]
    answer = _recording if request["kind"] == "recording" else _still
    return answer(Path(request["path"]), MediaSettings.model_validate(request["settings"]), request)


def _recording(path: Path, settings: MediaSettings, request: Mapping[str, Any]) -> Iterator[Reply]:
    asked = {name: request[name] for name in ("rates", "sound", "start", "end")}
    with Recording(path, settings, **asked) as recording:
        yield {"has_video": recording.has_video}, None
        for frame in recording.frames():
            yield {"seconds": frame.seconds, "wanted": sorted(frame.wanted), "shape": frame.rgb.shape}, frame.rgb
        sound = recording.sound()
        yield {"length": recording.seconds, "notes": recording.notes, "mute": recording.mute}, sound


def _still(path: Path, settings: MediaSettings, _: Mapping[str, Any]) -> Iterator[Reply]:
    picture = read_still(path, settings)
    yield {"still": True, "shape": picture.shape}, picture


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


if __name__ == "__main__":
    serve()
