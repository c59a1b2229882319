"""A camera of this machine and its microphone as a live stream, which a process without network records.

    with Capture(Path("/dev/video0"), "plughw:0") as capture:
        ...                                    # load what scores
        capture.start()
        ...                                    # read capture.descriptor

Nothing is recorded before ``start``, so that the stream begins with the present.
"""

import errno
import fcntl
import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from mien.errors import MediaError

MICROPHONE = "plughw:0"
"""The first sound card, in the words of ALSA, which converts what it does not have."""
START = "from mien.sandbox import deny_network; deny_network(); from mien.media.capture_process import record; record()"
END_SECONDS = 5.0
QUERY_CAPABILITIES, CAPABILITIES_BYTES = 0x80685600, 104
"""``VIDIOC_QUERYCAP`` of ``linux/videodev2.h``, which every camera answers, and the size of its answer."""
Device = tuple[str, str]
"""A format of FFmpeg's devices (``v4l2``, ``alsa``), and an address in its words."""


def is_device(path: Path) -> bool:
    """Whether a path is of a camera, or another device of characters."""
    with suppress(OSError):
        return stat.S_ISCHR(path.stat().st_mode)
    return False


class Capture:
    """What a camera and a microphone record.

    Attributes:
        descriptor: from which the stream, Matroska, is read; its reader closes it.
    """

    def __init__(self, camera: Path | Device, microphone: str | Device | None) -> None:
        """Devices that are opened by ``start``.

        Args:
            camera: a device of Video4Linux.
            microphone: a device of ALSA, ``None`` to record no sound.

        Raises:
            MediaError: the camera cannot be opened.
        """
        if isinstance(camera, Path):
            _check(camera)
            camera = ("v4l2", str(camera))
        if isinstance(microphone, str):
            microphone = ("alsa", microphone)
        self._devices: Mapping[str, Device | None] = {"camera": camera, "microphone": microphone}
        self.descriptor, self._theirs = os.pipe()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the recording.

        Raises:
            MediaError: a device could not be opened, or failed.
        """
        if self._process is None:
            os.close(self._theirs)
            return
        self._process.terminate()
        try:
            said = self._process.communicate(timeout=END_SECONDS)[1].decode("utf-8", "replace").strip()
        except subprocess.TimeoutExpired:  # a driver that hangs
            self._process.kill()
            self._process.communicate()
            return
        if self._process.returncode:
            reason = (
                said.rpartition("\n")[2] or f"the process that records ended with status {self._process.returncode}"
            )
            more = "; arecord -l lists the sound cards, and --microphone none records no sound"
            raise MediaError(reason + more * reason.startswith("microphone"))

    def start(self) -> None:
        """Begin to record."""
        path = os.pathsep.join(place for place in sys.path if place)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", START, json.dumps(self._devices)],
            stdin=subprocess.DEVNULL,
            stdout=self._theirs,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
            process_group=0,  # keyboard interrupts are handled here
        )
        os.close(self._theirs)


def _check(camera: Path) -> None:
    try:
        descriptor = os.open(camera, os.O_RDWR | os.O_NONBLOCK)
        try:
            fcntl.ioctl(descriptor, QUERY_CAPABILITIES, bytes(CAPABILITIES_BYTES))
        finally:
            os.close(descriptor)
    except OSError as error:
        reason = "it is not a camera" if error.errno == errno.ENOTTY else error.strerror
        raise MediaError(f"camera {camera}: cannot be opened ({reason})") from error
