"""The default settings against other ones: r on clips of other people that chose nothing, over draws and seeds.

    python bench/defaults.py DATA --features STORE --out DIR --clips 300 --draws 4
    python bench/defaults.py DATA --features STORE --out DIR              # the whole data set, as it is split

A draw takes participants at random: some whose clips train, a third as many to choose the epochs, and the rest to test
on. If the data have validation clips, these are the test clips, and only the others are drawn. Without ``--clips``,
nothing is drawn: the validation clips choose the epochs and are reported. Both settings have the same clips and seeds.
A finished training is not repeated. Intervals are Student's t, over seeds within a draw and over draws.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

import mien
from mien.config import read_settings
from mien.data.splits import is_rated
from mien.evaluation.evaluate import score_split
from mien.features.store import Store
from mien.inference.predict import load
from mien.metrics import mean_defined, pearson
from mien.schema import Clip, Manifest

EARLIER = [
    *(f"stage{n}.{name}" for n in (1, 2) for name in ("weight_decay=0.01", "patience=6", "plateau_patience=2")),
    "stage1.dropout=0.45",
]
"""The defaults before few clips were considered."""


def main() -> None:
    """Train what is missing, then print a row per draw, and their mean, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a table or folder of rated clips")
    parser.add_argument("--features", type=Path, required=True, help="its store")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, help="training clips of a draw")
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], help="settings of all runs, as for mien train")
    parser.add_argument("--other", nargs="+", default=EARLIER, help="settings that differ from the defaults")
    options = parser.parse_args()
    store, manifest = Store(options.features), mien.read_manifest(options.data)
    differences = []
    print("| draw | train / valid / test | other | default | default - other | mean of the seeds | best epoch |")
    print("|---|---|---|---|---|---|---|")
    for number, drawn in enumerate(_draws(manifest, options.clips, options.draws)):
        runs = [
            _run(drawn, store, options.out / f"{number} {name}", options.seeds, [*options.set, *more])
            for name, more in (("other", options.other), ("default", []))
        ]
        other, default = (np.array(run["r"]) for run in runs)
        differences.append(float((default - other).mean()))
        sizes = " / ".join(f"{sum(clip.split == split for clip in drawn.clips):,}" for split in _splits(drawn))
        both = " | ".join(f"{r.mean():.4f} ± {r.std(ddof=1):.4f}" for r in (other, default))
        together = " → ".join(f"{run['mean']:.3f}" for run in runs)
        epochs = " → ".join(f"{np.median(run['epochs']):.0f}" for run in runs)
        print(f"| {number} | {sizes} | {both} | {_interval(default - other)} | {together} | {epochs} |", flush=True)
    if len(differences) > 1:
        print(f"\nOver {len(differences)} draws: {_interval(np.array(differences))}")


def _splits(manifest: Manifest) -> tuple[str, str, str]:
    """Splits that train, choose the epochs, and are reported."""
    return "train", "valid", "test" if any(clip.split == "test" for clip in manifest.clips) else "valid"


def _draws(manifest: Manifest, clips: int | None, draws: int) -> Iterator[Manifest]:
    """Data sets of rated clips with splits."""
    rated = [clip for clip in manifest.clips if is_rated(clip)]
    if clips is None:
        yield replace(manifest, clips=tuple(clip for clip in rated if clip.split in ("train", "valid")))
        return
    fixed = [replace(clip, split="test") for clip in rated if clip.split == "valid"]
    pool = [clip for clip in rated if clip.split != "valid"] if fixed else rated
    for draw in range(draws):
        chosen = _assign(pool, {"train": clips, "valid": round(clips / 3)}, np.random.default_rng(draw))
        yield replace(manifest, clips=(*chosen, *fixed) if fixed else tuple(chosen))


def _assign(pool: list[Clip], wanted: dict[str, int], rng: np.random.Generator) -> list[Clip]:
    """The clips of participants in random order: as many as wanted for each split, the others for testing."""
    people: dict[str, list[Clip]] = {}
    for clip in pool:
        people.setdefault(clip.participant or clip.id, []).append(clip)
    left, assigned = [people[name] for name in rng.permutation(sorted(people))], []
    for split, number in wanted.items():
        taken = 0
        while taken < number and left:
            theirs = left.pop()
            taken += len(theirs)
            assigned += [replace(clip, split=split) for clip in theirs]
    return assigned + [replace(clip, split="test") for theirs in left for clip in theirs]


def _run(manifest: Manifest, store: Store, out: Path, seeds: int, words: list[str]) -> dict[str, Any]:
    """r of each seed and of their mean, and the best epochs of stage 2."""
    record = out / "r.json"
    if not record.exists():
        settings = read_settings(overrides=[f"seeds={list(range(seeds))}", *words])
        mien.train(manifest, store, out, settings, progress=False)
        scored = score_split(load(out).bundle, manifest, store, _splits(manifest)[2])
        each = [_mean_r(scores, scored.labels) for scores in scored.scores]
        results = json.loads((out / "results.json").read_text())
        found = {
            "r": each,
            "mean": _mean_r(scored.scores.mean(0), scored.labels),
            "epochs": list(results["epochs"]["fused"]),
        }
        record.write_text(json.dumps(found))
    return json.loads(record.read_text())


def _mean_r(scores: npt.NDArray[np.float32], labels: npt.NDArray[np.float32]) -> float:
    return float(mean_defined(pearson(scores, labels)))


def _interval(values: npt.NDArray[np.float64]) -> str:
    """Mean with its 95 % interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.4f} [{values.mean() - half:+.4f}, {values.mean() + half:+.4f}]"


if __name__ == "__main__":
    main()
