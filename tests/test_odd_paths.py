"""Files are written to any path that the system accepts: spaces, umlauts, names that are not UTF-8."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mien.features.store import Store
from mien.features.writer import StoreWriter
from mien.scores.tables import write_table
from mien.synthetic.features import FeatureGenerator, FeaturePlan, draw_clips
from mien.synthetic.labels import draw_labels
from mien.synthetic.oracle import CEILING, write_oracle

NAMES = ("my clïps ü", os.fsdecode(b"caf\xe9"))  # the second is Latin-1, as on shares of older systems


@pytest.fixture(params=NAMES, ids=["utf-8", "latin-1"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path / request.param
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has no such names")
    return folder


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".json"])
def test_scores_are_written_there(folder: Path, suffix: str) -> None:
    write_table(pa.table({"clip": ["a"], "Joy": [0.5]}), folder / f"scores{suffix}")
    assert (folder / f"scores{suffix}").stat().st_size > 10


def test_a_feature_store_is_written_and_read_there(folder: Path) -> None:
    widths = dict.fromkeys(("text", "audio", "vision", "motion"), 16)
    labels, plan = draw_labels(4), FeaturePlan(widths=widths, no_text=0, no_sound=0, longest_seconds=None)
    made = FeatureGenerator(labels, plan, drawn := draw_clips(labels, plan))
    with StoreWriter(folder / "store", labels.ids) as writer:
        writer.add_shard([made.clip(row) for row in range(4)])
    store = Store(folder / "store")
    assert list(store.clips) == list(labels.ids)
    text = made.clip(0).features[0].values
    assert text is not None
    np.testing.assert_array_equal(store.array(labels.ids[0], "text"), text)
    write_oracle(labels, plan, drawn, folder)
    assert (folder / CEILING).is_file()
