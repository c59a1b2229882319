"""Files with checksums are read back as written; anything else is refused."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from mien.errors import Damaged, DataError
from mien.storage.checksums import (
    SUMS,
    check_sums,
    read_checksummed,
    read_tensors,
    write_checksummed,
    write_sums,
    write_tensors,
)
from mien.storage.files import write_json


def test_tensors_and_their_header_are_read_back(tmp_path: Path) -> None:
    tensors = {"a": np.arange(6, dtype=np.float16).reshape(2, 3), "none": np.empty((0, 4)), "one": np.array(3)}
    write_tensors(tmp_path / "x", tensors, {"words": ["süß", None]})
    read, head = read_tensors(tmp_path / "x")
    assert head == {"words": ["süß", None]}
    assert all(
        np.array_equal(read[name], values) and read[name].dtype == values.dtype for name, values in tensors.items()
    )


def test_values_are_read_back_without_their_checksum(tmp_path: Path) -> None:
    write_checksummed(tmp_path / "x.json", {"b": [1, 0.1], "a": None})
    assert read_checksummed(tmp_path / "x.json") == {"b": [1, 0.1], "a": None}


@pytest.mark.parametrize("content", ['{"a": 1}', "[1]", "{", '{"a": 1, "checksum": "0"}'])
def test_values_without_a_matching_checksum_are_damaged(content: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(Damaged, match=r"x\.json"):
        read_checksummed(tmp_path / "x.json")


def test_a_missing_file_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read") as error:
        read_checksummed(tmp_path / "none.json")
    assert not isinstance(error.value, Damaged)


def test_sums_are_those_of_sha256sum(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    write_json(tmp_path / "b.json", 2)
    write_sums(tmp_path, "a.json", "b.json")
    assert subprocess.run(["sha256sum", "-c", SUMS], cwd=tmp_path, capture_output=True).returncode == 0
    check_sums(tmp_path)
    (tmp_path / "b.json").write_text("3")
    check_sums(tmp_path, ["a.json"])
    with pytest.raises(Damaged, match=r"b\.json: damaged"):
        check_sums(tmp_path)
    (tmp_path / "b.json").unlink()
    with pytest.raises(Damaged, match="No such file"):
        check_sums(tmp_path)


def test_a_folder_without_sums_is_refused_with_the_command_that_makes_them(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(DataError, match="sha256sum") as error:
        check_sums(tmp_path, ["a.json"])
    assert not isinstance(error.value, Damaged)
    subprocess.run(["/bin/sh", "-c", str(error.value).partition("as it is: ")[2]], check=True)  # as it says
    check_sums(tmp_path, ["a.json"])
