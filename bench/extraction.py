"""``mien extract`` with default settings against a simple script per modality (plain.py), and against mien with
MediaPipe, on the same videos."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from environments import mediapipe_python, source_of
from material import WORKERS, corpus
from section import Section, Table, at_least, at_most
from timing import MIEN, Ran, process

from mien.compute.device import resolve_compute
from mien.config import Settings

BEFORE = "cf0eb3b5914d90dbad2e6aeda7ef11400acf13d0"
"""The last commit with MediaPipe."""

SCRIPT, EARLIER = "a script per modality", "mien with MediaPipe"


def measure(quick: bool) -> Section:
    ours = f"mien, defaults ({resolve_compute(Settings().compute).arithmetic})"
    rows: list[tuple[str, ...]] = []
    ran: Mapping[str, Ran] = {}
    for clips in (4, 6) if quick else (16, 96):
        ran = _ran(corpus(clips) / "raw", ours)
        for way, one in ran.items():
            times = (f"{ran[SCRIPT].seconds / one.seconds:.2f}", f"{ran[SCRIPT].cpu / one.cpu:.2f}")
            rows.append((str(clips), way, f"{one.seconds:.1f}", f"{one.cpu / clips:.2f}", *times, f"{one.peak:.0f}"))
    text = (
        "Stand-in videos, all four modalities, including start-up and loading of weights, which matter less with more "
        f"videos; mien with {WORKERS} workers, the script with one thread per core. Processor seconds are those of all "
        "processes; on a machine with other work they say more than seconds. The script runs Whisper's encoder on the "
        "audio padded to 30 s. Memory is the largest resident set of one process."
    )
    head = ("videos", "method", "s", "processor s per video", "× the script", "× in processor s", "MB")
    targets = [
        at_least(f"extraction of {clips} videos against a script per modality, processor s", 4.0,
                 ran[SCRIPT].cpu / ran[ours].cpu, "see the log"),
        at_least(f"extraction of {clips} videos against mien with MediaPipe, processor s", 1.5,
                 ran[EARLIER].cpu / ran[ours].cpu, "see the log"),
        at_most("memory of a worker, against mien with MediaPipe", -80, ran[ours].peak - ran[EARLIER].peak, "MB",
                "see the log"),
    ]  # fmt: skip
    return Section("Extraction", [text, Table(head, rows)], targets)


def _ran(videos: Path, defaults: str) -> dict[str, Ran]:
    """Each method, once."""
    python, earlier = mediapipe_python(), {"PYTHONPATH": str(source_of(BEFORE))}
    ways: dict[str, Callable[[Path], Ran]] = {
        SCRIPT: lambda out: process(python, str(Path(__file__).with_name("plain.py")), str(videos), str(out)),
        EARLIER: lambda out: _extract([python, "-m", "mien.cli"], videos, out, "auto", **earlier),
        "mien, PyTorch": lambda out: _extract([MIEN], videos, out, "torch"),
        defaults: lambda out: _extract([MIEN], videos, out, "auto"),
    }
    ran = {}
    for name, way in ways.items():
        with tempfile.TemporaryDirectory() as scratch:
            ran[name] = way(Path(scratch) / "out")
    return ran


def _extract(program: list[str], videos: Path, out: Path, engine: str, **environment: str) -> Ran:
    command = [*program, "extract", str(videos), "--out", str(out), "--workers", str(WORKERS), "--quiet"]
    return process(*command, "--set", f"compute.engine={engine}", **environment)
