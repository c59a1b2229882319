"""Nothing is let in: whatever a file is, extraction and prediction go on, and say what became of it.

A few dozen files in every run; all of them with ``-m soak``, which prints the count. Real parts: decoder, face finder,
voice activity; backbones with random weights, as scores do not matter here.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import psutil
import pytest

import mien
from mien.config import Settings, read_settings
from mien.errors import escape_control
from mien.features.extract import extract
from mien.features.writer import StoreWriter
from mien.media.decoder_start import NAME
from mien.schema import Clip, ClipFeatures, Feature, Manifest
from mien.weights import Weights
from tests.badmedia.mutations import Bad, table
from tests.badmedia.sources import make_sources

pytestmark = [pytest.mark.weights, pytest.mark.slow]

CLIP_SECONDS, DECODER_GIGABYTES = 20.0, 1.5
HANG_SECONDS = CLIP_SECONDS + 20
"""More than the time a clip may take, and what a busy machine adds."""

OWN_BYTES, DECODER_BYTES = 1.5e9, 1.0e9
"""What this process may grow by, and what a decoder may really use (its address space is larger)."""


@dataclass
class Suite:
    """The files on the disk, and how often somebody was asked for more."""

    root: Path
    rows: list[Bad]
    asked: list[str] = field(default_factory=list)

    def clips(self, quick: bool) -> Manifest:
        rows = [bad for bad in self.rows if bad.quick or not quick]
        return Manifest(self.root, (), tuple(Clip(escape_control(bad.name), self.root / bad.name) for bad in rows))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    root, made = tmp_path_factory.mktemp("bad"), Suite(Path(), [])

    class Witness(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            self.send_error(404)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Witness)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made.root, made.rows = root, table(make_sources(root / ".whole"), root, f"http://127.0.0.1:{server.server_port}")
    for bad in made.rows:
        bad.put(root / bad.name)
    yield made
    server.shutdown()
    server.server_close()


def small_settings() -> Settings:
    """All that can be looked at is; text is left out, as tiny has no recogniser."""
    limits = [f"compute.clip_seconds={CLIP_SECONDS}", f"compute.decoder_gigabytes={DECODER_GIGABYTES}"]
    small = ["modalities=[audio, vision, motion]", "seeds=[0]", "stage1.epochs=1", "stage2.epochs=1"]
    return read_settings(overrides=["weights=tiny", "compute.precision=float32", *small, *limits])


def model_of_noise(home: Path, settings: Settings) -> Path:
    """The run folder of a model of noise, wide as the random backbones are."""
    noise = np.random.default_rng(0)
    ids = [f"{number:02d}" for number in range(12)]
    with StoreWriter(home / "features", ids) as writer:
        for clip in ids:
            made = [
                Feature(
                    name, "k", "noise", noise.normal(size=(4, width)).astype(np.float16), np.arange(4, dtype=np.float32)
                )
                for name, width in (("audio", 32), ("vision", 32), ("motion", 58))
            ]
            writer.add(ClipFeatures(clip, 1.0, tuple(made)))
    clips = [
        Clip(clip, Path(clip), split="valid" if number % 4 == 0 else "train", labels=(number / 12,))
        for number, clip in enumerate(ids)
    ]
    mien.train(Manifest(home, ("Joy",), tuple(clips)), home / "features", home / "run", settings, progress=False)
    return home / "run"


@pytest.fixture(scope="module")
def settings(small_weights: dict[str, Weights]) -> Settings:
    return small_settings()


@pytest.fixture(scope="module")
def model(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> mien.Model:
    return mien.load(model_of_noise(tmp_path_factory.mktemp("model"), settings))


@dataclass(frozen=True)
class Fate:
    """What became of a file: ``reason`` is empty when something was made of it."""

    bad: Bad
    reason: str
    seconds: float


@dataclass
class Peak:
    """The most memory that was used: by how much this process grew, and all of any process it started."""

    own: float = 0.0
    decoder: float = 0.0


@contextmanager
def watched() -> Iterator[Peak]:
    """Look at the memory every few hundredths of a second."""
    peak, stop, me = Peak(), threading.Event(), psutil.Process()
    before = me.memory_info().rss

    def look() -> None:
        while not stop.wait(0.03):
            peak.own = max(peak.own, me.memory_info().rss - before)
            for child in me.children():
                try:
                    if NAME in child.cmdline():  # not still a copy of us, before it became one
                        peak.decoder = max(peak.decoder, child.memory_info().rss)
                except psutil.Error:  # it has just ended
                    continue

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    yield peak
    stop.set()
    watcher.join()


def by_extract(suite: Suite, settings: Settings, quick: bool, store: Path) -> list[Fate]:
    rows = {escape_control(bad.name): bad for bad in suite.rows}
    fates, began = [], time.monotonic()
    for outcome in extract(suite.clips(quick), store, settings):
        now = time.monotonic()
        fates.append(Fate(rows[outcome.clip.id], outcome.failure or "", now - began))
        began = now
    return fates


def by_predict(suite: Suite, model: mien.Model, quick: bool) -> list[Fate]:
    rows = {escape_control(bad.name): bad for bad in suite.rows}
    fates, began = [], time.monotonic()
    for made in model.score(suite.clips(quick).clips, clip_seconds=CLIP_SECONDS):
        now = time.monotonic()
        scored = all(np.isfinite(list(made.scores.values())))
        assert scored != bool(made.error), f"{made.clip}: scored and refused, or neither"
        fates.append(Fate(rows[made.clip], made.error or "", now - began))
        began = now
    return fates


def judge(suite: Suite, fates: Sequence[Fate], peak: Peak, how: str, quick: bool) -> None:
    """Each file has one fate, the right one, in time; no other file was opened; memory stayed in bounds."""
    assert {escape_control(fate.bad.name) for fate in fates} == {clip.id for clip in suite.clips(quick).clips}
    assert len(fates) == len(suite.clips(quick).clips)
    slow = [fate for fate in fates if fate.seconds > HANG_SECONDS]
    killed = [fate for fate in fates if "decoder process" in fate.reason]
    late = [fate for fate in fates if "gave up after" in fate.reason]
    scored = sum(not fate.reason for fate in fates)
    print(
        f"\n{how}: {len(fates)} tried, {scored} scored, {len(fates) - scored} refused with a reason, crashes 0 "
        f"(decoders lost {len(killed)}), hangs {len(slow)} (given up in time {len(late)}), peak memory: "
        f"{peak.own / 1e6:.0f} MB more here, {peak.decoder / 1e6:.0f} MB in a decoder"
    )
    for kind, count in Counter((fate.bad.kind, bool(fate.reason)) for fate in fates).items():
        print(f"  {kind[0]}: {count} {'refused' if kind[1] else 'scored'}")
    for fate in killed + late:
        print(f"  {fate.reason}")
    wrong = [
        (fate.bad.name, fate.reason)
        for fate in fates
        if (fate.bad.must == "scored" and fate.reason) or (fate.bad.must == "refused" and not fate.reason)
    ]
    assert not wrong
    assert not slow
    assert not suite.asked
    assert peak.own < OWN_BYTES
    assert peak.decoder < DECODER_BYTES
    unreadable = [fate for fate in fates if "\n" in fate.reason or len(fate.reason) > 600 or "Error:" in fate.reason]
    assert not unreadable, [fate.reason for fate in unreadable]


def test_extraction_survives_a_few(suite: Suite, settings: Settings, tmp_path: Path) -> None:
    with watched() as peak:
        fates = by_extract(suite, settings, True, tmp_path)
    judge(suite, fates, peak, "extract", True)


def test_prediction_survives_a_few(suite: Suite, model: mien.Model) -> None:
    with watched() as peak:
        fates = by_predict(suite, model, True)
    judge(suite, fates, peak, "predict", True)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_extraction_survives_them_all(suite: Suite, settings: Settings, tmp_path: Path) -> None:
    assert len(suite.rows) >= 200
    with watched() as peak:
        fates = by_extract(suite, settings, False, tmp_path)
    judge(suite, fates, peak, "extract", False)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_prediction_survives_them_all(suite: Suite, model: mien.Model) -> None:
    with watched() as peak:
        fates = by_predict(suite, model, False)
    judge(suite, fates, peak, "predict", False)
