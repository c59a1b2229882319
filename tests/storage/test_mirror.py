"""A folder in object storage and its copy: what is sealed counts only when it is complete, on every machine."""

import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from mien.errors import OutputError
from mien.features.store import Store
from mien.features.writer import StoreWriter
from mien.schema import ClipFeatures, Feature
from mien.storage.mirror import Mirror
from mien.storage.remote import upload
from tests.object_storage import Bucket

CLIPS = [f"{number:03d}" for number in range(12)]


def clip(name: str, steps: int = 5, key: str = "k") -> ClipFeatures:
    """Features of a clip: ``steps`` times its number."""
    values = np.full((steps, 8), int(name), np.float16)
    seconds = np.arange(steps, dtype=np.float32)
    return ClipFeatures(name, 1.0, (Feature("audio", f"{key}{name}", "made", values, seconds),))


def write(folder: Path, clips: list[str], steps: int = 5, key: str = "k") -> None:
    """Clips in shards of four."""
    with StoreWriter(folder, CLIPS, shard_clips=4) as writer:
        for name in clips:
            writer.add(clip(name, steps, key))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Go to another machine, whose cache is its own."""

    def go(name: str) -> None:
        monkeypatch.setenv("MIEN_CACHE", str(tmp_path / name))

    go("first")
    return go


def test_a_store_goes_from_one_machine_to_another(bucket: Bucket, machine, tmp_path: Path) -> None:
    mirror = Mirror(f"{bucket.address}/features")
    write(mirror.pull(), CLIPS[:8])
    mirror.push()
    shards = [f"features/shards/{number:05d}-0/{file}" for number in (0, 1) for file in
              ("SHA256SUMS", "audio.npy", "audio.seconds.npy", "clips.parquet", "index.parquet")]  # fmt: skip
    assert set(bucket.sizes()) == {"features/store.json", *shards}
    write(tmp_path / "local", CLIPS[:8])
    for name in shards:
        assert bucket.get(name) == (tmp_path / "local" / name.removeprefix("features/")).read_bytes()

    machine("second")
    there = Mirror(f"{bucket.address}/features/")
    store = Store(there.pull())
    assert store.array("005", "audio").tolist() == [[5.0] * 8] * 5
    write(there.folder, CLIPS)
    there.push()

    machine("first")
    assert len(Store(mirror.pull()).rows) == 12


def test_replaced_and_pruned_shards_are_replaced_and_removed_there(bucket: Bucket, machine) -> None:
    mirror = Mirror(f"{bucket.address}/features")
    write(mirror.pull(), CLIPS)
    mirror.push()
    write(mirror.folder, CLIPS[:4], steps=7, key="new")
    mirror.push()
    machine("second")
    there = Mirror(f"{bucket.address}/features")
    assert len(Store(there.pull()).array("001", "audio")) == 7
    shutil.rmtree(there.folder / "shards" / "00002-0")
    there.push()
    machine("first")
    assert {pair[0] for pair in Store(mirror.pull()).rows} == set(CLIPS[:8])


def test_a_replaced_shard_counts_again_only_after_what_replaces_it(
    bucket: Bucket, machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer removes arrays that are replaced, so an older shard must not be read without the newer one."""
    mirror, stored = Mirror(f"{bucket.address}/features"), []
    write(mirror.pull(), CLIPS[:4])
    mirror.push()
    write(mirror.folder, CLIPS[:4], key="new")
    monkeypatch.setattr("mien.storage.mirror.upload", lambda file, to: stored.append(to) or upload(file, to))
    mirror.push()
    seals = [address.removeprefix(f"{mirror.address}/shards/") for address in stored if address.endswith("SUMS")]
    assert seals == ["00000-1/SHA256SUMS", "00000-0/SHA256SUMS"]


def test_a_shard_without_its_checksums_is_no_part_of_the_store(bucket: Bucket, machine, tmp_path: Path) -> None:
    write(tmp_path / "local", CLIPS)
    (tmp_path / "local" / "shards" / "00001-0" / "SHA256SUMS").unlink()
    bucket.put_folder(tmp_path / "local", "features")
    store = Store(Mirror(f"{bucket.address}/features").pull())
    assert {name for name, _ in store.rows} == {*CLIPS[:4], *CLIPS[8:]}


def test_a_store_without_a_shard_yet_is_empty(bucket: Bucket, machine, tmp_path: Path) -> None:
    write(tmp_path / "local", [])
    bucket.put_folder(tmp_path / "local", "features")
    assert Store(Mirror(f"{bucket.address}/features").pull()).rows == {}


def test_what_the_disk_has_no_room_for_is_not_copied(
    bucket: Bucket, machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket.put("features/store.json", b"{}")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1))
    with pytest.raises(OutputError, match=r"2 B to copy, but 1 B are free .* MIEN_CACHE"):
        Mirror(f"{bucket.address}/features").pull()


WRITE = """
import sys
from mien.storage.mirror import Mirror
from tests.storage.test_mirror import CLIPS, write
mirror = Mirror(sys.argv[1])
mirror.pull()
print("begin", flush=True)
for steps in (2000, 3000, 4000):
    write(mirror.folder, CLIPS, steps=steps, key=str(steps))
    mirror.push()
print("done", flush=True)
"""


def _killed(address: str, seconds: float) -> bool:
    """Write a store three times over, killed after so many seconds; whether it was done before that."""
    process = subprocess.Popen([sys.executable, "-c", WRITE, address], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with process.stdout:
        return "done" in process.stdout.read()


def _check(address: str, to: Path) -> int:
    """Every row that another machine sees has its array; number of rows."""
    os.environ["MIEN_CACHE"] = str(to)
    store = Store(Mirror(address).pull()) if Mirror(address).pull().joinpath("store.json").exists() else None
    if store is None:
        return 0
    for name, modality in store.rows:
        assert set(np.unique(store.array(name, modality)).tolist()) == {float(name)}
        assert len(store.array(name, modality)) == len(store.seconds(name, modality))
    return len(store.rows)


def _kill_and_check(bucket: Bucket, tmp_path: Path, delays: list[float]) -> None:
    address = f"{bucket.address}/features"
    for turn, delay in enumerate(delays):
        os.environ["MIEN_CACHE"] = str(tmp_path / "writer")
        _killed(address, delay)
        _check(address, tmp_path / f"reader-{turn}")
        shutil.rmtree(tmp_path / f"reader-{turn}")
    os.environ["MIEN_CACHE"] = str(tmp_path / "writer")
    assert _killed(address, 60)
    assert _check(address, tmp_path / "last") == 12


def test_a_killed_push_leaves_no_row_without_its_array(bucket: Bucket, machine, tmp_path: Path) -> None:
    _kill_and_check(bucket, tmp_path, [0.3])


@pytest.mark.soak
def test_pushes_killed_at_any_moment_leave_no_row_without_its_array(bucket: Bucket, machine, tmp_path: Path) -> None:
    chance = random.Random(0)
    _kill_and_check(bucket, tmp_path, [chance.uniform(0, 1.2) for _ in range(40)])
