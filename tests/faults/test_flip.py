"""A flipped byte, wherever it is, ends in one line or changes nothing; what can be made again is, and only that."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mien.config import read_settings
from mien.data.manifest import read_manifest
from mien.errors import MienError
from mien.features.extract import DAMAGED, SETTINGS, extract, with_extraction_settings
from mien.features.extraction_summary import ExtractionSummary
from mien.features.layers import gather, inputs_of
from mien.features.store import Store
from mien.features.writer import StoreWriter
from mien.model.model_folder import load_bundle
from mien.storage.checksums import SUMS, read_tensors
from mien.study.cells import StudyContext, plan_work
from mien.study.study import estimate
from mien.training import train
from tests.faults.conftest import Count, Undisturbed
from tests.faults.jobs import TRAINING, do_study, do_train, finished, plan_of, settings, started
from tests.features.test_store import made

FLIPS = 6
SOAKED = 80


def flips(file: Path, times: int, seed: int = 0) -> Iterator[int]:
    """Flip a byte, let it be looked at, put it back; the first bytes and the last among them."""
    content, chance = file.read_bytes(), random.Random(f"{seed} {file.name}")
    places = {0, len(content) - 1, *(chance.randrange(len(content)) for _ in range(times - 2))}
    for place in sorted(places):
        spoiled = bytearray(content)
        spoiled[place] ^= chance.randrange(1, 256)
        file.write_bytes(spoiled)
        yield place
    file.write_bytes(content)


def spoil(file: Path, place: int = 0, change: int = 1) -> None:
    """Flip a byte, for good."""
    content = bytearray(file.read_bytes())
    content[place] ^= change
    file.write_bytes(content)


def outcome_of(read: Callable[[], Any]) -> Any:
    """What reading gives: a value, or one line."""
    try:
        return read()
    except MienError as error:
        assert str(error)
        assert "\n" not in str(error)
        return None


def everything(store: Path) -> Any:
    """All that can be read of a store."""
    opened = Store(store)
    arrays = {pair: (opened.array(*pair).tobytes(), opened.seconds(*pair).tobytes()) for pair in opened.rows}
    packed = {name: opened.gather(name, sorted(opened.clips)).values.tobytes() for name in opened.modalities}
    made_with = with_extraction_settings(settings(), store).model_dump()
    return {pair: row[:8] for pair, row in opened.rows.items()}, repr(opened.clips), arrays, packed, made_with


def flip_all(files: list[Path], read: Callable[[], Any], times: int, count: Count, must_fail: bool = False) -> None:
    """Flip bytes of files, one at a time: what is read is what was written, or one line says that it is not."""
    right = read()
    for file in files:
        for place in flips(file, times):
            found = outcome_of(read)
            count(wrong=int(found is not None and found != right))
            if must_fail:
                assert found is None, f"byte {place} of {file.name} was flipped and nothing said so"
    assert read() == right


def store_files(store: Path) -> list[Path]:
    shard = store / "shards" / "00000-0"
    names = ("index.parquet", "clips.parquet", SUMS, "audio.npy", "audio.seconds.npy", "text.npy", "tokens.npy")
    return [store / "store.json", store / SETTINGS, *(shard / name for name in names)]


@pytest.fixture
def store(whole: Undisturbed, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole.store, tmp_path / "store"))


def test_a_flipped_byte_of_a_store_is_never_a_wrong_number(store: Path, count: Count) -> None:
    flip_all(store_files(store), lambda: everything(store), FLIPS, count)


def test_every_byte_of_an_array_counts(store: Path, count: Count) -> None:
    array = store / "shards" / "00000-0" / "audio.npy"
    for place in (128, array.stat().st_size // 2, array.stat().st_size - 1):  # the numbers begin after 128 bytes
        spoil(array, place)
        count(wrong=int(outcome_of(lambda: everything(store)) is not None))
        spoil(array, place)


@pytest.mark.soak
def test_many_flipped_bytes_of_a_store(store: Path, count: Count) -> None:
    flip_all(store_files(store), lambda: everything(store), SOAKED, count)


@pytest.mark.soak
def test_every_single_byte_of_the_head_of_an_array(tmp_path: Path, count: Count) -> None:
    with StoreWriter(tmp_path, ["a", "b"]) as writer:
        writer.add(made("a", steps=3))
        writer.add(made("b", steps=5, fill=2.0))
    file = tmp_path / "shards" / "00000-0" / "audio.npy"
    right = Store(tmp_path).gather("audio", ["a", "b"]).values.tolist()
    for place in range(128):
        for change in (0x01, 0x02, 0x04, 0x06, 0x0F, 0x10, 0x20, 0x40, 0x80, 0xFF):
            spoil(file, place, change)
            found = outcome_of(lambda: Store(tmp_path).gather("audio", ["a", "b"]).values.tolist())
            spoil(file, place, change)
            count(wrong=int(found not in (None, right)))


def extracted_again(whole: Undisturbed, store: Path) -> tuple[ExtractionSummary, list[str]]:
    tally, again = ExtractionSummary(), []
    for outcome in extract(read_manifest(whole.data), store, settings()):
        tally.count(outcome)
        again += [outcome.clip.id] if outcome.made.features else []
    return tally, again


def test_only_the_clip_that_was_hit_is_made_again_and_that_is_said(
    whole: Undisturbed, store: Path, count: Count
) -> None:
    right, row = everything(whole.store), Store(whole.store).row("05", "audio")
    assert row is not None
    spoil(store / "shards" / row.shard / "audio.npy", 128 + (row.offset + row.steps // 2) * row.width * 2)
    with pytest.raises(MienError, match="audio of 05 is damaged"):
        everything(store)
    tally, again = extracted_again(whole, store)
    assert again == ["05"]
    assert tally.recomputed == {DAMAGED: (1, "05")}
    count(wrong=int(everything(store)[2:] != right[2:]))


@pytest.mark.parametrize("name", ["index.parquet", "clips.parquet", SUMS])
def test_a_damaged_table_costs_its_shard_and_nothing_else(
    name: str, whole: Undisturbed, tmp_path: Path, count: Count
) -> None:
    order = [f"{i}" for i in range(6)]
    with StoreWriter(tmp_path, order, shard_clips=3) as writer:
        for clip in order:
            writer.add(made(clip))
    spoil(tmp_path / "shards" / "00001-0" / name)
    assert outcome_of(lambda: (Store(tmp_path).rows, Store(tmp_path).clips)) is None
    with StoreWriter(tmp_path, order, shard_clips=3) as writer:
        assert [clip for clip in order if writer.known(clip)] == order[:3]
        assert [clip for clip in order if writer.is_damaged(clip)] == order[3:]
    count()


def test_a_damaged_pending_clip_is_dropped_alone(tmp_path: Path, count: Count) -> None:
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path, ["a", "b", "c"]) as writer:
        writer.add(made("a"))
        writer.add(made("b"))
        raise KeyboardInterrupt
    spoil(min((tmp_path / "pending").iterdir()), 100)
    with StoreWriter(tmp_path, ["a", "b", "c"]) as writer:
        known = {clip for clip in "abc" if writer.known(clip)}
        damaged = {clip for clip in "abc" if writer.is_damaged(clip)}
    assert len(known) == 1
    assert known | damaged == {"a", "b"}
    count()


@pytest.mark.parametrize("times", [FLIPS, pytest.param(4 * SOAKED, marks=pytest.mark.soak)])
def test_a_flipped_byte_of_a_pending_clip_is_never_a_wrong_number(times: int, tmp_path: Path, count: Count) -> None:
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path, ["a", "b"]) as writer:
        writer.add(made("a"))
        raise KeyboardInterrupt
    (file,) = (tmp_path / "pending").iterdir()
    flip_all([file], lambda: repr(read_tensors(file)), times, count)


def scores_of(run: Path, store: Path) -> bytes:
    bundle, opened = load_bundle(run), Store(store)
    inputs = inputs_of(opened, bundle.settings.backbone, bundle.modalities)
    packed = {name: gather(opened, read, name, sorted(opened.clips)) for name, read in inputs.items()}
    return bundle.score(packed).tobytes() + repr(bundle.settings).encode() + repr(dict(bundle.provenance)).encode()


MODEL = ("config.json", "model.safetensors", "provenance.json", "licences.json", SUMS)


@pytest.mark.parametrize("times", [FLIPS, pytest.param(SOAKED, marks=pytest.mark.soak)])
def test_a_flipped_byte_of_a_model_is_never_a_wrong_score(
    times: int, whole: Undisturbed, tmp_path: Path, count: Count
) -> None:
    run = Path(shutil.copytree(whole.run / "model", tmp_path / "model"))
    flip_all([run / name for name in MODEL[:-1]], lambda: scores_of(run, whole.store), times, count, must_fail=True)
    flip_all([run / SUMS], lambda: scores_of(run, whole.store), times, count)


def test_a_damaged_run_stops_in_one_line_and_goes_on_when_the_part_is_deleted(
    whole: Undisturbed, tmp_path: Path, count: Count
) -> None:
    run = Path(shutil.copytree(whole.run, tmp_path / "run"))
    shutil.rmtree(run / "model")
    for file in (run / "run.json", run / "stage1" / "audio" / "model" / "model.safetensors"):
        for _ in flips(file, 3):
            found = outcome_of(lambda: train_again(whole, run))
            count(wrong=int(found is not None))
    shutil.rmtree(run / "stage1" / "audio")
    process = started(do_train, whole.data, whole.store, run, tmp_path / "journal")
    process.join()
    assert process.exitcode == 0
    assert {line.rpartition(" ")[0] for line in finished(tmp_path / "journal")} == {"stage1 audio", "stage2"}
    weights = Path("model") / "model.safetensors"
    count(0, wrong=int((run / weights).read_bytes() != (whole.run / weights).read_bytes()))


def train_again(whole: Undisturbed, run: Path) -> Any:
    return train(read_manifest(whole.data), Store(whole.store), read_settings(overrides=TRAINING), run)


def test_a_damaged_checkpoint_stops_in_one_line(whole: Undisturbed, tmp_path: Path, count: Count) -> None:
    run, checkpoint = tmp_path / "run", tmp_path / "run" / "stage1" / "text" / "checkpoint.safetensors"
    while not checkpoint.exists():
        process = started(do_train, whole.data, whole.store, run, tmp_path / "journal")
        while process.exitcode is None and not checkpoint.exists():
            process.join(0.005)
        process.kill()
        process.join()
        assert not (run / "model").exists(), "the machine is so fast that nothing was interrupted"
    for _ in flips(checkpoint, FLIPS):
        count(wrong=int(outcome_of(lambda: train_again(whole, run)) is not None))


@pytest.mark.parametrize("name", ["result.json", "scores.npy", SUMS])
def test_a_damaged_result_of_a_study_is_computed_again_and_that_is_said(
    name: str, whole: Undisturbed, tmp_path: Path, count: Count
) -> None:
    out = Path(shutil.copytree(whole.study, tmp_path / "study"))
    plan, manifest = plan_of(tmp_path / "plan"), read_manifest(whole.data)
    context = StudyContext(manifest, whole.store, out)
    assert plan_work(context, plan.cells) == ([], [])
    cell = context.folder(plan.reference)
    for _ in flips(cell / name, FLIPS):
        again = [batch.cells for batch in plan_work(context, plan.cells)[1]]
        count(wrong=int(again != [(plan.reference,)]))
    spoil(cell / name)
    assert estimate(plan, manifest, whole.store, out).damaged == 1
    process = started(do_study, whole.data, whole.store, out, tmp_path / "journal")
    process.join()
    assert process.exitcode == 0
    assert finished(tmp_path / "journal") == {repr([plan.reference.name]): 1}
    before = whole.study / cell.relative_to(out) / "scores.npy"
    count(wrong=int((cell / "scores.npy").read_bytes() != before.read_bytes()))
