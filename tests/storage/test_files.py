"""Files and folders appear atomically; keys follow content; only regular files of bounded size are read."""

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import DataError, OutputError
from mien.storage.files import (
    atomic_file,
    atomic_folder,
    cache_folder,
    key_of,
    open_regular,
    read_bytes_checked,
    read_json,
    sha256_of,
    write_json,
)


def test_an_interrupted_write_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, 1)
    with pytest.raises(RuntimeError), atomic_file(target) as part:
        part.write_text("half")
        raise RuntimeError
    assert read_json(target) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "x") as part:
        (part / "one").write_text("1")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with atomic_folder(tmp_path / "x") as part:
        (part / "one").write_text("1")
    assert (tmp_path / "x" / "one").read_text() == "1"


def test_of_two_who_make_the_same_folder_the_first_stays_if_it_is_whole(tmp_path: Path) -> None:
    def whole(folder: Path) -> bool:
        return (folder / "all").exists()

    for number, kept in enumerate(("0", "1", "1")):  # the first lacks a file
        with atomic_folder(tmp_path / "x", keep=whole) as part:
            (part / "one").write_text(str(number))
            if number:
                (part / "all").touch()
        assert (tmp_path / "x" / "one").read_text() == kept
        assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@given(st.dictionaries(st.text(), st.integers(), max_size=5))
def test_keys_do_not_depend_on_the_order_of_mappings(values: dict[str, int]) -> None:
    assert key_of(values) == key_of(dict(reversed(list(values.items()))))


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_keys_differ_when_parts_differ(one: list[str], two: list[str]) -> None:
    assert (key_of(*one) == key_of(*two)) == (one == two)


def test_a_folder_in_the_place_of_a_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "s.json").mkdir()
    with pytest.raises(OutputError, match=r"s\.json: cannot be written \(Is a directory\); move it away, or name an"):
        write_json(tmp_path / "s.json", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]


def test_json_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(DataError, match=r"x\.json: not valid JSON"):
        read_json(tmp_path / "x.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_json(tmp_path / "none.json")


def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_CACHE", "/somewhere")
    assert cache_folder() == Path("/somewhere")
    monkeypatch.delenv("MIEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/mien")


def test_temporary_files_of_killed_writers_are_removed_and_those_in_use_stay(tmp_path: Path) -> None:
    left = tmp_path / ".[a].json.x1y2z3_4.mien"
    left.write_text("half")
    with atomic_file(tmp_path / "[a].json") as mine:
        write_json(tmp_path / "[a].json", 1)
        assert not left.exists()
        assert mine.exists()
        mine.write_text("2")
    assert read_json(tmp_path / "[a].json") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["[a].json"]


def test_a_folder_replaces_an_older_one_of_its_kind(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "x", ours={"old"}) as part:
            (part / content).write_text(content)
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["new"]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["photo.jpg", "old/photo.jpg"])
def test_a_folder_of_other_things_is_not_replaced(name: str, tmp_path: Path) -> None:
    (tmp_path / "x" / name).parent.mkdir(parents=True)
    (tmp_path / "x" / name).write_text("a photo")
    with pytest.raises(OutputError, match="is not of mien, so it is not replaced"), atomic_folder(tmp_path / "x") as at:
        (at / "old").write_text("new")
    assert (tmp_path / "x" / name).read_text() == "a photo"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_link_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "x").symlink_to("photos")
    with pytest.raises(OutputError, match=r"x: cannot be written .a link"), atomic_folder(tmp_path / "x") as part:
        (part / "new").touch()
    assert not list((tmp_path / "photos").iterdir())
    assert len(list(tmp_path.iterdir())) == 2


def test_an_impossible_path_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/a\.json: cannot be written \(File exists\)"):
        write_json(tmp_path / "file" / "a.json", 1)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 10**12)


NOT_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a FIFO": (os.mkfifo, "not a regular file"),
    "a socket": (_socket, "not a regular file"),
    "a link to a device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "a link to a terminal": (lambda path: path.symlink_to("/dev/ptmx"), "not a regular file"),
    "a folder": (Path.mkdir, "a folder, expected a file"),
    "a link to itself": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "a sparse terabyte": (_sparse, "1000 GB, but at most 1 GB are read"),
    "a missing file": (Path.exists, "No such file"),
}


@pytest.mark.parametrize("kind", NOT_FILES)
def test_only_regular_files_of_bounded_size_are_read(kind: str, tmp_path: Path) -> None:
    make, reason = NOT_FILES[kind]
    make(tmp_path / "x")
    before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=rf"x: cannot be read \({reason}"):
        read_bytes_checked(tmp_path / "x")
    assert time.monotonic() - before[0] < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before[1] < 50_000  # kB


def test_a_fifo_is_refused_without_its_writer_noticing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    with pytest.raises(OSError, match="not a regular file"):
        sha256_of(tmp_path / "x")
    with pytest.raises(OSError, match="No such device or address"):  # ENXIO: it is not open for reading
        os.open(tmp_path / "x", os.O_WRONLY | os.O_NONBLOCK)


def test_a_file_replaced_by_a_fifo_while_it_is_opened_does_not_block(tmp_path: Path) -> None:
    exchange = """
import os, sys
while True:
    open("x.new", "w").close(); os.rename("x.new", "x")
    os.mkfifo("x.new"); os.rename("x.new", "x")
"""
    (tmp_path / "x").touch()
    other = subprocess.Popen([sys.executable, "-c", exchange], cwd=tmp_path)
    try:
        ends, refused = time.monotonic() + 1, 0
        while time.monotonic() < ends:
            try:
                open_regular(tmp_path / "x").close()
            except OSError:
                refused += 1
        assert refused
    finally:
        other.kill()
        other.wait()


def test_a_link_is_followed_only_where_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    assert read_bytes_checked(tmp_path / "link") == b"abc"
    with pytest.raises(DataError, match=r"link: cannot be read .a link, which is not followed here"):
        read_bytes_checked(tmp_path / "link", follow=False)


def test_a_growing_file_is_read_up_to_its_size_when_opened(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert read_bytes_checked(tmp_path / "x", most=3) == b"abc"
    grow = "import time\nfile = open('x', 'ab', 0)\nwhile True: file.write(b'0' * 1000); time.sleep(1e-3)"
    other = subprocess.Popen([sys.executable, "-c", grow], cwd=tmp_path)
    try:
        while (tmp_path / "x").stat().st_size < 100_000:
            time.sleep(0.01)
        read = [len(read_bytes_checked(tmp_path / "x")) for _ in range(2000)]
    finally:
        other.kill()
        other.wait()
    assert read == sorted(read)
    assert read[0] < read[-1]
    with pytest.raises(DataError, match="but at most 3 B are read"):
        read_bytes_checked(tmp_path / "x", most=3)
