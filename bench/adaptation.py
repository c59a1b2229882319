"""How deep training reaches into a backbone: r, time and memory of each method, over seeds, on the same clips.

    python bench/adaptation.py DATA --features STORE --out DIR --modality text --seeds 3

Each run is a ``mien train`` of its own with one seed, for the backbone as for what is above it; a finished run is not
repeated. r is on the validation clips, which also choose the epochs, for every method alike. Intervals are Student's t
over seeds.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

METHODS = ("frozen", "layers", "top_k", "lora", "full")


def main() -> None:
    """Train what is missing, then print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a table or folder of rated clips with splits")
    parser.add_argument("--features", required=True, help="its store, with layers and, except for words, kept inputs")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--modality", default="text")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--show", default="", help="targets to show, besides the mean of all; by default all")
    parser.add_argument("--set", action="append", default=[], help="settings of all runs, as for mien train")
    options = parser.parse_args()
    found = {
        method: [_run(options, method, seed) for seed in range(options.seeds)] for method in _list(options.methods)
    }
    print("\n".join(_table(found, _list(options.show))))


def _list(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def _run(options: argparse.Namespace, method: str, seed: int) -> dict[str, Any]:
    """The results of one training, with its seconds and peak memory."""
    out, settings = options.out / f"{method} {seed}", [f"seeds=[{seed}]", f"modalities=[{options.modality}]"]
    record = out / "cost.json"
    if not record.exists():
        settings += [f"backbone.{options.modality}={method}", f"batch_seed={seed}", *options.set]
        words = [word for setting in settings for word in ("--set", setting)]
        command = ["mien", "train", options.data, "--features", options.features, "--out", str(out), *words]
        begin = time.monotonic()
        child = os.posix_spawnp(command[0], command, os.environ)
        _, status, used = os.wait4(child, 0)
        if status:
            sys.exit(f"failed: {' '.join(command)}")
        cost = {"seconds": time.monotonic() - begin, "gigabytes": used.ru_maxrss / 2**20}
        record.write_text(json.dumps(cost))
    results = json.loads((out / "results.json").read_text())
    r = dict(zip(results["targets"], results["r"]["ensemble"][0], strict=True))
    return {"r": r, **json.loads(record.read_text())}


def _table(found: dict[str, list[dict[str, Any]]], show: list[str]) -> list[str]:
    """A row per method."""
    first = next(iter(found.values()))[0]["r"]
    show = show or list(first)
    lines = [
        "| | " + " | ".join([*show, "mean", "minus the first", "minutes", "GB"]) + " |",
        "|---" * (len(show) + 5) + "|",
    ]
    reference = _means(next(iter(found.values())))
    for method, runs in found.items():
        cells = [f"{np.mean([run['r'][name] for run in runs]):.3f}" for name in show]
        means = _means(runs)
        cells += [_interval(means), "" if means is reference else _interval(means - reference)]
        cells += [
            f"{np.mean([run['seconds'] for run in runs]) / 60:.1f}",
            f"{max(run['gigabytes'] for run in runs):.1f}",
        ]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return lines


def _means(runs: list[dict[str, Any]]) -> np.ndarray:
    """Mean r over all targets, by seed."""
    return np.array([np.nanmean(np.array(list(run["r"].values()), float)) for run in runs])


def _interval(values: np.ndarray) -> str:
    """Mean with its 95 % interval over seeds."""
    if len(values) < 2:
        return f"{values.mean():.3f}"
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.3f} ± {half:.3f}"


if __name__ == "__main__":
    main()
