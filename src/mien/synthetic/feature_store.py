"""The features of the stand-in corpus on disk: made by ``features.py``, written shard by shard.

Features are made faster than single clips can be flushed to disk, so a shard is written at once, and killing the
process loses the shard in flight. The same call continues an interrupted one: a shard with the same keys is kept.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from mien.features.store import Store
from mien.features.writer import SHARD_CLIPS, StoreWriter
from mien.synthetic.features import (
    LONGEST_SECONDS,
    MEAN_SECONDS,
    SHORTEST_SECONDS,
    DrawnClips,
    FeatureGenerator,
    FeaturePlan,
    generate,
)
from mien.synthetic.labels import Labels
from mien.synthetic.published import Comparison

LONG_TAIL_SECONDS = 11.48
"""The published 95th percentile of the durations."""

NO_TEXT = 0.014
"""The published share of empty transcripts."""

MEAN_NEEDS, TAIL_NEEDS, NO_TEXT_NEEDS = 10_000, 3_000, 2_000
"""Clips from which twice the standard error is below the tolerance; the mean also holds the one extremely long clip."""


def write_features(root: Path, labels: Labels, plan: FeaturePlan, drawn: DrawnClips, workers: int = 2) -> Iterator[str]:
    """Make the features of every clip and write them to the store at ``root``; yields each clip's name when written.

    Args:
        root: the store, new or started by the same call.
        labels, plan, drawn: as for ``generate``.
        workers: threads that make features; they do not change them.

    Raises:
        InUse: another process is writing to the store.
        OutputError: the store cannot be written.
        StoreError: it is not a store of mien, or has another version.
        ValueError: a feature width is too small.
    """
    generator = FeatureGenerator(labels, plan, drawn)
    with StoreWriter(root, labels.ids) as writer:
        shards = [range(first, min(first + SHARD_CLIPS, len(labels.ids))) for first in _steps(len(labels.ids))]
        current = [all(_is_current(writer, generator, row) for row in shard) for shard in shards]
        missing = [row for shard, is_current in zip(shards, current, strict=True) if not is_current for row in shard]
        made = generate(generator, missing, workers)
        for shard, is_current in zip(shards, current, strict=True):
            if not is_current:
                writer.add_shard(list(islice(made, len(shard))))
            yield from labels.ids[shard.start : shard.stop]


def _steps(clips: int) -> range:
    return range(0, clips, SHARD_CLIPS)


def _is_current(writer: StoreWriter, generator: FeatureGenerator, row: int) -> bool:
    known = writer.known(generator.labels.ids[row])
    return {name: feature.key for name, feature in known.items()} == generator.keys(row)


def check_features(root: Path) -> list[Comparison]:
    """Durations and missing transcripts of a store compared with the published figures."""
    store = Store(root)
    seconds = np.array([clip["seconds"] for clip in store.clips.values()])
    tail = np.quantile(seconds, 0.95)
    texts = [row for (_, modality), row in store.rows.items() if modality == "text"]
    return [
        Comparison(name, published, float(found), within, clips=len(seconds), needs=needs)
        for name, published, found, within, needs in (
            ("mean duration, seconds", MEAN_SECONDS, seconds.mean(), 0.1, MEAN_NEEDS),
            ("95th percentile of the durations, seconds", LONG_TAIL_SECONDS, tail, 0.25, TAIL_NEEDS),
            ("shortest clip, seconds", SHORTEST_SECONDS, seconds.min(), 0.001, 0),
            ("longest clip, seconds", LONGEST_SECONDS, seconds.max(), 0.01, 0),
            ("clips without a transcript", NO_TEXT, np.mean([row.steps == 0 for row in texts]), 0.008, NO_TEXT_NEEDS),
        )
    ]
