"""The store returns what was written, loses nothing when killed, and refuses other folders."""

import json
from pathlib import Path

import numpy as np
import pytest

from mien.errors import InUse, StoreError
from mien.features.store import Store
from mien.features.writer import StoreWriter
from mien.schema import ClipFeatures, Feature, Transcript, Word


def made(clip: str, key: str = "k", steps: int = 3, modality: str = "audio", fill: float = 1.0) -> ClipFeatures:
    values = np.full((steps, 4), fill, np.float16)
    feature = Feature(modality, key, "toy@1", values, np.arange(steps, dtype=np.float32))
    return ClipFeatures(clip, 1.5, (feature,))


def bytes_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_features_are_read_back(tmp_path: Path) -> None:
    transcript = Transcript(
        "so proud", "asr", (Word("so", 0.1, 0.2, 0.9), Word("proud", 0.2, 0.5, 0.8)), "en", ((0.0, 0.6),)
    )
    text = Feature("text", "k", "toy@1", np.ones((1, 2), np.float16), np.zeros(1, np.float32))
    absent = Feature("vision", "k", "toy@1", status="absent", reason="no face in 8 frames")
    with StoreWriter(tmp_path, ["a"]) as writer:
        writer.add(ClipFeatures("a", 2.0, (text, absent), transcript, ("odd",)))
    store = Store(tmp_path)
    assert store.array("a", "text").tolist() == [[1, 1]]
    assert store.array("a", "vision").shape[0] == 0
    assert store.row("a", "vision").reason == "no face in 8 frames"  # type: ignore[union-attr]
    clip = store.clips["a"]
    assert clip["transcript"].words == transcript.words
    assert (clip["seconds"], clip["notes"]) == (2.0, ("odd",))
    assert np.isnan(clip["transcript"].average_logprob)


def test_arrays_are_memory_mapped_without_a_copy(tmp_path: Path) -> None:
    with StoreWriter(tmp_path, ["a"]) as writer:
        writer.add(made("a"))
    view = Store(tmp_path).array("a", "audio")
    while view.base is not None and not isinstance(view.base, np.memmap):
        view = view.base
    assert isinstance(view, np.memmap) or isinstance(view.base, np.memmap)


def test_gather_packs_in_the_requested_order_and_leaves_absent_clips_empty(tmp_path: Path) -> None:
    with StoreWriter(tmp_path, ["a", "b", "c"], shard_clips=2) as writer:
        for clip, steps, fill in (("a", 2, 1), ("b", 1, 2), ("c", 3, 3)):
            writer.add(made(clip, steps=steps, fill=fill))
    packed = Store(tmp_path).gather("audio", ["c", "never", "a"])
    assert packed.lengths.tolist() == [3, 0, 2]
    assert packed.values[:, 0].tolist() == [3, 3, 3, 1, 1]


def test_a_new_key_replaces_its_modality_and_leaves_the_others(tmp_path: Path) -> None:
    for modality, key, fill in (("audio", "old", 1), ("vision", "old", 2), ("audio", "new", 3)):
        with StoreWriter(tmp_path, ["a"]) as writer:
            writer.add(made("a", key, modality=modality, fill=fill))
    store = Store(tmp_path)
    assert float(store.array("a", "audio")[0, 0]) == 3
    assert float(store.array("a", "vision")[0, 0]) == 2
    audio = list(tmp_path.rglob("audio.npy"))
    assert len(audio) == 1, "arrays whose rows were all replaced are removed"


def test_the_newest_row_wins_after_the_manifest_is_reordered(tmp_path: Path) -> None:
    with StoreWriter(tmp_path, ["a", "b"], shard_clips=1) as writer:
        writer.add(made("a", "k1", fill=1))
        writer.add(made("b", "k1", fill=1))
    with StoreWriter(tmp_path, ["b", "a"], shard_clips=1) as writer:
        writer.add(made("b", "k2", fill=2))
    assert float(Store(tmp_path).array("b", "audio")[0, 0]) == 2


def test_a_killed_writer_loses_nothing_and_the_store_is_the_same(tmp_path: Path) -> None:
    order = [f"{i:03d}" for i in range(7)]
    with StoreWriter(tmp_path / "whole", order, shard_clips=3) as writer:
        for clip in order:
            writer.add(made(clip, steps=1 + int(clip) % 3))
    for stop in range(7):
        root = tmp_path / f"cut{stop}"
        with pytest.raises(KeyboardInterrupt), StoreWriter(root, order, shard_clips=3) as writer:
            for clip in reversed(order[: stop + 1]):
                writer.add(made(clip, steps=1 + int(clip) % 3))
            raise KeyboardInterrupt
        with StoreWriter(root, order, shard_clips=3) as writer:
            for clip in order:
                if "audio" in writer.known(clip):
                    writer.mark_done(clip)
                else:
                    writer.add(made(clip, steps=1 + int(clip) % 3))
        assert bytes_of(root) == bytes_of(tmp_path / "whole")


def test_a_pending_clip_that_reached_its_shard_is_not_stored_twice(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path, ["a", "b"], shard_clips=2) as writer:
        writer.add(made("a"))
        raise KeyboardInterrupt
    left = next((tmp_path / "pending").iterdir())
    saved = left.read_bytes()
    with StoreWriter(tmp_path, ["a", "b"], shard_clips=2) as writer:
        writer.mark_done("a")
        writer.add(made("b"))
    left.write_bytes(saved)  # as if the process had died between the rename and the removal
    with StoreWriter(tmp_path, ["a", "b"], shard_clips=2):
        pass
    assert len(list((tmp_path / "shards").iterdir())) == 1
    assert not list((tmp_path / "pending").iterdir())


def test_two_writers_at_once_are_refused(tmp_path: Path) -> None:
    with StoreWriter(tmp_path, ["a"]), pytest.raises(InUse, match=r"process \d+ on .* is writing"):
        StoreWriter(tmp_path, ["a"])


def test_foreign_and_newer_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("mine")
    with pytest.raises(StoreError, match="other things in it"):
        StoreWriter(tmp_path, [])
    with pytest.raises(StoreError, match=r"mien extract"):
        Store(tmp_path)
    (tmp_path / "store.json").write_text(json.dumps({"format": "mien-features", "version": 99}))
    with pytest.raises(StoreError, match="version 99"):
        Store(tmp_path)


def test_a_cut_array_is_noticed(tmp_path: Path) -> None:
    with StoreWriter(tmp_path, ["a"]) as writer:
        writer.add(made("a", steps=300))
    array = next(tmp_path.rglob("audio.npy"))
    array.write_bytes(array.read_bytes()[:400])
    with pytest.raises(StoreError, match="damaged"):
        Store(tmp_path).array("a", "audio")


def test_the_fingerprint_follows_the_content_not_the_shards(tmp_path: Path) -> None:
    for name, size in (("x", 1), ("y", 8)):
        with StoreWriter(tmp_path / name, ["a", "b"], shard_clips=size) as writer:
            writer.add(made("a"))
            writer.add(made("b"))
    with StoreWriter(tmp_path / "z", ["a", "b"]) as writer:
        writer.add(made("a", "other"))
        writer.add(made("b"))
    prints = {name: Store(tmp_path / name).fingerprint() for name in "xyz"}
    assert prints["x"] == prints["y"] != prints["z"]
