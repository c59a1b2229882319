"""``mien extract`` as it comes, against a straightforward script per modality (plain.py), on the same films."""

import statistics
import tempfile
from pathlib import Path

from material import WORKERS, corpus
from section import Section, Table, at_least
from timing import MIEN, process, python, ratio

from mien.config import Settings
from mien.modalities.base import resolve_compute


def measure(quick: bool) -> Section:
    clips, rounds = (6, 1) if quick else (32, 2)
    films = corpus(clips) / "raw"
    engine = resolve_compute(Settings().compute).arithmetic
    ways = {
        "a script per modality": lambda out: python(str(Path(__file__).with_name("plain.py")), str(films), str(out)),
        "mien, PyTorch": lambda out: _extract(films, out, "torch"),
        f"mien as it comes ({engine})": lambda out: _extract(films, out, "auto"),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as scratch:
                taken[name].append(way(Path(scratch) / "out").seconds)
    plain = taken["a script per modality"]
    ratios = {name: ratio(plain, seconds) for name, seconds in taken.items()}
    middle = {name: statistics.median(seconds) for name, seconds in taken.items()}
    rows = [(name, f"{s:.1f}", f"{s / clips:.2f}", f"{ratios[name]:.2f}") for name, s in middle.items()]
    text = (
        f"{clips} films of the stand-in, all four modalities, wall seconds with start-up and loading of weights; mien "
        f"with {WORKERS} workers, the script with as many threads as there are cores. The script takes the sound "
        "through Whisper's encoder as it comes, padded to 30 s."
    )
    limit = "the landmarker and the recogniser, which are the same programs on both sides, and ten seconds of start-up"
    whole = at_least("extraction, end to end, against a script per modality", 3.0, list(ratios.values())[-1], limit)
    return Section("Extraction", [text, Table(("way", "s", "s a film", "× the script"), rows)], [whole])


def _extract(films: Path, out: Path, engine: str):
    command = [MIEN, "extract", str(films), "--out", str(out), "--workers", str(WORKERS), "--quiet"]
    return process(*command, "--set", f"compute.engine={engine}")
