"""How soon one clip has scores: ``mien predict`` from its start, and the extraction of a loaded session.

Both also with the code of the last commit before faces ran on LiteRT, in turns.
"""

import json
import os
import statistics
import subprocess
import time
from pathlib import Path

from environments import mediapipe_python, source_of
from extraction import BEFORE
from material import videos
from section import Section, Table, at_most
from serving import LENGTH, seconds_of, trained_model
from timing import MIEN, in_turns, process

SESSION = """
import json, sys, time
from pathlib import Path
from mien.features.worker import ClipJob, plan
from mien.config import Settings
from mien.schema import Clip

extract, taken = plan(Settings())(), []
for _ in range(int(sys.argv[2])):
    begin = time.perf_counter()
    assert extract(ClipJob(Clip("a", Path(sys.argv[1])))).failure is None
    taken.append(time.perf_counter() - begin)
extract.close()
print(json.dumps(taken[1:]))
"""


def measure(quick: bool) -> Section:
    rounds, calls = (1, 3) if quick else (5, 9)
    clip = min((one.path for one in videos(16)), key=lambda path: abs(seconds_of(path) - LENGTH))
    model = trained_model(12)
    python, earlier = mediapipe_python(), {"PYTHONPATH": str(source_of(BEFORE))}
    ways = {
        "shown": lambda: _first_score(model, clip),
        "ended": lambda: process(MIEN, "predict", str(model), str(clip)).seconds,
        "before": lambda: _warm(python, clip, calls, **earlier),
        "now": lambda: _warm(str(Path(MIEN).with_name("python")), clip, calls),
    }
    taken = {name: statistics.median(times) for name, times in in_turns(ways, rounds).items()}
    text = (
        f"A stand-in video of {seconds_of(clip):.1f} s, weights `small`, all modalities, all cores; medians of "
        f"{rounds} rounds in turns, and of {calls - 1} calls in a loaded session."
    )
    rows = [
        ("`mien predict`, until the scores are shown", f"{taken['shown']:.2f}"),
        ("`mien predict`, until it has ended", f"{taken['ended']:.2f}"),
        ("extraction in a loaded session", f"{taken['now']:.2f}"),
        ("extraction in a loaded session, with MediaPipe", f"{taken['before']:.2f}"),
    ]
    targets = [
        at_most("first score of `mien predict`, 6 s of video", 4.0, taken["shown"], "s",
                "a second and a half of it are imports, one that of torch"),
        at_most("extraction in a loaded session, against the same with MediaPipe", 0.8, taken["now"] / taken["before"],
                "×", "see the log"),
    ]  # fmt: skip
    return Section("First scores", [text, Table(("what", "seconds"), rows)], targets)


def _first_score(model: Path, clip: Path) -> float:
    """Seconds from the start of the command to the clip's line of scores."""
    begin = time.perf_counter()
    with subprocess.Popen(
        [MIEN, "predict", str(model), str(clip)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as child:  # fmt: skip
        assert child.stdout is not None
        while not child.stdout.readline().lstrip().startswith(clip.stem):
            assert child.poll() is None
        taken = time.perf_counter() - begin
        child.stdout.read()
    assert child.returncode == 0
    return taken


def _warm(python: str, clip: Path, calls: int, **environment: str) -> float:
    """The median time of a call but the first."""
    return statistics.median(json.loads(process(python, "-c", SESSION, str(clip), str(calls), **environment).printed))
