"""``mien extract`` with default settings against a simple script per modality (plain.py), on the same videos."""

import tempfile
from pathlib import Path

from material import WORKERS, corpus
from section import Section, Table, at_least
from timing import MIEN, process, python

from mien.compute.device import resolve_compute
from mien.config import Settings


def measure(quick: bool) -> Section:
    rows, last = [], 0.0
    engine = resolve_compute(Settings().compute).arithmetic
    for clips in (4, 6) if quick else (16, 96):
        taken = _taken(corpus(clips) / "raw", f"mien, defaults ({engine})")
        plain, last = taken["a script per modality"], taken["a script per modality"] / list(taken.values())[-1]
        rows += [(str(clips), way, f"{s:.1f}", f"{s / clips:.2f}", f"{plain / s:.2f}") for way, s in taken.items()]
    text = (
        "Stand-in videos, all four modalities, wall-clock seconds including start-up and loading of weights, which "
        f"matter less with more videos; mien with {WORKERS} workers, the script with one thread per core. "
        "The script runs Whisper's encoder on the audio padded to 30 s."
    )
    limit = "the landmarker, a third of mien's time, is the same in both"
    whole = at_least(f"extraction of {clips} videos, end to end, against a script per modality", 3.0, last, limit)
    return Section("Extraction", [text, Table(("videos", "method", "s", "s per video", "× the script"), rows)], [whole])


def _taken(videos: Path, defaults: str) -> dict[str, float]:
    """Seconds of each method."""
    ways = {
        "a script per modality": lambda out: python(str(Path(__file__).with_name("plain.py")), str(videos), str(out)),
        "mien, PyTorch": lambda out: _extract(videos, out, "torch"),
        defaults: lambda out: _extract(videos, out, "auto"),
    }
    taken = {}
    for name, way in ways.items():
        with tempfile.TemporaryDirectory() as scratch:
            taken[name] = way(Path(scratch) / "out").seconds
    return taken


def _extract(videos: Path, out: Path, engine: str):
    command = [MIEN, "extract", str(videos), "--out", str(out), "--workers", str(WORKERS), "--quiet"]
    return process(*command, "--set", f"compute.engine={engine}")
