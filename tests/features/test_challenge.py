"""Provided features are read as arrays; any other pickle is refused and runs nothing."""

import io
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mien.errors import DataError
from mien.features.challenge import import_provided, read_array
from mien.features.store import Store
from mien.schema import Clip, Manifest


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16])
def test_arrays_of_every_pickle_protocol_are_read(tmp_path: Path, protocol: int, order: str, kind: type) -> None:
    array = np.asarray(np.arange(12).reshape(4, 3), kind, order=order)  # type: ignore[call-overload]
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(array, protocol=protocol))
    assert np.array_equal(read_array(path), array)


def test_the_names_that_older_numpy_wrote_are_known(tmp_path: Path) -> None:
    old = pickle.dumps(np.ones((2, 3), np.float32), protocol=2).replace(
        b"numpy._core.multiarray", b"numpy.core.multiarray"
    )
    (tmp_path / "a.pkl").write_bytes(old)
    assert read_array(tmp_path / "a.pkl").shape == (2, 3)


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_runs_nothing(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Evil(tmp_path / "done"), protocol=protocol))
    with pytest.raises(DataError, match="only numeric arrays are admitted"):
        read_array(tmp_path / "evil.pkl")
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize(
    "name", ["numpy.f2py\ncompile", "numpy\nload", "builtins\neval", "os\nsystem", "numpy.lib\nfrombuffer"]
)
def test_no_other_global_is_known(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.pkl").write_bytes(b"c" + name.encode() + b"\n(S'1'\ntR.")
    with pytest.raises(DataError, match="refused"):
        read_array(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": 1}, "not a numeric array"),
        ([1.0, 2.0], "not a numeric array"),
        (np.array(["a"]), "not a numeric array"),
        (np.array([None]), "not a numeric array"),
        (np.zeros((2, 2, 2)), "not a numeric array"),
        (np.array([[np.nan]]), "not finite"),
    ],
)
def test_anything_but_an_array_of_steps_is_refused(tmp_path: Path, value: object, message: str) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(DataError, match=message):
        read_array(tmp_path / "a.pkl")


def test_a_damaged_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(np.ones(4))[:-7])
    with pytest.raises(DataError, match="damaged pickle"):
        read_array(tmp_path / "a.pkl")


def test_a_pickle_cannot_claim_more_memory_than_its_size(tmp_path: Path) -> None:
    """An array with a claimed size of 8 TB, and no data."""
    file = io.BytesIO()
    file.write(b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(L1000000000000L\ntS'd'\ntR.")
    (tmp_path / "a.pkl").write_bytes(file.getvalue())
    with pytest.raises(DataError, match="not a numeric array"):
        read_array(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x80\x04Nr\xff\xff\xff\xff.",  # memo index 4 billion: a C unpickler allocates all before it
        b"\x80\x05\x96" + (1 << 50).to_bytes(8, "little") + b".",  # a bytearray of a petabyte
        b"\x80\x02c_codecs\nencode\nX" + (100_000).to_bytes(4, "little") + b"a" * 100_000
        + b"X\x06\0\0\0latin1\x86q\0R" + b"c_codecs\nencode\nh\0R" * 100 + b".",  # one text, encoded 101 times
    ],
)  # fmt: skip
def test_a_few_bytes_cannot_fill_the_memory(tmp_path: Path, bomb: bytes) -> None:
    (tmp_path / "a.pkl").write_bytes(bomb)
    tracemalloc.start()
    with pytest.raises(DataError):
        read_array(tmp_path / "a.pkl")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_provided_features_become_a_store_and_what_is_missing_is_counted(tmp_path: Path) -> None:
    for name, width in (("vit", 4), ("wav2vec2", 6)):
        (tmp_path / name).mkdir()
        for clip in ("00000", "00001"):
            (tmp_path / name / f"{clip}.pkl").write_bytes(pickle.dumps(np.full((3, width), 2.0)))
    (tmp_path / "vit" / "00001.pkl").write_bytes(b"junk")
    clips = tuple(Clip(f"{i:05d}", tmp_path / f"{i:05d}.mp4") for i in range(3))
    imported = import_provided(tmp_path, Manifest(tmp_path, (), clips), tmp_path / "store")
    assert imported.made == {"vision": 1, "audio": 2}
    assert imported.absent == {
        ("vision", "provided file unusable"): (1, "00001"),
        ("vision", "no provided file"): (1, "00002"),
        ("audio", "no provided file"): (1, "00002"),
    }
    store = Store(tmp_path / "store")
    assert store.gather("audio", ["00000", "00002"]).lengths.tolist() == [3, 0]
    assert store.provenance("vision") == "challenge vit@1"


def test_a_folder_without_provided_features_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no provided features"):
        import_provided(tmp_path, Manifest(tmp_path, (), ()), tmp_path / "store")
