"""r against the number of one's own rated clips, from words alone: with MiniLM as it is, and starting from words-en.

    python bench/starter.py TABLE --out FOLDER [--sizes 20,50,100] [--draws 5]

TABLE is a table of clips with participants, ratings and transcripts, or videos, whose speech is recognised once. Its
validation clips are evaluated, and never choose an epoch. For each size, clips are drawn person by person, ``--draws``
times; each draw is the same for all variants. Prints a table in Markdown: the mean over draws, and 95 % intervals over
draws of paired differences.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
from scipy import stats

from mien.config import Settings, read_settings
from mien.data.manifest import read_manifest
from mien.evaluation.evaluate import evaluate
from mien.features.extract import extract
from mien.features.store import Store
from mien.model.model_folder import load_bundle
from mien.schema import Manifest
from mien.training import train

PLAIN, STARTER = "minilm", "words-en"
VARIANTS: dict[str, tuple[str, list[str]]] = {
    "MiniLM": (PLAIN, []),
    "backbone of words-en": (STARTER, []),
    "encoder of words-en, kept": (STARTER, ["stage1.text.from=words-en"]),
    "encoder of words-en, adapted": (STARTER, ["stage1.text.from=words-en", "stage1.text.use=adapted"]),
}
"""Store, and settings, by name."""
COMMON = ["modalities=[text]", "backbone.text=frozen", "train.select=inner"]


def main() -> None:
    """Train all variants on all draws, and print the table."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("table", type=Path)
    given.add_argument("--out", type=Path, required=True)
    given.add_argument("--sizes", default="20,50,100")
    given.add_argument("--draws", type=int, default=5)
    options = given.parse_args()
    manifest, stores = read_manifest(options.table), {}
    for name, more in ((PLAIN, []), (STARTER, ["weights.text=words-en"])):
        for outcome in extract(manifest, options.out / name, read_settings(overrides=["modalities=[text]", *more])):
            if outcome.failure is not None:
                print(f"{outcome.clip}: {outcome.failure}")
        stores[name] = options.out / name
    print(f"| clips | {' | '.join(VARIANTS)} | {' | '.join(f'{name} − MiniLM' for name in list(VARIANTS)[1:])} |")
    print(f"|---|{'---|' * (2 * len(VARIANTS) - 1)}")
    for size in map(int, options.sizes.split(",")):
        r = np.array([[_mean_r(manifest, stores[store], _settings(store, more, size, draw), options.out / "run")
                       for store, more in VARIANTS.values()] for draw in range(options.draws)])  # fmt: skip
        cells = [f"{value:.3f}" for value in r.mean(0)]
        cells += [_interval(r[:, n] - r[:, 0]) for n in range(1, len(VARIANTS))]
        print(f"| {size} | {' | '.join(cells)} |", flush=True)


def _settings(store: str, more: list[str], size: int, draw: int) -> Settings:
    weights = ["weights.text=words-en"] if store == STARTER else []
    drawn = [f"split.train_clips={size}", f"split.train_clips_seed={draw}", "seeds=[0, 1, 2]"]
    return read_settings(overrides=[*COMMON, *weights, *drawn, *more])


def _mean_r(manifest: Manifest, store: Path, settings: Settings, run: Path) -> float:
    shutil.rmtree(run, ignore_errors=True)
    train(manifest, Store(store), settings, run)
    return evaluate(load_bundle(run), manifest, Store(store), "valid", resamples=100).mean_r.value


def _interval(differences: np.ndarray) -> str:
    half = stats.sem(differences) * stats.t.ppf(0.975, len(differences) - 1)
    return f"{differences.mean():+.3f} ± {half:.3f}"


if __name__ == "__main__":
    main()
