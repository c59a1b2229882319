"""``mien extract`` as it comes, against a straightforward script per modality (plain.py), on the same films."""

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
        taken = _taken(corpus(clips) / "raw", f"mien as it comes ({engine})")
        plain, last = taken["a script per modality"], taken["a script per modality"] / list(taken.values())[-1]
        rows += [(str(clips), way, f"{s:.1f}", f"{s / clips:.2f}", f"{plain / s:.2f}") for way, s in taken.items()]
    text = (
        "Films of the stand-in, all four modalities, wall seconds with start-up and loading of weights, which weigh "
        f"less the more films there are; mien with {WORKERS} workers, the script with a thread for each core. "
        "The script takes the sound through Whisper's encoder as it comes, padded to 30 s."
    )
    limit = "the landmarker, a third of mien's time, is the same program on both sides"
    whole = at_least(f"extraction of {clips} films, end to end, against a script per modality", 3.0, last, limit)
    return Section("Extraction", [text, Table(("films", "way", "s", "s a film", "× the script"), rows)], [whole])


def _taken(films: Path, as_it_comes: str) -> dict[str, float]:
    """Seconds of each way."""
    ways = {
        "a script per modality": lambda out: python(str(Path(__file__).with_name("plain.py")), str(films), str(out)),
        "mien, PyTorch": lambda out: _extract(films, out, "torch"),
        as_it_comes: lambda out: _extract(films, out, "auto"),
    }
    taken = {}
    for name, way in ways.items():
        with tempfile.TemporaryDirectory() as scratch:
            taken[name] = way(Path(scratch) / "out").seconds
    return taken


def _extract(films: Path, out: Path, engine: str):
    command = [MIEN, "extract", str(films), "--out", str(out), "--workers", str(WORKERS), "--quiet"]
    return process(*command, "--set", f"compute.engine={engine}")
