"""A job in parts: any order, any subset, on any machine; what is joined is what one command makes."""

import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mien.errors import SettingsError
from mien.storage.parts import Part
from tests.faults.conftest import Undisturbed
from tests.faults.jobs import CLIPS, EXTRACTION, command, undated

SETTINGS = [word for each in EXTRACTION for word in ("--set", each)]


def extract(whole: Undisturbed, store: Path, *more: str) -> tuple[int, str, str]:
    return command(
        "extract", whole.data, "--out", store, "-q", "--workers", 0, *SETTINGS, *more, said=store.with_suffix(".said")
    )


def contents(store: Path) -> dict[str, bytes]:
    """Every file of a store but its lock."""
    files = (path for path in sorted(store.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(store)): path.read_bytes() for path in files}


@pytest.mark.parametrize("count", [1, 3, 5, 16])
def test_every_item_is_in_one_part_in_order_and_parts_are_of_one_size(count: int) -> None:
    items = list(range(16))
    blocks = [list(Part(number, count).of(items)) for number in range(1, count + 1)]
    assert [item for block in blocks for item in block] == items
    assert max(map(len, blocks)) - min(map(len, blocks)) <= 1


@pytest.mark.parametrize("text", ["0/4", "5/4", "4", "-1/4", "1/0", "a/b", "1/2/3"])
def test_parts_are_counted_from_one_and_anything_else_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=f"--shard {text}: "):
        Part.parse(text)


def test_parts_in_any_order_merge_into_the_bytes_of_one_extraction(whole: Undisturbed, tmp_path: Path) -> None:
    store = tmp_path / "store"
    for number in (3, 1):
        assert extract(whole, store, "--shard", f"{number}/3")[0] == 0
    (tmp_path / "store.parts" / "2").mkdir()  # its machine died as it began
    code, _, complaint = command("merge", store, said=tmp_path / "early")
    assert code == 1
    assert complaint == (
        f"mien: {store}: 4 clips missing in 1 of 3 parts: 2 (lacks 4: 04 …); "
        "run these parts again, e.g. with --shard 2/3\n"
    )
    assert not store.exists()

    assert extract(whole, store, "--shard", "2/3")[0] == 0
    for _ in range(2):  # a second merge changes nothing
        code, said, complaint = command("merge", store, said=tmp_path / "merged")
        assert (code, complaint) == (0, "")
        assert said == f"{store}: {CLIPS} clips from 3 parts; {store}.parts may be removed\n"
        assert contents(store) == contents(whole.store)
    code, said, _ = extract(whole, store)  # and everything is reused
    assert code == 0 and f"0 computed, {CLIPS} reused" in said


def test_a_part_of_other_settings_clips_or_number_is_refused_before_it_computes(
    whole: Undisturbed,
    tmp_path: Path,
) -> None:
    store = tmp_path / "store"
    assert extract(whole, store, "--shard", "1/3")[0] == 0
    for more, reason in (
        (["2/4"], "the other parts are 3 of features, this one is of 4 of features"),
        (
            ["2/3", "--set", "modalities=[audio]"],
            r"modalities is \['text', 'audio'\] in the other parts and \['audio'\]",
        ),
        (["2/3", "--sound", "provided"], "speech.source is video in the other parts and provided"),
        (["2/99"], r"more parts than clips \(12\)"),
        (["0/3"], "parts are counted from 1: 1/3 to 3/3"),
        (["2/3", "--keep-inputs"], "keep_inputs is False in the other parts and True in this one"),
    ):
        code, _, complaint = extract(whole, store, "--shard", *more)
        assert code == 2 and re.search(reason, complaint), complaint
    assert not (tmp_path / "store.parts" / "2").exists()


def test_kept_inputs_of_parts_are_those_of_one_extraction(whole: Undisturbed, tmp_path: Path) -> None:
    kept = "--keep-inputs"
    assert extract(whole, tmp_path / "one", kept)[0] == 0
    for number in (2, 1):
        assert extract(whole, tmp_path / "store", "--shard", f"{number}/2", kept)[0] == 0
    (first, *_) = sorted((tmp_path / "store.parts" / "1" / "inputs" / "audio").glob("*/*.safetensors"))
    first.rename(tmp_path / "lost")
    code, _, complaint = command("merge", tmp_path / "store", said=tmp_path / "early")
    assert code == 1 and complaint.startswith(f"mien: {first}: missing, but named in index.json; run its part again")
    assert extract(whole, tmp_path / "store", "--shard", "1/2", kept)[0] == 0
    for _ in range(2):
        assert command("merge", tmp_path / "store", said=tmp_path / "merged")[0] == 0
        assert contents(tmp_path / "store") == contents(tmp_path / "one")
    assert first.stat().st_nlink == 2  # and takes no more room
    shutil.rmtree(tmp_path / "store.parts")
    again = [*("--inputs", tmp_path / "store"), *("--set", "compute.precision=bfloat16")]
    code, said, _ = extract(whole, tmp_path / "again", *again)
    assert code == 0 and f"{CLIPS} computed" in said


def test_scores_in_parts_merge_into_the_table_of_one_command(whole: Undisturbed, tmp_path: Path) -> None:
    out, line = tmp_path / "scores.parquet", ["predict", whole.run, whole.data, "--quiet", "--why", "--out"]
    assert command(*line, tmp_path / "whole.parquet", said=tmp_path / "said")[0] == 0
    assert command(*line, tmp_path / "whole.json", said=tmp_path / "said")[0] == 0
    assert command(*line, out, "--shard", "2/2", said=tmp_path / "said")[0] == 0
    code, _, complaint = command("merge", out, said=tmp_path / "early")
    assert code == 1 and "6 clips missing in 1 of 2 parts: 1 (lacks 6: 00 …)" in complaint
    code, _, complaint = command(*line, out, "--shard", "1/2", "--raw", said=tmp_path / "said")
    assert code == 2 and "raw is False in the other parts and True in this one" in complaint

    assert command(*line, out, "--shard", "1/2", said=tmp_path / "said")[0] == 0
    assert command("merge", out, said=tmp_path / "said")[0] == 0
    assert pq.read_table(out).to_pylist() == pq.read_table(tmp_path / "whole.parquet").to_pylist()
    (tmp_path / "scores.parquet.parts").rename(tmp_path / "scores.json.parts")
    assert command("merge", tmp_path / "scores.json", said=tmp_path / "said")[0] == 0
    assert undated(tmp_path / "scores.json") == undated(tmp_path / "whole.json")


def test_what_was_not_made_in_parts_is_not_merged(whole: Undisturbed, tmp_path: Path) -> None:
    code, _, complaint = command("merge", whole.store, said=tmp_path / "said")
    assert code == 1 and "has no parts" in complaint
