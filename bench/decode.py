"""Decoding: 16 evenly spaced exact frames at 224 pixels and the whole audio, from clips of 12 s.

mien's single pass is compared with common approaches: every frame converted to RGB, with the file opened again for the
audio; sequential decoding that converts only the wanted frames; torchcodec, used as documented, in its own environment.
"""

import importlib.metadata
import importlib.util
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import av
import numpy as np
from material import SCRATCH, SECONDS, own_clips, streams
from section import Section, Table, Target, at_least, at_most
from timing import in_turns, ratio

from mien.config import ComputeSettings, MediaSettings
from mien.media.decode import MediaReader
from mien.media.decoder import DecoderClient
from mien.scale import run

FRAMES, SIDE = 16, 224
RATES = {"look": FRAMES / SECONDS}
TORCHCODEC = "torchcodec==0.13.0"
ALL_TO_RGB, WANTED_ONLY, TORCH = "all to RGB", "in sequence", "torchcodec"
HERE, MIEN = "mien, in process", "mien"


def in_process(path: Path, side: int = SIDE) -> list[tuple[float, np.ndarray]]:
    """mien's decoding in this process: one pass for the wanted frames with their times, and the audio."""
    with MediaReader(path, MediaSettings(largest_side=side), rates=RATES) as reader:
        frames = [(frame.seconds, frame.rgb) for frame in reader.frames()]
        reader.audio()
        return frames


class Ours:
    """mien's decoding as used: in a separate process that is reused for all files."""

    def __init__(self) -> None:
        self.decoder = DecoderClient(MediaSettings(largest_side=SIDE), ComputeSettings())

    def __call__(self, path: Path) -> int:
        with self.decoder.open(path, rates=RATES) as reader:
            count = sum(1 for _ in reader.frames())
            reader.audio()
            return count


def all_to_rgb(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Every frame is converted to an array, of which 16 are kept; the file is opened again for the audio."""
    with av.open(str(path)) as file:
        file.streams.video[0].thread_count = 1
        whole = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    kept = [whole[i] for i in np.linspace(0, len(whole) - 1, min(FRAMES, len(whole))).astype(int)]
    return [_small(av.VideoFrame.from_ndarray(image, format="rgb24")) for image in kept], _audio(path)


def wanted_only(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Every frame is decoded, and the wanted ones are converted."""
    frames, due = [], 0.0
    with av.open(str(path)) as file:
        file.streams.video[0].thread_count = 1
        for frame in file.decode(video=0):
            if frame.time is not None and frame.time >= due - 1e-6:
                frames.append(_small(frame))
                due += SECONDS / FRAMES
    return frames, _audio(path)


def _small(frame: av.VideoFrame) -> np.ndarray:
    scale = SIDE / max(frame.width, frame.height)
    return frame.to_ndarray(width=round(frame.width * scale), height=round(frame.height * scale), format="rgb24")


def _audio(path: Path) -> np.ndarray:
    with av.open(str(path)) as file:
        if not file.streams.audio:
            return np.zeros(0, np.float32)
        resampler = av.AudioResampler(format="flt", layout="mono", rate=16_000)
        parts = [part.to_ndarray()[0] for frame in file.decode(audio=0) for part in resampler.resample(frame)]
        return np.concatenate([*parts, *(part.to_ndarray()[0] for part in resampler.resample(None))])


class Torchcodec:
    """A process with torchcodec that decodes files on request and returns the seconds taken."""

    def __init__(self) -> None:
        """Install torchcodec into its own folder and start it, with PyAV's codecs.

        Raises:
            RuntimeError: it cannot be installed or started here.
        """
        folder = SCRATCH / "torchcodec"
        if not (folder / "torchcodec").exists():
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), TORCHCODEC]
            if subprocess.run(pip, check=False, capture_output=True).returncode:
                raise RuntimeError(f"{TORCHCODEC} could not be installed from the package index")
        paths = {"PYTHONPATH": str(folder), "LD_LIBRARY_PATH": str(_codecs())}
        script = str(Path(__file__).with_name("plain_torchcodec.py"))
        self._process = subprocess.Popen(
            [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=os.environ | paths,
        )  # fmt: skip
        if self._answer() != "ready":
            raise RuntimeError(f"{TORCHCODEC} does not start with torch {importlib.metadata.version('torch')}")

    def __call__(self, path: Path) -> float:
        assert self._process.stdin
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


def _codecs() -> Path:
    """PyAV's FFmpeg libraries under their usual names, so that both use the same decoders."""
    folder = SCRATCH / "codecs"
    folder.mkdir(parents=True, exist_ok=True)
    found = importlib.util.find_spec("av")
    assert found and found.origin
    for library in (Path(found.origin).parents[1] / "av.libs").glob("*.so*"):
        ordinary = re.sub(r"-[0-9a-f]{8}(\.so\.\d+).*", r"\1", library.name)
        for name in {library.name, ordinary}:
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(library)
    return folder


def wrong_frames(path: Path) -> tuple[int, int]:
    """How many of mien's frames resemble another frame more than the one at their time, and the number of frames."""
    with av.open(str(path)) as file:
        every = [
            (float(frame.time or 0), _subsampled(frame.to_ndarray(format="rgb24"))) for frame in file.decode(video=0)
        ]
    frames, wrong = in_process(path, 4000), 0
    for seconds, image in frames:
        near = [(time - every[0][0], other) for time, other in every if abs(time - every[0][0] - seconds) < 0.2]
        nearest = min(near, key=lambda one: float(np.abs(one[1] - _subsampled(image)).mean()))
        wrong += abs(nearest[0] - seconds) > 1e-3
    return wrong, len(frames)


def _subsampled(image: np.ndarray) -> np.ndarray:
    return image[::4, ::4].astype(np.int16)


@dataclass(frozen=True)
class Decoding:
    """Creates the decoder of a worker."""

    def __call__(self) -> Ours:
        return Ours()


def workers_ratio(path: Path, clips: int, rounds: int) -> float:
    """Throughput of two workers relative to one, after start-up."""

    def seconds(workers: int) -> float:
        begin = 0.0
        for n, _ in enumerate(run(Decoding(), [path] * (clips + 2 * workers), workers=workers)):
            begin = perf_counter() if n < 2 * workers else begin
        return perf_counter() - begin

    taken = in_turns({"one": lambda: seconds(1), "two": lambda: seconds(2)}, rounds, warm=False)
    return ratio(taken["one"], taken["two"])


def measure(quick: bool) -> Section:
    rounds = 2 if quick else 7
    try:
        torch, why = Torchcodec(), ""
    except RuntimeError as error:
        torch, why = None, f"torchcodec is not measured: {error}."
    ways: dict[str, Callable[[Path], object]] = {ALL_TO_RGB: all_to_rgb, WANTED_ONLY: wanted_only}
    ours = Ours()
    ways |= ({TORCH: torch} if torch else {}) | {HERE: in_process, MIEN: ours}
    rows, ratios, wrong = [], {}, np.zeros(2, int)
    for name, path in (streams(2 if quick else 5) | own_clips()).items():
        if not _has_video(path):
            continue
        taken = in_turns({way: partial(decode, path) for way, decode in ways.items()}, rounds)
        ratios[name] = {way: ratio(seconds, taken[MIEN]) for way, seconds in taken.items() if way not in (MIEN, HERE)}
        wrong += wrong_frames(path)
        times = [f"{1000 * statistics.median(seconds):.0f}" for seconds in taken.values()]
        rows.append((name, *times, f"{ratios[name][ALL_TO_RGB]:.2f}", f"{min(ratios[name].values()):.2f}"))
    ours.decoder.kill()
    if torch:
        torch.close()
    two = workers_ratio(next(iter(streams(1).values())), 8 if quick else 60, 1 if quick else 3)
    parts = [
        f"{FRAMES} evenly spaced frames at {SIDE} pixels and the whole audio at 16 kHz; streams of {SECONDS} s, "
        f"1280 × 720, 30 fps, one thread. Milliseconds per clip, median of {rounds}; then the speed-up of mien over "
        "all to RGB, and over the best alternative. torchcodec: `VideoDecoder.get_frames_played_at` and "
        "`AudioDecoder`, with PyAV's FFmpeg. mien decodes in a separate process; `in process` is the same without it.",
        Table(("stream", *ways, "× all", "× best"), rows),
        f"Accuracy: {wrong[0]} of {wrong[1]} frames are not the one at their time. Two workers decode "
        f"{two:.2f} times as many clips as one.",
        *[why] * bool(why),
    ]
    return Section("Decoding", parts, targets(ratios, two, why, wrong[0]))


def targets(ratios: dict[str, dict[str, float]], two: float, why: str, wrong: int) -> list[Target]:
    first = ratios[next(iter(ratios))]
    worst, where = min((min(values.values()), name) for name, values in list(ratios.items())[1:])
    every = "the decoder itself: every frame of such a stream depends on the previous ones"
    beside = (
        at_least("decode, H.264 with B-frames, against torchcodec", 1.4, first[TORCH], "the decoder itself")
        if TORCH in first
        else Target("decode, H.264 with B-frames, against torchcodec", "≥ 1.4 ×", "–", False, why)
    )
    return [
        at_least("decode, H.264 with B-frames, against all to RGB", 2.2, first[ALL_TO_RGB], "the decoder itself"),
        beside,
        at_least(f"decode, other streams, against the best alternative ({where})", 0.95, worst, every),
        at_least("decode, two workers against one", 1.75, two, "memory and caches shared by the cores"),
        at_most("decode, frames that are not the one at their time", 0, wrong, ""),
    ]


def _has_video(path: Path) -> bool:
    with av.open(str(path)) as file:
        return bool(file.streams.video)
