"""Coverage of prediction intervals by level of the score and of the rating: one width for all, and one for each band.

    python bench/coverage.py RUN DATA --features STORE [--split valid] [--draws 20]

The rated clips of a split are divided in two by participant (by clip where participants are unknown), ``--draws``
times: one half sets the widths, the other is judged. Prints a table in Markdown: shares of ratings inside, over all
emotions and draws.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.data.manifest import read_manifest
from mien.data.splits import labels_of
from mien.evaluation.evaluate import coverage_by_level
from mien.evaluation.results import LevelCoverage
from mien.features.store import Store
from mien.model.conformal import conformal_quantile, half_widths_of
from mien.model.half_widths import HalfWidths
from mien.model.model_folder import load_bundle


def main() -> None:
    """Divide, calibrate both ways, and print the table."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("run", type=Path)
    given.add_argument("data", type=Path)
    given.add_argument("--features", type=Path, required=True)
    given.add_argument("--split", default="valid")
    given.add_argument("--draws", type=int, default=20)
    options = given.parse_args()
    bundle, manifest = load_bundle(options.run), read_manifest(options.data)
    clips = [clip for clip in manifest.clips if clip.split == options.split and clip.labels is not None]
    store = Store(options.features)
    packed = {name: store.gather(name, [clip.id for clip in clips]) for name in bundle.modalities}
    scores = bundle.bounded(bundle.score(packed))
    ratings = labels_of(clips, len(bundle.targets))
    people = np.unique([clip.participant or clip.id for clip in clips], return_inverse=True)[1]
    print(f"{len(clips):,} clips of {people.max() + 1:,} participants, {options.draws} halves\n")
    print("| level of the | from | to | ratings | one width | by band | mean widths |\n|---|---|---|---|---|---|---|")
    tables = [_judged(scores, ratings, people, draw, bundle.scale) for draw in range(options.draws)]
    for rows in zip(*(zip(*pair, strict=True) for pair in tables), strict=True):
        constant, bands = ([row[way] for row in rows if row[way].rated] for way in (0, 1))
        if not constant:
            continue
        counts = np.array([row.rated for row in constant])
        shares = [np.average([row.found for row in way], weights=counts) for way in (constant, bands)]
        widths = [np.average([row.width for row in way], weights=counts) for way in (constant, bands)]
        one = constant[0]
        print(f"| {one.of} | {one.low:.1f} | {one.high:.1f} | {counts.mean():,.0f} | {shares[0]:.1%} | {shares[1]:.1%} "
              f"| {widths[0]:.2f}, {widths[1]:.2f} |")  # fmt: skip


def _judged(
    scores: npt.NDArray[np.float32],
    ratings: npt.NDArray[np.float32],
    people: npt.NDArray[np.int64],
    draw: int,
    scale: tuple[float, float],
) -> tuple[tuple[LevelCoverage, ...], tuple[LevelCoverage, ...]]:
    """Coverage on the half that did not set the widths: with one width per emotion, and with bands."""
    here = (np.random.default_rng(draw).permutation(people.max() + 1) < (people.max() + 1) // 2)[people]
    errors = np.abs(scores - ratings)[here]
    ways = (
        HalfWidths.constant([conformal_quantile(column, 0.9) for column in errors.T]),
        half_widths_of(scores[here], errors, 0.9),
    )
    made = []
    for way in ways:
        half = way.at(scores[~here])
        ends = np.clip([scores[~here] - half, scores[~here] + half], *scale)
        ends = np.where(np.isnan(ratings[~here]), np.nan, ends)
        made.append(coverage_by_level(scores[~here], ratings[~here], ends, scale))
    return made[0], made[1]


if __name__ == "__main__":
    main()
