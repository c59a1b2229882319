"""A camera and a microphone as a stream; FFmpeg's generated devices stand for them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from mien.errors import MediaError
from mien.media.capture import Capture, is_device

CAMERA = ("lavfi", "testsrc2=size=641x481:rate=30,realtime")
MICROPHONE = ("lavfi", "sine=440:sample_rate=44100,arealtime")


def recorded(capture: Capture, seconds: float) -> bytes:
    content, limit = b"", time.monotonic() + seconds
    while time.monotonic() < limit and (block := os.read(capture.descriptor, 1 << 16)):
        content += block
    return content


def times(file: Path, kind: str) -> np.ndarray:
    with av.open(str(file)) as container:
        return np.array([frame.time for frame in container.decode(**{kind: 0})])


def test_pictures_and_sound_come_as_they_are_made_and_from_the_start_on(tmp_path: Path) -> None:
    file = tmp_path / "a.mkv"
    with Capture(CAMERA, MICROPHONE) as capture:
        time.sleep(0.5)  # while a model is loaded, nothing is recorded
        capture.start()
        first = os.read(capture.descriptor, 1 << 16)
        began = time.monotonic()
        (process,) = [one for one in psutil.Process().children() if "capture_process" in " ".join(one.cmdline())]
        assert "Seccomp:\t2" in Path(f"/proc/{process.pid}/status").read_text()  # it has no network
        file.write_bytes(first + recorded(capture, 3.0))
        took = time.monotonic() - began
        os.close(capture.descriptor)
    assert not process.is_running()
    pictures, sound = times(file, "video"), times(file, "audio")
    assert pictures[0] < 0.3 and sound[0] < 0.3
    for last in (pictures[-1], sound[-1]):
        assert took - 1.0 < last < took + 1.5
    assert len(pictures) > 15 * took and (np.diff(pictures) > 0).all()
    assert np.diff(sound).max() < 0.05  # without a hole
    with av.open(str(file)) as container:
        keys = [float(packet.pts * packet.time_base) for packet in container.demux(video=0) if packet.is_keyframe]
        assert (container.streams.video[0].width, container.streams.video[0].height) == (640, 480)
    assert np.diff(keys).max() < 1.5


@pytest.mark.parametrize(
    ("camera", "microphone", "reason"),
    [
        (CAMERA, "no-such-card", "microphone no-such-card: cannot be opened"),
        (("v4l2", "/dev/null"), None, "camera /dev/null: cannot be opened"),
        (CAMERA, "no-such-card", "arecord -l lists the sound cards"),
    ],
)
def test_a_device_that_cannot_be_opened_is_one_line(
    camera: tuple[str, str], microphone: str | None, reason: str
) -> None:
    capture = Capture(camera, microphone)
    with pytest.raises(MediaError, match=reason) as error, capture:
        capture.start()
        assert recorded(capture, 60.0) == b""
    os.close(capture.descriptor)
    assert "\n" not in str(error.value)


def test_a_camera_that_is_not_there_is_said_at_once() -> None:
    with pytest.raises(MediaError, match=r"camera /dev/video99: cannot be opened \(No such file"):
        Capture(Path("/dev/video99"), None)
    assert is_device(Path("/dev/null")) and not is_device(Path("/dev/video99")) and not is_device(Path(__file__))


def test_a_recorder_that_is_killed_is_said() -> None:
    with pytest.raises(MediaError, match="the process that records ended with status -9"), Capture(CAMERA, None) as one:
        one.start()
        os.read(one.descriptor, 1 << 16)
        (process,) = [child for child in psutil.Process().children() if "capture_process" in " ".join(child.cmdline())]
        process.kill()
        recorded(one, 60.0)
    os.close(one.descriptor)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["/dev/null"], "camera /dev/null: cannot be opened (it is not a camera)"),
        ([__file__, "--microphone", "plughw:0"], "--microphone: goes with a camera, such as /dev/video0"),
    ],
)
def test_the_command_says_what_is_wrong(words: list[str], reason: str) -> None:
    command = [sys.executable, "-m", "mien.cli", "live", "words-en", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode and reason in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
