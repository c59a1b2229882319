"""The stand-in features reach the disk shard by shard, and an interrupted run continues to the same store."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from mien.features.store import Store
from mien.features.writer import SHARD_CLIPS, StoreWriter
from mien.synthetic.feature_store import check_features, write_features
from mien.synthetic.features import DrawnClips, FeatureGenerator, FeaturePlan, draw_clips, generate
from mien.synthetic.labels import Labels, draw_labels

PLAN = FeaturePlan(
    widths={"text": 16, "audio": 16, "vision": 16, "motion": 16},
    rates={"audio": 5.0, "vision": 4.0, "motion": 5.0},
    longest_seconds=None,
)
CLIPS = 2 * SHARD_CLIPS + 10


@pytest.fixture(scope="module")
def corpus() -> tuple[Labels, FeaturePlan, DrawnClips]:
    labels = draw_labels(CLIPS)
    return labels, PLAN, draw_clips(labels, PLAN)


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("whole") / "store"
    assert list(write_features(root, *corpus)) == list(corpus[0].ids)
    return root


def bytes_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_the_store_holds_what_was_generated(corpus, whole):
    store = Store(whole)
    assert store.modalities == ("text", "audio", "vision", "motion")
    assert not store.random_weights
    for clip in generate(FeatureGenerator(*corpus), [0, 300, CLIPS - 1]):
        assert store.clips[clip.clip]["seconds"] == clip.seconds
        for feature in clip.features:
            row = store.row(clip.clip, feature.modality)
            assert row is not None
            assert (row.status, row.reason, row.key) == (feature.status, feature.reason, feature.key)
            if feature.values is not None and feature.seconds is not None:
                np.testing.assert_array_equal(store.array(clip.clip, feature.modality), feature.values)
                np.testing.assert_array_equal(store.seconds(clip.clip, feature.modality), feature.seconds)


@pytest.mark.parametrize("stop", [1, SHARD_CLIPS, SHARD_CLIPS + 1])
def test_an_interrupted_run_continues_to_the_same_store(stop, corpus, whole, tmp_path):
    filing = write_features(tmp_path / "store", *corpus)
    assert len(list(islice(filing, stop))) == stop
    filing.close()  # as Ctrl-C would
    assert len(Store(tmp_path / "store").clips) < CLIPS
    assert list(write_features(tmp_path / "store", *corpus)) == list(corpus[0].ids)
    assert bytes_of(tmp_path / "store") == bytes_of(whole)


def test_a_shard_at_once_is_the_same_store_as_clip_by_clip(corpus, whole, tmp_path):
    with StoreWriter(tmp_path / "store", corpus[0].ids) as writer:
        for clip in generate(FeatureGenerator(*corpus), range(CLIPS)):
            writer.add(clip)
    assert bytes_of(tmp_path / "store") == bytes_of(whole)


def test_anything_but_one_whole_shard_is_refused(corpus, tmp_path):
    clips = list(generate(FeatureGenerator(*corpus), range(SHARD_CLIPS + 1)))
    with StoreWriter(tmp_path / "store", corpus[0].ids) as writer:
        for wrong in (clips, clips[:-2], clips[1:], clips[:-1][::-1], []):
            with pytest.raises(ValueError, match="are not the clips of shard"):
                writer.add_shard(wrong)
        writer.add_shard(clips[:-1])
    assert len(Store(tmp_path / "store").clips) == SHARD_CLIPS


def test_a_shard_over_pending_clips_replaces_them_and_leaves_none_behind(corpus, whole, tmp_path):
    clips = list(generate(FeatureGenerator(*corpus), range(SHARD_CLIPS)))
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path / "store", corpus[0].ids) as writer:
        writer.add(clips[5])
        raise KeyboardInterrupt
    list(write_features(tmp_path / "store", *corpus))
    assert bytes_of(tmp_path / "store") == bytes_of(whole)


def test_the_check_knows_a_store_that_is_not_as_published(whole):
    rows = {row.name: row for row in check_features(whole)}
    assert rows["shortest clip, seconds"].holds
    assert not rows["longest clip, seconds"].holds  # this plan has no clip of 1,249.92 s
