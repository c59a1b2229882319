"""The default settings against other ones: r on clips of other people that chose nothing, over draws and seeds.

    python bench/defaults.py DATA --features STORE --out DIR --clips 300 --draws 4
    python bench/defaults.py DATA --features STORE --out DIR              # the whole data set, as it is split
    python bench/defaults.py DATA --features STORE --out DIR --clips 80 --draws 10 --redraw \\
        --other "stage1.centered=[vision]" --of . stage1/vision           # fused, and an encoder alone
    python bench/defaults.py DATA --features STORE --out DIR --clips 80 --draws 8 --redraw --set "modalities=[audio]" \
        --other backbone.audio=layers --of stage1/audio                   # an encoder alone: last layer against all

A draw takes participants at random: some whose clips train, a third as many to choose the epochs, and the rest to test
on. If the data have validation clips, these are the test clips, and only the others are drawn; ``--redraw`` draws them
all. Without ``--clips``, nothing is drawn: the validation clips choose the epochs and are reported. Both settings have
the same clips and seeds.
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
    parser.add_argument("--redraw", action="store_true", help="draw test clips, too, if there are validation clips")
    parser.add_argument("--of", nargs="+", default=["."], help="models of a run: . is the fused one, or stage1/vision")
    options = parser.parse_args()
    store, manifest = Store(options.features), mien.read_manifest(options.data)
    if options.redraw:
        manifest = replace(manifest, clips=tuple(replace(clip, split="train") for clip in manifest.clips))
    means: dict[str, list[list[float]]] = {part: [] for part in options.of}
    print("| draw | model | train / valid / test | other | default | default - other | r of the mean | best epoch |")
    print("|---|---|---|---|---|---|---|---|")
    for number, drawn in enumerate(_draws(manifest, options.clips, options.draws)):
        sizes = " / ".join(f"{sum(clip.split == split for clip in drawn.clips):,}" for split in _splits(drawn))
        other, default = (options.out / f"{number} {name}" for name in ("other", "default"))
        others = _run(drawn, store, other, options.seeds, [*options.set, *options.other], options.of)
        defaults = _run(drawn, store, default, options.seeds, options.set, options.of)
        for part in options.of:
            runs = others[part], defaults[part]
            means[part].append([float(np.mean(run["r"])) for run in runs])
            print(f"| {number} | {part} | {sizes} | {_row(*runs)} |", flush=True)
    for part, drawn in means.items():
        if len(drawn) > 1:
            r, gain = np.mean(drawn, 0), _interval(np.diff(np.array(drawn)).ravel())
            print(f"\n{part}, over {len(drawn)} draws: {r[0]:.4f} → {r[1]:.4f}, {gain}")


def _row(other: dict[str, Any], default: dict[str, Any]) -> str:
    """Columns of a table that compare a model of two runs."""
    runs = other, default
    seeds = [np.array(run["r"]) for run in runs]
    both = " | ".join(f"{r.mean():.4f} ± {r.std(ddof=1):.4f}" for r in seeds)
    together = " → ".join(f"{run['mean']:.3f}" for run in runs)
    epochs = " → ".join(f"{np.median(run['epochs']):.0f}" for run in runs)
    return f"{both} | {_interval(seeds[1] - seeds[0])} | {together} | {epochs}"


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


def _run(
    manifest: Manifest, store: Store, out: Path, seeds: int, words: list[str], models: list[str]
) -> dict[str, dict[str, Any]]:
    """For some models of a run: r of each seed and of their mean, and the best epochs."""
    record = out / "r.json"
    if not record.exists():
        settings = read_settings(overrides=[f"seeds={list(range(seeds))}", *words])
        mien.train(manifest, store, out, settings, progress=False)
        epochs = json.loads((out / "results.json").read_text())["epochs"]
        found = {}
        for model in models:
            scored = score_split(load(out / model).bundle, manifest, store, _splits(manifest)[2])
            found[model] = {
                "r": [_mean_r(scores, scored.labels) for scores in scored.scores],
                "mean": _mean_r(scored.scores.mean(0), scored.labels),
                "epochs": epochs["fused" if model == "." else Path(model).name],
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
