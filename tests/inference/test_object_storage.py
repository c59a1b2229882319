"""Clips, tables and scores in object storage: as on the disk, and fetched only from where the user said."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import mien
from mien.config import read_settings
from mien.data.manifest import fetch_also_from, read_manifest
from mien.errors import DataError, Taken
from mien.features.store import Store
from mien.schema import Clip
from mien.storage.files import cache_folder
from mien.storage.mirror import local_folder
from mien.storage.outgoing import publish, versions
from mien.storage.remote import download
from tests.features.test_extract import TEXT_AUDIO, audio_clip, run
from tests.object_storage import Bucket, requests_of

OVERRIDES = ["weights=tiny", "modalities=[text, audio]", "seeds=[0]", "stage1.epochs=1", "stage2.epochs=1",
             "compute.precision=float32"]  # fmt: skip
SETTINGS = read_settings(overrides=OVERRIDES)
EXTRACTION = ("--quiet", *(word for change in OVERRIDES for word in ("--set", change)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of eight rated clips with their words, a clip that is none, and hidden and other files."""
    root = tmp_path_factory.mktemp("clips")
    for name in ("text", "sound", ".trash"):
        (root / name).mkdir()
    rows = ["id,path,split,Joy"]
    for number in range(8):
        audio_clip(root / "sound" / f"{number}.mkv", 0.4, 1 + number / 4)
        (root / "text" / f"{number}.txt").write_text("so proud " * (number + 1))
        rows.append(f"{number},sound/{number}.mkv,{'valid' if number % 2 else 'train'},{number / 8}")
    (root / "bad.mp4").write_bytes(b"nothing")
    (root / "notes.pdf").write_bytes(b"%PDF")
    shutil.copy(root / "sound" / "0.mkv", root / ".trash" / "0.mkv")
    (root / "clips.csv").write_text("\n".join(rows))
    return root


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a model."""
    home = tmp_path_factory.mktemp("home")
    mien.extract(folder / "clips.csv", home / "features", SETTINGS, progress=False)
    mien.train(folder / "clips.csv", home / "features", home / "run", SETTINGS, progress=False)
    return home / "run"


def _give_weights(home: Path) -> None:
    home.mkdir(exist_ok=True)
    if not (home / "weights").exists():
        (home / "weights").symlink_to(cache_folder() / "weights")


def command(*words: str | Path, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    _give_weights(home)
    line = [sys.executable, "-m", "mien.cli", *map(str, words)]
    environment = os.environ | {"MIEN_CACHE": str(home)} | more
    return subprocess.run(line, capture_output=True, text=True, timeout=120, env=environment)


def test_a_table_in_object_storage_gives_the_features_and_keys_of_the_local_one(
    s3: tuple[str, Path], bucket: Bucket, folder: Path, tmp_path: Path
) -> None:
    address = bucket.put_folder(folder, "data")
    here, there = read_manifest(folder / "clips.csv"), read_manifest(f"{address}/clips.csv")
    assert [(clip.id, clip.labels, clip.transcript) for clip in there.clips] == [
        (clip.id, clip.labels, clip.transcript) for clip in here.clips
    ]
    run(here, tmp_path / "here", TEXT_AUDIO)
    summary, _ = run(there, tmp_path / "there", TEXT_AUDIO, workers=1)
    assert (summary.made, summary.failed) == (8, [])
    stores = Store(tmp_path / "here"), Store(tmp_path / "there")
    assert stores[0].fingerprint() == stores[1].fingerprint()
    for pair in stores[0].rows:
        assert np.array_equal(stores[0].array(*pair), stores[1].array(*pair))
    fetched = requests_of(s3[1], "GET", f"{bucket.name}/data/sound/")
    summary, _ = run(there, tmp_path / "there", TEXT_AUDIO)
    assert (summary.made, requests_of(s3[1], "GET", f"{bucket.name}/data/sound/")) == (0, fetched)
    bucket.put("data/sound/3.mkv", folder / "sound" / "5.mkv")
    summary, _ = run(there, tmp_path / "there", TEXT_AUDIO)
    assert summary.made == 1


def test_a_folder_has_the_clips_of_the_local_one(bucket: Bucket, folder: Path) -> None:
    there, here = read_manifest(bucket.put_folder(folder, "a b")), read_manifest(folder)
    assert [(clip.id, clip.transcript, clip.file_name) for clip in there.clips] == [
        (clip.id, clip.transcript, clip.file_name) for clip in here.clips
    ]
    assert there.notes == (
        f"{bucket.address}/a b: 1 hidden file left out (first: .trash/0.mkv)",
        f"{bucket.address}/a b: 2 files without video or audio left out (first: clips.csv)",
    )


@pytest.mark.parametrize("workers", [(), ("--cluster", "ray")], ids=["here", "on Ray"])
def test_the_command_scores_a_bucket_into_a_bucket(
    workers: tuple[str, ...], bucket: Bucket, folder: Path, model: Path, tmp_path: Path
) -> None:
    duckdb = pytest.importorskip("duckdb")
    if workers:
        pytest.importorskip("ray")
    address, out = bucket.put_folder(folder, "data"), f"{bucket.address}/out/scores.parquet"
    ended = command("predict", model, address, "--out", out, "-q", *workers, home=tmp_path)
    assert ended.returncode == 3, ended.stderr
    assert f"{out}: written" in ended.stdout
    assert list(bucket.sizes("out/")) == ["out/scores.parquet"]
    download(out, tmp_path / "scores.parquet")
    read = duckdb.sql(f"select clip, Joy, error from '{tmp_path / 'scores.parquet'}' order by clip").fetchall()
    assert [row[0] for row in read] == ["bad", *(f"sound/{number}" for number in range(8))]
    assert "bad.mp4: not a video" in read[0][2]
    here = mien.load(model).predict(folder, progress=False)
    assert [row[1] for row in read[1:]] == pytest.approx(here["Joy"].to_pylist()[1:], abs=1e-6)
    assert not [path for path in (tmp_path / "outgoing").rglob("*") if path.is_file()]


def test_a_store_and_a_run_in_a_bucket_give_the_model_of_local_ones(
    bucket: Bucket, folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").symlink_to(cache_folder() / "weights")
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    store, out = f"{bucket.address}/features", f"{bucket.address}/runs/first"
    assert mien.extract(folder / "clips.csv", store, SETTINGS, progress=False).made == 8
    summary = mien.train(folder / "clips.csv", store, out, SETTINGS, progress=False)
    assert "runs/first/model/SHA256SUMS" in bucket.sizes()
    assert not [key for key in bucket.sizes() if "lock" in key or "pending" in key]
    shutil.rmtree(summary.folder)
    clip = folder / "sound" / "3.mkv"
    assert mien.load(out).predict(clip).drop_columns("notes") == mien.load(model).predict(clip).drop_columns("notes")


def test_two_machines_extract_into_one_store_at_the_same_time(bucket: Bucket, folder: Path, tmp_path: Path) -> None:
    """One has other clips than the other, and both want the shard of the first clips."""
    rows, store = (folder / "clips.csv").read_text().splitlines(), f"{bucket.address}/features"
    tables = []
    for who, (first, last) in enumerate(((1, 6), (4, 9))):
        tables.append(table := folder / f"machine-{who}.csv")
        table.write_text("\n".join([rows[0], *rows[first:last]]))
    at_once([("extract", table, "--out", store, *EXTRACTION) for table in tables], tmp_path)
    mien.extract(folder / "clips.csv", tmp_path / "here", SETTINGS, progress=False)
    alone, both = Store(tmp_path / "here"), Store(local_folder(store))
    assert both.rows.keys() == alone.rows.keys()
    for pair in alone.rows:
        assert np.array_equal(both.array(*pair), alone.array(*pair))
    assert {row.shard for row in both.rows.values()} == {"00000-0", "00000-1"}


@pytest.mark.soak
def test_machines_that_extract_in_different_ways_lose_nothing(bucket: Bucket, folder: Path, tmp_path: Path) -> None:
    """The record of the settings is one file, so one machine may be refused; its features wait in its cache."""
    store = f"{bucket.address}/features"
    lines = [("extract", folder / "clips.csv", "--out", store, *EXTRACTION, "--modalities", name, "--set",
              f"media.vision_fps={fps}") for name, fps in (("text", 4), ("audio", 5))]  # fmt: skip
    processes = started(lines, tmp_path)
    said = [process.communicate(timeout=200)[1] for process in processes]
    for number, errors in enumerate(said):
        if processes[number].returncode:
            assert "/features/extraction.json: another command has written it since this one read it" in errors
            again = command(*lines[number], home=tmp_path / f"machine-{number}")
            assert "0 computed, 8 reused" in again.stdout, again.stderr
    both = Store(local_folder(store))
    assert both.rows.keys() >= {(str(clip), name) for clip in range(8) for name in ("text", "audio")}
    assert all(len(both.array(*pair)) == row.steps for pair, row in both.rows.items())


@pytest.mark.soak
def test_parts_that_are_extracted_at_the_same_time_merge_into_the_store_of_one_command(
    bucket: Bucket, folder: Path, tmp_path: Path
) -> None:
    """All of it in a bucket: on no machine is anything but its cache."""
    store = f"{bucket.address}/features"
    extract = ("extract", folder / "clips.csv", "--out", store, *EXTRACTION)
    at_once([(*extract, "--shard", "1/2")], tmp_path)
    early = command("merge", store, home=tmp_path / "machine-0")
    assert early.returncode == 1
    assert f"{store}: 4 clips missing in 1 of 2 parts: 2 (lacks 4: 4 …)" in early.stderr
    other = command(*extract, "--shard", "2/2", "--set", "modalities=[audio]", home=tmp_path / "machine-0")
    assert f"{store}.parts/division.json: modalities is ['text', 'audio'] in the other parts" in other.stderr

    store = f"{bucket.address}/again"
    extract = ("extract", folder / "clips.csv", "--out", store, *EXTRACTION)
    at_once([(*extract, "--shard", f"{number}/2") for number in (1, 2)], tmp_path)
    merged = command("merge", store, home=tmp_path / "machine-1")
    assert (merged.stdout, merged.stderr) == (f"{store}: 8 clips from 2 parts; {store}.parts may be removed\n", "")
    mien.extract(folder / "clips.csv", tmp_path / "here", SETTINGS, progress=False)
    for file in (path for path in (tmp_path / "here").rglob("*") if path.is_file() and path.name != ".lock"):
        assert bucket.get(f"again/{file.relative_to(tmp_path / 'here').as_posix()}") == file.read_bytes()


def test_scores_in_parts_are_merged_in_a_bucket(bucket: Bucket, folder: Path, model: Path, tmp_path: Path) -> None:
    out = f"{bucket.address}/scores.csv"
    at_once(
        [("predict", model, folder / "clips.csv", "--out", out, "-q", "--shard", f"{number}/2") for number in (1, 2)],
        tmp_path,
    )
    assert set(bucket.sizes()) == {f"scores.csv.parts/{name}.json" for name in ("1", "2", "division")}
    merged = command("merge", out, home=tmp_path / "machine-0")
    assert merged.returncode == 0, merged.stderr
    lines = bucket.get("scores.csv").decode().splitlines()
    assert [line.split(",")[0].strip('"') for line in lines] == ["clip", *map(str, range(8))]


def test_of_two_machines_that_train_one_run_one_is_refused_and_nothing_is_mixed(
    bucket: Bucket, folder: Path, tmp_path: Path
) -> None:
    """They differ in their number of epochs, so that every file of a model tells who made it."""
    mien.extract(folder / "clips.csv", tmp_path / "features", SETTINGS, progress=False)
    address = f"{bucket.address}/run"
    train = ("train", folder / "clips.csv", "--features", tmp_path / "features", "--out", address, *EXTRACTION)
    runs = started([(*train, "--set", f"stage2.epochs={epochs}") for epochs in (1, 2)], tmp_path)
    errors = [run.communicate(timeout=200)[1] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 1], errors
    (winner,) = (number for number, run in enumerate(runs) if not run.returncode)
    assert (
        "another command has written it" in errors[1 - winner]
    )  # found before it stores anything, or with its first file
    (copy,) = (tmp_path / f"machine-{winner}" / "mirrors").glob("*/run")
    stored = {key.removeprefix("run/"): bucket.get(key) for key in bucket.sizes("run/")}
    assert stored == {name: (copy / name).read_bytes() for name in stored}
    assert "model/SHA256SUMS" in stored
    again = command(*train, "--set", f"stage2.epochs={winner + 1}", home=tmp_path / f"machine-{1 - winner}")
    assert again.returncode == 0, again.stderr


def started(lines: Sequence[Sequence[str | Path]], home: Path) -> list[subprocess.Popen[str]]:
    """Start commands at the same time, each on a machine of its own, with its own cache."""
    processes = []
    for number, words in enumerate(lines):
        _give_weights(machine := home / f"machine-{number}")
        line, own = [sys.executable, "-m", "mien.cli", *map(str, words)], os.environ | {"MIEN_CACHE": str(machine)}
        processes.append(subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=own))
    return processes


def at_once(lines: Sequence[Sequence[str | Path]], home: Path) -> None:
    """Run commands at the same time, as ``started``."""
    processes = started(lines, home)
    errors = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(lines), errors


def test_scores_that_another_command_has_written_meanwhile_stay(bucket: Bucket, tmp_path: Path) -> None:
    address = bucket.put("scores.csv", b"old")
    before = versions([address])
    bucket.put("scores.csv", b"theirs")
    (tmp_path / "scores.csv").write_text("ours")
    with pytest.raises(Taken, match=r"since this one began; .* kept here: the same command replaces it"):
        publish(tmp_path / "scores.csv", address, before)
    assert (bucket.get("scores.csv"), (tmp_path / "scores.csv").read_text()) == (b"theirs", "ours")
    publish(tmp_path / "scores.csv", address, versions([address]))
    assert bucket.get("scores.csv") == b"ours"


def test_a_local_table_fetches_nothing_unless_the_user_names_the_place(
    s3: tuple[str, Path], bucket: Bucket, folder: Path, model: Path, tmp_path: Path
) -> None:
    bucket.put_folder(folder, "data")
    (tmp_path / "clips.csv").write_text(f"path\n{bucket.address}/data/sound/0.mkv\n")
    manifest = read_manifest(tmp_path / "clips.csv")
    assert manifest.clips == (Clip(f"{bucket.name}/data/sound/0", address=f"{bucket.address}/data/sound/0.mkv"),)
    (made,) = mien.load(model).predictions(manifest)
    assert made.error is not None and "only a table names it" in made.error and "--fetch-from" in made.error
    assert not requests_of(s3[1], "GET", f"{bucket.name}/data") + requests_of(s3[1], "HEAD", f"{bucket.name}/data")
    (made,) = mien.load(model).predictions(fetch_also_from(manifest, [f"{bucket.address}/data"]))
    assert made.error is None and made.scores["Joy"] == made.scores["Joy"]
    with pytest.raises(DataError, match=r"s3://other: no clip of .* lies there"):
        fetch_also_from(manifest, ["s3://other"])


def test_a_table_in_a_bucket_fetches_from_no_other_bucket(bucket: Bucket, model: Path) -> None:
    address = bucket.put("clips.csv", b"id,path\na,s3://other/secret.mp4\nb,gone.mp4\n")
    other, gone = mien.load(model).predictions(address)
    assert other.error is not None and "s3://other/secret.mp4: not fetched" in other.error
    assert gone.error == f"{bucket.address}/gone.mp4: no such file"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"id,path,sound\na,a.mp4,a.wav\n", "clips.csv:2: sound = 'a.wav' is in object storage; only 'path'"),
        (b"id,path\na,../../a.mp4\n", "does not lie in its bucket"),
        (b"id,path\na,s3://user:pw@host/a.mp4\n", "not an address"),
        (b"id,path\na,a.mp4\na,b.mp4\n", "clips.csv:3: "),
    ],
)
def test_errors_name_the_address_of_the_table(bucket: Bucket, table: bytes, message: str) -> None:
    address = bucket.put("x/clips.csv", table)
    with pytest.raises(DataError) as error:
        read_manifest(address)
    assert message in str(error.value)
    assert "/tmp" not in str(error.value)


def test_a_folder_named_like_a_scheme_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive of a stranger may hold ``s3:/bucket/clip.mp4``; nothing of it is an address."""
    (tmp_path / "s3:" / "bucket").mkdir(parents=True)
    audio_clip(tmp_path / "s3:" / "bucket" / "a.mkv", 0.2)
    monkeypatch.chdir(tmp_path)
    (clip,) = read_manifest(Path()).clips
    assert (clip.path, clip.address) == (Path("s3:/bucket/a.mkv"), None)


def test_an_output_that_is_no_address_is_refused_before_the_work() -> None:
    with pytest.raises(DataError, match="not an address"):
        versions(["s3://user:pw@host/scores.csv"])


def test_predict_reads_its_clips_without_network(bucket: Bucket, folder: Path, model: Path) -> None:
    """What opens a clip has no network, though the process that fetches it has: a socket is refused there."""
    address = bucket.put("a.mkv", folder / "sound" / "0.mkv")
    code = (
        "import mien, socket\n"
        "from mien.features.worker import Extractor\n"
        "old = Extractor.__call__\n"
        "def call(self, job):\n"
        "    try: socket.socket()\n"
        "    except PermissionError: print('no socket')\n"
        "    return old(self, job)\n"
        "Extractor.__call__ = call\n"
        f"print(mien.load({str(model)!r}).predictions({address!r})[0].error)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ended.stdout.split("\n")[:2] == ["no socket", "None"], ended.stderr


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=pytest.mark.soak)])
def test_copies_of_clips_are_removed_by_sigterm_and_after_a_kill_by_the_next_command(
    workers: str, bucket: Bucket, folder: Path, model: Path, tmp_path: Path
) -> None:
    for number in range(30):
        bucket.put(f"clips/{number}.mkv", folder / "sound" / f"{number % 8}.mkv")
    (temporary := tmp_path / "temporary").mkdir()
    line = ("predict", model, f"{bucket.address}/clips", "--out", tmp_path / "scores.json", "-q", "--workers", workers)

    status, said = broken_off(line, tmp_path, signal.SIGTERM)
    assert status == 143
    assert re.search(r"mien: interrupted; [1-9]\d? of 30 clips are scored and stored, the same command contin", said)
    assert not list(temporary.glob("mien-*"))

    status, _ = broken_off(line, tmp_path, signal.SIGKILL)
    assert status == -signal.SIGKILL
    assert list(temporary.glob("mien-*"))
    ended = command(*line, home=tmp_path, TMPDIR=str(temporary))
    assert (ended.returncode, "of 30 clips reused" in ended.stderr) == (0, True), ended.stderr
    assert not list(temporary.glob("mien-*"))


def broken_off(line: Sequence[str | Path], home: Path, number: signal.Signals) -> tuple[int, str]:
    """Send a signal to ``predict`` when it has stored more scores; its status and what it said."""
    _give_weights(home)
    partial = home / ".scores.json.partial"
    lines = partial.read_text().count("\n") if partial.exists() else 0
    process = subprocess.Popen(
        [sys.executable, "-m", "mien.cli", *map(str, line)], stderr=subprocess.PIPE, text=True,
        env=os.environ | {"MIEN_CACHE": str(home), "TMPDIR": str(home / "temporary")},
    )  # fmt: skip
    while not partial.exists() or partial.read_text().count("\n") < lines + 6:
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    return process.returncode, said


def test_without_addresses_no_temporary_folder_is_made(folder: Path, model: Path, tmp_path: Path) -> None:
    (temporary := tmp_path / "temporary").mkdir()
    before = temporary.stat().st_mtime_ns
    ended = command("predict", model, folder / "sound" / "0.mkv", "-q", home=tmp_path, TMPDIR=str(temporary))
    assert (ended.returncode, temporary.stat().st_mtime_ns) == (0, before), ended.stderr
