"""The stand-in corpus' features on the disk: made below (``synthetic/features.py``), filed shard by shard.

Features are made faster than single clips can be flushed to a disk, so a shard is written at once, and killing this
loses the shard in flight. The same call continues an interrupted one: a shard that stands with the same keys is not
made again.
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
    Drawn,
    FeaturePlan,
    Studio,
    generate,
)
from mien.synthetic.labels import Comparison, Labels

LONG_TAIL_SECONDS = 11.48
"""The published 95th percentile of the durations."""

NO_TEXT = 0.014
"""The published share of empty transcripts."""


def file_features(root: Path, labels: Labels, plan: FeaturePlan, drawn: Drawn, workers: int = 2) -> Iterator[str]:
    """Make the features of every clip and put them into the store at ``root``; yields each clip's name when filed.

    Args:
        root: the store, new or begun by the same call.
        labels, plan, drawn: as for ``generate``.
        workers: threads that make features; they do not change them.

    Raises:
        InUse: another process writes to the store.
        OutputError: the store cannot be written.
        StoreError: it is foreign, or of another version.
        ValueError: a feature width is too small.
    """
    studio = Studio(labels, plan, drawn)
    with StoreWriter(root, labels.ids) as writer:
        shards = [range(first, min(first + SHARD_CLIPS, len(labels.ids))) for first in _steps(len(labels.ids))]
        stand = [all(_stands(writer, studio, row) for row in shard) for shard in shards]
        missing = [row for shard, there in zip(shards, stand, strict=True) if not there for row in shard]
        made = generate(studio, missing, workers)
        for shard, there in zip(shards, stand, strict=True):
            if not there:
                writer.add_shard(list(islice(made, len(shard))))
            yield from labels.ids[shard.start : shard.stop]


def _steps(clips: int) -> range:
    return range(0, clips, SHARD_CLIPS)


def _stands(writer: StoreWriter, studio: Studio, row: int) -> bool:
    known = writer.known(studio.labels.ids[row])
    return {name: feature.key for name, feature in known.items()} == studio.keys(row)


def check_features(root: Path) -> list[Comparison]:
    """Durations and missing transcripts of a store beside the published figures.

    Small stores miss them by sampling alone: the figures are for 12,660 clips.
    """
    store = Store(root)
    seconds = np.array([clip["seconds"] for clip in store.clips.values()])
    texts = [row for (_, modality), row in store.rows.items() if modality == "text"]
    return [
        Comparison("mean duration, seconds", MEAN_SECONDS, float(seconds.mean()), 0.1),
        Comparison(
            "95th percentile of the durations, seconds", LONG_TAIL_SECONDS, float(np.quantile(seconds, 0.95)), 0.25
        ),
        Comparison("shortest clip, seconds", SHORTEST_SECONDS, float(seconds.min()), 0.001),
        Comparison("longest clip, seconds", LONGEST_SECONDS, float(seconds.max()), 0.01),
        Comparison("clips without a transcript", NO_TEXT, float(np.mean([row.steps == 0 for row in texts])), 0.008),
    ]
