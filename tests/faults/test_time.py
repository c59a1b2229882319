"""A clip's time: it covers every byte that is read of it, and it stands still while the machine does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mien.config import read_settings
from mien.features.extract import extract
from mien.schema import Clip, Manifest
from tests.media.clips import make_clip

AUDIO = ["weights=tiny", "modalities=[audio]"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_takes_too_long_to_read_costs_its_own_time_and_no_other_clip(tmp_path: Path, workers: int) -> None:
    """Two terabytes of nothing, which a disk gives out at some gigabytes a second: hashing them takes minutes."""
    endless, fine = tmp_path / "endless.mp4", make_clip(tmp_path / "fine.wav", codec=None, sound="pcm_s16le")
    endless.touch()
    os.truncate(endless, 2 * 10**12)
    clips = (Clip("endless", endless), Clip("fine", fine))
    settings = read_settings(overrides=[*AUDIO, "compute.clip_seconds=2"])
    began = time.monotonic()
    outcomes = {
        outcome.clip.id: outcome.failure
        for outcome in extract(Manifest(tmp_path, (), clips), tmp_path / "store", settings, workers=workers)
    }
    assert time.monotonic() - began < 60
    assert outcomes["fine"] is None
    assert outcomes["endless"] is not None
    assert "endless.mp4: gave up after 2 s" in outcomes["endless"]


SLEEPER = """
import os, sys, time
from pathlib import Path
import mien.deadline
mien.deadline.LONGEST_GAP = 1.0
from mien.config import ComputeSettings, MediaSettings
from mien.media.decoder import DecoderClient

decoder = DecoderClient(MediaSettings(), ComputeSettings(clip_seconds=7))
decoder.begin(Path(sys.argv[1]))
print(decoder.start().pid, flush=True)
with decoder.open(Path(sys.argv[1]), rates={"vision": 25}) as reader:
    for number, frame in enumerate(reader.frames()):
        time.sleep(0.04)
print("seen", number + 1, flush=True)
"""


@pytest.mark.slow
def test_a_machine_that_sleeps_costs_no_clip_its_time(tmp_path: Path) -> None:
    """Both processes are stopped, as a closed lid stops them, for longer than the clip may take; then they go on."""
    clip = make_clip(tmp_path / "clip.mp4", seconds=1.6)
    with subprocess.Popen([sys.executable, "-c", SLEEPER, str(clip)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        both = (process.pid, int(process.stdout.readline()))
        time.sleep(0.5)
        for pid in both:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(8)
        for pid in reversed(both):
            os.kill(pid, signal.SIGCONT)
        assert process.stdout.read() == "seen 40\n"
    assert process.returncode == 0
