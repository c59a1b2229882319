"""Models, runs and stores that were made to do harm: their checksums fit, so that what lies behind these is reached.

What they hold is a value or a ``MienError`` in one line; nothing is allocated because a head or a setting claims it.
"""

import json
import re
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from mien.config import Settings, read_settings
from mien.errors import MienError, ModelError
from mien.features.extract import with_extraction_settings
from mien.features.layers import gather, inputs_of
from mien.features.source_files import check_unchanged
from mien.features.store import Store
from mien.features.writer import StoreWriter
from mien.model.bundle import Bundle
from mien.model.licences import licences_of
from mien.model.model_folder import load_bundle
from mien.reporting import run as run_page
from mien.reporting.rundata import read_run
from mien.schema import Clip
from mien.storage.checksums import SUMS, write_checksummed, write_sums, write_tensors
from mien.storage.files import as_written, key_of, write_json
from tests.faults.conftest import Count, Undisturbed

QUICK, SOAK = 15, 1000
MOST_BYTES = 50_000_000

DEEP: Any = 0
for _ in range(200):
    DEEP = [DEEP]

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.sampled_from([[], {}, "", [[]], -1, 0, 10**6, 10**9, 2**63, 10**30, 1e308, float("nan"), float("inf"),
                     "1", DEEP]),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=4), st.integers(), max_size=3),
)  # fmt: skip


def changed(whole: Any, data: st.DataObject) -> Any:
    """A JSON value with one of its parts replaced by any other, left out, or said twice."""
    value = json.loads(json.dumps(whole))
    at = value
    while isinstance(at, dict | list) and at:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if not isinstance(at[key], dict | list) or not at[key] or data.draw(st.integers(0, 3)) == 0:
            if data.draw(st.integers(0, 4)) == 0:
                del at[key]
            else:
                at[key] = data.draw(VALUES)
            break
        at = at[key]
    return value


def told(read: Callable[[], Any]) -> str:
    """What a reader says of a spoilt thing: a line; nothing, when it reads it. It takes no more memory than it may."""
    tracemalloc.start()
    try:
        read()
    except MienError as error:
        assert "\n" not in str(error)
        return str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MOST_BYTES, f"took {peak / 1e6:.0f} MB"
    return ""


def each(whole: Any, examples: int, count: Count, write: Callable[[Any], None], read: Callable[[], Any]) -> None:
    """Spoil a JSON value in many ways."""

    @settings(max_examples=examples, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.data())
    def one(data: st.DataObject) -> None:
        write(changed(whole, data))
        told(read)

    one()
    count(examples)


@pytest.fixture
def model(whole: Undisturbed, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole.run / "model", tmp_path / "model"))


@pytest.fixture
def store(whole: Undisturbed, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole.store, tmp_path / "store"))


def sealed(folder: Path) -> None:
    """Make the checksums fit again."""
    write_sums(folder, *sorted(path.name for path in folder.iterdir() if path.name != SUMS))


def scored(model: Path, store: Path) -> Bundle:
    """A model, with all that is made of what it says."""
    bundle, opened = load_bundle(model, "cpu"), Store(store)
    inputs = inputs_of(opened, bundle.settings.backbone, bundle.modalities)
    packed = {name: gather(opened, read, name, sorted(opened.clips)) for name, read in inputs.items()}
    present = np.stack([packed[name].lengths > 0 for name in bundle.modalities], 1)
    bundle.intervals(bundle.score(packed), present)
    assert bundle.settings.compute.device == "auto"
    return bundle


@pytest.mark.parametrize("examples", [QUICK, pytest.param(SOAK, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])])
@pytest.mark.parametrize("name", ["config.json", "provenance.json"])
def test_a_model_with_a_part_of_another_kind_is_read_or_refused_in_one_line(
    name: str, examples: int, model: Path, whole: Undisturbed, count: Count
) -> None:
    def write(value: Any) -> None:
        write_json(model / name, value)
        sealed(model)

    each(json.loads((model / name).read_text()), examples, count, write, lambda: scored(model, whole.store))


CLAIMS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "widths": lambda config: config["widths"].update(text=10**9),
    "widths that are allowed": lambda config: config["widths"].update(text=65_536, audio=65_536),
    "models": lambda config: config.update(models=config["models"][:1] * 10**6),
    "models that are allowed": lambda config: config.update(models=config["models"][:1] * 9_999),
    "seeds": lambda config: config["settings"].update(seeds=list(range(10**6))),
    "targets": lambda config: config.update(targets=["Joy"] * 10**6),
    "crops": lambda config: config["settings"]["faces"].update(crop_size=10**6),
    "beams": lambda config: config["settings"]["speech"].update(beam_size=10**6),
    "hidden": lambda config: config["settings"]["stage2"].update(hidden=10**9),
    "hidden that is allowed": lambda config: config["settings"]["stage2"].update(hidden=65_536),
    "rate": lambda config: config["settings"]["media"].update(vision_fps=1e9),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_model_that_claims_to_be_huge_is_refused_before_it_is_made(
    claim: str, model: Path, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.Tensor.to", None)  # whatever is made would be moved
    config = json.loads((model / "config.json").read_text())
    CLAIMS[claim](config)
    write_json(model / "config.json", config)
    sealed(model)
    assert "model" in told(lambda: load_bundle(model, "cpu"))
    count()


def test_weights_of_other_shapes_names_or_kinds_are_refused_by_name(model: Path, count: Count) -> None:
    tensors = load_file(model / "model.safetensors")
    name = "fusion.out.weight" if "fusion.out.weight" in tensors else next(n for n in tensors if n.endswith("weight"))
    spoilt = {
        f"{name}: found F32": {**tensors, name: tensors[name][..., :1].copy()},
        f"{name}: found none": {n: v for n, v in tensors.items() if n != name},
        f"{name}: found F64": {**tensors, name: tensors[name].astype(np.float64)},
        "extra: found F32": {**tensors, "extra": np.ones(3, np.float32)},
    }
    for line, changed_tensors in spoilt.items():
        save_file(changed_tensors, model / "model.safetensors")
        sealed(model)
        with pytest.raises(ModelError, match=line):
            load_bundle(model, "cpu")
        count()


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused_by_name(number: float, model: Path, count: Count) -> None:
    tensors = load_file(model / "model.safetensors")
    for name in tensors:
        if name.startswith("quantiles."):
            continue
        spoilt = {**tensors, name: tensors[name].copy()}
        spoilt[name].flat[-1] = number
        save_file(spoilt, model / "model.safetensors")
        sealed(model)
        with pytest.raises(ModelError, match=f"{re.escape(name)}: 1 of .* numbers are not finite"):
            load_bundle(model, "cpu")
        count()


def test_intervals_may_be_unknown_but_not_negative(model: Path, whole: Undisturbed, count: Count) -> None:
    tensors = load_file(model / "model.safetensors")
    name = next(name for name in tensors if name.startswith("quantiles."))
    for number in (np.nan, np.inf):
        save_file({**tensors, name: np.full_like(tensors[name], number)}, model / "model.safetensors")
        sealed(model)
        scored(model, whole.store)
    save_file({**tensors, name: np.full_like(tensors[name], -1)}, model / "model.safetensors")
    sealed(model)
    with pytest.raises(ModelError, match="negative"):
        load_bundle(model, "cpu")
    count()


@pytest.mark.parametrize(
    "head",
    [b"", b"{}", b"[]", b'{"a":' * 5000, b'{"a": 1}', b'{"a": {"dtype": "F32", "shape": [1000000000000], '
     b'"data_offsets": [0, 4000000000000]}}', b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
     b'{"a": {"dtype": [], "shape": [1], "data_offsets": [0, 4]}}', b'{"__metadata__": {"a": 1}}', b"\xff" * 100],
)  # fmt: skip
@pytest.mark.parametrize("length", [None, 2**63])
def test_a_head_of_weights_that_claims_what_is_not_there_is_refused(
    head: bytes, length: int | None, model: Path, count: Count
) -> None:
    size = len(head) if length is None else length
    (model / "model.safetensors").write_bytes(size.to_bytes(8, "little") + head)
    sealed(model)
    assert "damaged" in told(lambda: load_bundle(model, "cpu"))
    count()


def test_a_model_cannot_widen_the_limits_of_this_machine(model: Path, count: Count) -> None:
    config = json.loads((model / "config.json").read_text())
    theirs = {"device": "cuda", "threads": 4000, "clip_seconds": 1e9, "decoder_gigabytes": 1e6}
    config["settings"]["compute"].update(theirs)
    config["settings"]["media"].update(longest_seconds=1e9, largest_megapixels=1e9, vision_fps=2.0)
    write_json(model / "config.json", config)
    sealed(model)
    own = Settings()
    found = load_bundle(model, "cpu").settings
    assert {name: getattr(found.compute, name) for name in theirs} == {
        name: getattr(own.compute, name) for name in theirs
    }
    assert (found.media.longest_seconds, found.media.largest_megapixels) == (7200.0, 40.0)
    assert found.media.vision_fps == 2.0
    ours = read_settings(overrides=["media.longest_seconds=20000", "compute.threads=2"])
    found = load_bundle(model, "cpu", ours).settings
    assert (found.media.longest_seconds, found.compute.threads) == (20000.0, 2)
    count()


def test_a_store_cannot_widen_the_limits_of_this_machine(store: Path, count: Count) -> None:
    made = json.loads((store / "extraction.json").read_text())
    del made["checksum"]
    made["media"].update(longest_seconds=1e9, largest_megapixels=1e9, vision_fps=2.0)
    write_checksummed(store / "extraction.json", {**made, "compute": {"decoder_gigabytes": 1e6}, "seeds": [1]})
    found = with_extraction_settings(Settings(), store)
    assert found.media == Settings().media.model_copy(update={"vision_fps": 2.0})
    assert (found.compute, found.seeds) == (Settings().compute, Settings().seeds)
    count()


@pytest.mark.parametrize("examples", [QUICK, pytest.param(SOAK, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])])
def test_settings_in_a_store_of_another_kind_are_read_or_refused_in_one_line(
    examples: int, store: Path, count: Count
) -> None:
    made = json.loads((store / "extraction.json").read_text())
    del made["checksum"]

    def write(value: Any) -> None:
        write_json(store / "extraction.json", {**value, "checksum": key_of(value)})

    each(made, examples, count, write, lambda: with_extraction_settings(Settings(), store))


def read_all(store: Path) -> None:
    """All that a store holds, by every way in."""
    opened = Store(store)
    for name in opened.modalities:
        opened.gather(name, sorted(opened.clips))
    clips = [Clip(clip, store / f"{clip}.mp4", transcript="") for clip in opened.clips]
    check_unchanged(opened, clips, ["text", "audio"])
    with StoreWriter(store, sorted(opened.clips)) as writer:
        for clip in opened.clips:
            writer.known(clip)


@pytest.mark.parametrize("examples", [QUICK, pytest.param(SOAK, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])])
@pytest.mark.parametrize("name", ["index.parquet", "clips.parquet"])
def test_a_table_of_a_store_with_another_value_is_read_or_refused_in_one_line(
    name: str, examples: int, store: Path, count: Count
) -> None:
    shard = store / "shards" / "00000-0"
    table, kept = pq.read_table(shard / name), shutil.copytree(store, store.with_name("kept"))

    @settings(max_examples=examples, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.data())
    def one(data: st.DataObject) -> None:
        shutil.rmtree(store)
        shutil.copytree(kept, store)
        rows = table.to_pylist()
        column = data.draw(st.sampled_from(table.column_names))
        row = data.draw(st.integers(0, len(rows) - 1))
        kind = table.schema.field(column).type
        numbers = st.sampled_from([-1, 1, 2**31, 2**62, None]) | st.integers(-(2**63), 2**63 - 1)
        texts = st.sampled_from(
            ["", "[]", "{}", "null", "[" * 9999, '["path", 1]', '["__class__", "a"]', "1e999", None]
        )
        rows[row][column] = data.draw(
            numbers if pa.types.is_integer(kind) else st.none() | st.floats() if pa.types.is_floating(kind)
            else texts | st.text(max_size=5)
        )  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows, table.schema), shard / name)
        sealed(shard)
        told(lambda: read_all(store))

    one()
    count(examples)


def test_a_store_whose_index_claims_more_steps_than_there_are_is_refused_before_memory_is_taken(
    store: Path, count: Count
) -> None:
    shard = store / "shards" / "00000-0"
    table = pq.read_table(shard / "index.parquet")
    rows = table.to_pylist()
    for change in ({"steps": 2**40}, {"offset": 0, "steps": sum(r["steps"] for r in rows if r["modality"] == "audio")}):
        spoilt = [row | change if row["modality"] == "audio" else row for row in rows]
        pq.write_table(pa.Table.from_pylist(spoilt, table.schema), shard / "index.parquet")
        sealed(shard)
        assert "damaged" in told(lambda: Store(store).gather("audio", sorted(Store(store).clips)))
        count()


def test_an_array_whose_head_claims_more_than_its_file_is_refused(store: Path, count: Count) -> None:
    file = store / "shards" / "00000-0" / "audio.npy"
    heads = ("{'descr': '<f2', 'fortran_order': False, 'shape': (1099511627776, 1024)}",
             "{'descr': '|O', 'fortran_order': False, 'shape': (1, 1)}",
             "{'descr': '<f2', 'fortran_order': False, 'shape': (-1, 1)}", "[" * 9000)  # fmt: skip
    for head in heads:
        file.write_bytes(b"\x93NUMPY\x02\x00" + len(head).to_bytes(4, "little") + head.encode() + bytes(100))
        assert "damaged" in told(lambda: Store(store).gather("audio", sorted(Store(store).clips)))
        count()


PENDING = {"clip": "00", "seconds": 1.0, "transcript": None, "notes": [],
           "features": [["audio", "k", "m", "present", "", ""]]}  # fmt: skip


@pytest.mark.parametrize("examples", [QUICK, pytest.param(SOAK, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])])
def test_a_pending_clip_with_a_part_of_another_kind_is_dropped_or_read(
    examples: int, tmp_path: Path, count: Count
) -> None:
    with StoreWriter(tmp_path, ["00"]):
        pass
    steps = {"audio": np.ones((3, 4), np.float16), "audio.seconds": np.ones(3, np.float32)}

    def write(value: Any) -> None:
        shutil.rmtree(tmp_path / "shards")
        (tmp_path / "shards").mkdir()
        write_tensors(tmp_path / "pending" / f"{key_of('00')}.safetensors", steps, value)

    def read() -> None:
        with StoreWriter(tmp_path, ["00"]) as writer:
            writer.known("00")
        Store(tmp_path).gather("audio", ["00"])

    each(PENDING, examples, count, write, read)


REPORTS = 25
"""A report takes seconds."""

RUN = ("results.json", "run.json", "environment.json", "split.json")


@pytest.mark.soak
@pytest.mark.parametrize("name", RUN)
def test_a_run_with_a_part_of_another_kind_is_reported_or_refused_in_one_line(
    name: str, whole: Undisturbed, tmp_path: Path, count: Count
) -> None:
    run = Path(shutil.copytree(whole.run, tmp_path / "run"))

    def read() -> None:
        found = read_run(run)
        with as_written(run, "train again"):
            run_page.page(found)

    each(json.loads((run / name).read_text()), REPORTS, count, lambda value: write_json(run / name, value), read)


def test_the_licences_of_a_model_that_names_no_weights_are_one_line(model: Path, count: Count) -> None:
    config = json.loads((model / "config.json").read_text())
    config["settings"]["weights"] = "none such"
    write_json(model / "config.json", config)
    sealed(model)
    from mien.model.model_folder import read_config

    assert "settings.weights" in told(lambda: licences_of(read_config(model)))
    count()
