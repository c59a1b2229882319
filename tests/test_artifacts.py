"""Files are whole or not there; keys follow content."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.artifacts import atomic_file, atomic_folder, cache_folder, key_of, read_json, sha256_of, write_json
from mien.errors import DataError, OutputError


def test_an_interrupted_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, 1)
    with pytest.raises(RuntimeError), atomic_file(target) as part:
        part.write_text("half")
        raise RuntimeError
    assert read_json(target) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "x") as part:
        (part / "one").write_text("1")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with atomic_folder(tmp_path / "x") as part:
        (part / "one").write_text("1")
    assert (tmp_path / "x" / "one").read_text() == "1"


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


def test_what_a_killed_writer_left_goes_with_the_next_write_and_what_is_in_work_stays(tmp_path: Path) -> None:
    left = tmp_path / ".[a].json.x1y2.part"
    left.write_text("half")
    with atomic_file(tmp_path / "[a].json") as mine:
        write_json(tmp_path / "[a].json", 1)
        assert not left.exists()
        assert mine.exists()
        mine.write_text("2")
    assert read_json(tmp_path / "[a].json") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["[a].json"]


def test_a_folder_replaces_what_stood_there(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "x") as part:
            (part / content).write_text(content)
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["new"]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_place_that_cannot_be_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/a\.json: cannot be written \(File exists\)"):
        write_json(tmp_path / "file" / "a.json", 1)
