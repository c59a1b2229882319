"""A folder in object storage and its copy: what is sealed counts only when it is complete, on every machine."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mien.errors import OutputError, Taken
from mien.features.store import Store
from mien.features.writer import StoreWriter
from mien.schema import ClipFeatures, Feature
from mien.storage.mirror import Mirror
from mien.storage.remote import remove, upload
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


def test_arrays_that_are_replaced_are_removed_there_but_no_shard(bucket: Bucket, machine) -> None:
    mirror = Mirror(f"{bucket.address}/features")
    write(mirror.pull(), CLIPS)
    mirror.push()
    write(mirror.folder, CLIPS[:4], steps=7, key="new")
    mirror.push()
    assert set(bucket.sizes("features/shards/00000-0/")) == {
        f"features/shards/00000-0/{name}" for name in ("SHA256SUMS", "clips.parquet", "index.parquet")
    }
    machine("second")
    there = Mirror(f"{bucket.address}/features")
    assert len(Store(there.pull()).array("001", "audio")) == 7
    shutil.rmtree(there.folder / "shards" / "00002-0")
    there.push()
    assert {pair[0] for pair in Store(there.pull()).rows} == set(CLIPS)


def test_an_array_is_removed_only_after_what_replaces_it_counts(
    bucket: Bucket, machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer removes arrays that are replaced, so an older shard must not be read without the newer one."""
    mirror, done = Mirror(f"{bucket.address}/features"), []
    write(mirror.pull(), CLIPS[:4])
    mirror.push()
    write(mirror.folder, CLIPS[:4], key="new")
    write(mirror.folder, CLIPS[:4], key="newer")
    for name, real in (("upload", upload), ("remove", remove)):
        monkeypatch.setattr(f"mien.storage.mirror.{name}", lambda *args, f=real: done.append(args) or f(*args))
    mirror.push()
    addresses = [str(args[-2] if len(args) > 1 else args[0]) for args in done]
    order = [address.removeprefix(f"{mirror.address}/shards/") for address in addresses]
    assert [name for name in order if "SUMS" in name] == ["00000-2/SHA256SUMS", "00000-1/SHA256SUMS"]
    assert order[-2:] == ["00000-0/audio.npy", "00000-0/audio.seconds.npy"]


def test_two_machines_that_take_the_same_number_keep_the_work_of_both(bucket: Bucket, machine) -> None:
    stores = Mirror(f"{bucket.address}/features"), _on(machine, "second", bucket)
    write(stores[0].pull(), CLIPS[:2])
    write(stores[1].pull(), CLIPS[2:4], steps=9)
    for store in stores:
        store.push()
    machine("third")
    merged = Store(Mirror(f"{bucket.address}/features").pull())
    assert {name: len(merged.array(name, "audio")) for name in CLIPS[:4]} == {"000": 5, "001": 5, "002": 9, "003": 9}
    assert {row.shard for row in merged.rows.values()} == {"00000-0", "00000-1"}
    assert Store(stores[1].pull()).rows == Store(stores[0].pull()).rows == merged.rows


def _on(machine, name: str, bucket: Bucket) -> Mirror:
    """The store on another machine."""
    machine(name)
    store = Mirror(f"{bucket.address}/features")
    machine("first")
    return store


def test_two_machines_that_make_the_same_shard_store_it_once(bucket: Bucket, machine) -> None:
    stores = Mirror(f"{bucket.address}/features"), _on(machine, "second", bucket)
    for store in stores:
        write(store.pull(), CLIPS)
    for store in stores:
        store.push()
    assert len([key for key in bucket.sizes() if key.endswith("SHA256SUMS")]) == 3
    assert not [key for key in bucket.sizes() if "-1/" in key]


def test_what_a_push_that_broke_off_has_stored_stays_here(
    bucket: Bucket, machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, left = Mirror(f"{bucket.address}/features"), iter(range(3))
    write(mirror.pull(), CLIPS)

    def broken(file: Path, to: str, over: str) -> str:
        if next(left, None) is None:
            raise OutputError("the connection broke")
        return upload(file, to, over)

    with monkeypatch.context() as patch, pytest.raises(OutputError, match="broke"):
        patch.setattr("mien.storage.mirror.upload", broken)
        mirror.push()
    assert len(bucket.sizes()) == 3
    store = Store(mirror.pull())
    assert [store.array(name, "audio")[0, 0] for name in CLIPS] == list(range(12))
    mirror.push()
    machine("second")
    assert Store(Mirror(f"{bucket.address}/features").pull()).rows == store.rows


def test_shards_that_were_not_stored_come_above_those_of_another_machine_in_their_order(
    bucket: Bucket, machine
) -> None:
    """A push failed, so two generations wait here; another machine has stored one of the same number meanwhile."""
    here, there = Mirror(f"{bucket.address}/features"), _on(machine, "second", bucket)
    write(here.pull(), CLIPS[:4], steps=5)
    write(here.folder, CLIPS[:2], steps=7)
    write(there.pull(), CLIPS[:4], steps=9)
    there.push()
    store = Store(here.pull())
    assert [len(store.array(name, "audio")) for name in CLIPS[:4]] == [7, 7, 5, 5]
    here.push()
    assert Store(there.pull()).rows == store.rows


def test_a_file_of_a_run_that_another_machine_has_replaced_is_not_replaced(bucket: Bucket, machine) -> None:
    runs = Mirror(f"{bucket.address}/features"), _on(machine, "second", bucket)
    for run in runs:
        (run.pull() / "run.json").write_text("{}")
        run.push()
    for number, run in enumerate(runs):
        (run.folder / "a-new-file").write_text(str(number))
        (run.folder / "state").write_text(str(number))
    runs[0].push()
    before = bucket.sizes()
    with pytest.raises(Taken, match=r"/a-new-file: another command has written it .* stays in .*; run it again"):
        runs[1].push()
    assert bucket.sizes() == before
    assert (runs[1].folder / "state").read_text() == "1"
    assert (runs[1].pull() / "state").read_text() == "0"
    (runs[1].folder / "state").write_text("next")
    runs[1].push()
    assert bucket.get("features/state") == b"next"


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


PULL = """
import os, signal, sys
from mien.storage.mirror import Mirror
fetch, left = Mirror._fetch, [int(sys.argv[2])]
def fetch_or_be_killed(*arguments):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    fetch(*arguments)
Mirror._fetch = fetch_or_be_killed
Mirror(sys.argv[1]).pull()
"""


def test_a_pull_that_is_killed_after_any_file_harms_nothing_there(bucket: Bucket, machine, tmp_path: Path) -> None:
    """What it has brought is no work of this machine, and is not stored again under another number."""
    mirror = Mirror(f"{bucket.address}/features")
    write(mirror.pull(), CLIPS[:8])
    mirror.push()
    stored = bucket.sizes()
    for files in (1, 2, 4, 7, len(stored) - 1):
        machine(f"killed after {files}")
        died = subprocess.run([sys.executable, "-c", PULL, mirror.address, str(files)], check=False)
        assert died.returncode == -signal.SIGKILL
        again = Mirror(mirror.address)
        again.pull()
        again.push()
        assert bucket.sizes() == stored
        assert _check(mirror.address, tmp_path / f"reader {files}") == 8


BESIDE = """
import sys
from mien.storage.mirror import Mirror
from tests.storage.test_mirror import CLIPS, write
address, who, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
mirror = Mirror(address)
print("begin", flush=True)
sys.stdin.readline()
for number in range(rounds):
    write(mirror.pull(), CLIPS[int(who) :: 2] if number else CLIPS, steps=3, key=f"{who}.{number}.")
    mirror.push()
    print(number, flush=True)
"""


def _begin(bucket: Bucket, home: Path, who: int, rounds: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BESIDE, f"{bucket.address}/features", str(who), str(rounds)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"MIEN_CACHE": str(home / f"machine-{who}")},
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    return process


def _stored_keys(root: Path) -> set[str]:
    """The keys of all rows, also of replaced ones."""
    tables = [pq.read_table(file, columns=["key"]) for file in root.glob("shards/*/index.parquet")]
    return {key for table in tables for key in table["key"].to_pylist()}


def test_machines_that_write_to_one_store_at_the_same_time_lose_no_row(bucket: Bucket, machine, tmp_path: Path) -> None:
    """Both make each shard in every round, so that they want the same numbers all the time."""
    writers = [_begin(bucket, tmp_path, who, 4) for who in (0, 1, 2)]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    assert [len(writer.communicate(timeout=120)[0].split()) for writer in writers] == [4] * 3
    assert _check(f"{bucket.address}/features", tmp_path / "reader") == 12
    made = {f"{who}.{number}.{clip}" for who in (0, 1, 2) for number in range(4)
            for clip in (CLIPS[who::2] if number else CLIPS)}  # fmt: skip
    assert _stored_keys(Mirror(f"{bucket.address}/features").pull()) == made


@pytest.mark.soak
def test_machines_killed_while_they_write_to_one_store_lose_no_row(bucket: Bucket, machine, tmp_path: Path) -> None:
    """What a machine said it had pushed is there; what was interrupted is stored by its next command."""
    chance, stored = random.Random(0), set[str]()
    for turn in range(12):
        writers = {who: _begin(bucket, tmp_path, who, 50) for who in (0, 1)}
        for writer in writers.values():
            assert writer.stdin is not None
            writer.stdin.write("\n")
            writer.stdin.flush()
        time.sleep(chance.uniform(0.2, 5))
        for writer in writers.values():
            writer.send_signal(signal.SIGKILL)
        for who, writer in writers.items():
            rounds = len(writer.communicate()[0].split())
            stored |= {f"{who}.{number}.{clip}" for number in range(rounds)
                       for clip in (CLIPS[who::2] if number else CLIPS)}  # fmt: skip
        rows = _check(f"{bucket.address}/features", tmp_path / f"reader-{turn}")
        assert rows in (0, 4, 8, 12)
        if rows:
            assert stored <= _stored_keys(Mirror(f"{bucket.address}/features").pull())
        shutil.rmtree(tmp_path / f"reader-{turn}")
    assert stored, "some pushes ended before the kill"
